"""What people said, as a tier of its own on a board."""

from __future__ import annotations

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.people import people_sheet, read_all, read_human_scores
from tests.unit.grue.made_up import write_cell

SAID = {
    "study": "first",
    "task": "commongen",
    "form": "general-likert",
    "kind": "likert",
    "finished": False,
    "raters": 9,
    "ratings": 90,
    "excluded": 1,
    "columns": [
        {
            "question": "quality",
            "text": "How good?",
            "scale": "rating",
            "confidence": 0.95,
            "alpha": 0.61,
            "systems": {
                "ppo": {"mean": 3.5, "low": 3.2, "high": 3.8, "n": 45},
                "=cmd|<b>": {"mean": 2.0, "low": None, "high": None, "n": 45},
            },
        }
    ],
}


def written(folder, **changes):
    path = folder / "human.json"
    path.write_text(json.dumps({**SAID, **changes}), encoding="utf-8")
    return path


def test_a_sheet_has_scores_intervals_and_what_they_are(tmp_path):
    sheet = people_sheet(read_human_scores(written(tmp_path)))
    assert sheet.title == "commongen, judged by people (first): 9 people, 1 left out, 90 ratings"
    assert sheet.rows[0] == ["ppo", "human", "3.50 [3.20, 3.80]"]
    assert sheet.rows[1][2] == "2.00"
    assert sheet.notes == [
        "quality: How good? mean rating, 95% interval, Krippendorff's α 0.61",
        "the study is not finished",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tier": "re-run"}, "tier"),
        ({"ratings": 0}, "ratings"),
        ({"columns": []}, "columns"),
        ({"colour": "red"}, "colour"),
        ({"raters": float("nan")}, "raters"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path, changes, said):
    with pytest.raises(DataError, match=said):
        read_human_scores(written(tmp_path, **changes))


def test_a_mean_outside_of_its_interval_is_refused(tmp_path):
    text = written(tmp_path).read_text().replace('"mean": 3.5', '"mean": 4.5')
    (tmp_path / "human.json").write_text(text)
    with pytest.raises(DataError, match="the mean is not in its interval"):
        read_human_scores(tmp_path / "human.json")
    (tmp_path / "human.json").write_text("no json")
    with pytest.raises(DataError, match="JSON"):
        read_human_scores(tmp_path / "human.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_human_scores(tmp_path / "none.json")


def test_a_study_of_another_task_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a study of the task commongen; the board has imdb"):
        read_all([written(tmp_path)], ["imdb"])


def test_tables_and_pages_of_a_board_show_it(tmp_path):
    board = tmp_path / "grid"
    for system in ("ppo", "nlpo"):
        for seed in range(2):
            write_cell(board, system, seed, [0.1, 0.4, 0.2, 0.3 + seed / 10])
    path = written(tmp_path)
    run = CliRunner().invoke(app, ["grue", "table", str(board), "--human", str(path), "--format", "markdown"])
    assert run.exit_code == 0, run.output
    assert "### commongen, judged by people (first): 9 people" in run.output
    assert "| ppo | human | 3.50 \\[3.20, 3.80\\] |" in run.output
    assert "<b>" not in run.output.replace("\\<b", "")
    run = CliRunner().invoke(app, ["grue", "table", str(board), "--human", str(path), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(run.output)))
    mine = [row for row in rows if row["tier"] == "human"]
    assert [(row["system"], row["metric"], row["mean"], row["low"]) for row in mine] == [
        ("ppo", "quality", "3.5", "3.2"),
        ("'=cmd|<b>", "quality", "2.0", ""),
    ]
    page = tmp_path / "board.html"
    run = CliRunner().invoke(
        app, ["grue", "report", str(board), "--no-texts", "--human", str(path), "--output", str(page)]
    )
    assert run.exit_code == 0, run.output
    text = page.read_text(encoding="utf-8")
    assert "judged by people (first)" in text
    assert "=cmd|&lt;b&gt;" in text
