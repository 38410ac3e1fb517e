"""`rl4lms human report`, `export`, `to-reward` and `power`, from a study in a database on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rl4lms.cli import human_report
from rl4lms.errors import Rl4lmsError
from rl4lms.human_eval.creation import create_study
from rl4lms.human_eval.forms import find_form
from rl4lms.human_eval.outputs import Output
from rl4lms.human_eval.plan import make_plan
from rl4lms.human_eval.records import Settings
from rl4lms.human_eval.store import Study
from rl4lms.stats import items_for_ratings, power_of_ratings
from tests.unit.supervised.test_reward_model import encoder

app = typer.Typer(pretty_exceptions_enable=False)
app.command("report", epilog=human_report.REPORT_EPILOG)(human_report.report)
app.command("export", epilog=human_report.EXPORT_EPILOG)(human_report.export)
app.command("to-reward", epilog=human_report.TO_REWARD_EPILOG)(human_report.to_reward)
app.command("power", epilog=human_report.POWER_EPILOG)(human_report.power)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study of pairs of which raters answered all but the last page; the longer number is better."""
    folder = tmp_path_factory.mktemp("study")
    outputs = [
        Output(
            f"p{p}", f"{p}", " ".join(["7"] * (1 + s + p % 3)), f"system{s}", values={"length": float(1 + s + p % 3)}
        )
        for p in range(14)
        for s in range(2)
    ]
    form = find_form("pairwise", None)
    plan = make_plan(outputs, form, items=14, per_item=2, raters=3, attention=1, repeats=1)
    settings = Settings(name="a study", per_item=2)
    create_study(folder / "study.sqlite", form, settings, plan)
    database = Study(folder / "study.sqlite")
    for rater in (1, 2, 3):
        database.consent(rater)
        while (position := database.next_position(rater)) is not None:
            _, planned = database.counts(rater)
            page = database.open_page(rater, position)
            if rater == 3 and position == planned:
                break
            longest = max(range(len(page.texts)), key=lambda place: len(page.texts[place]))
            answer = page.expected.get("choice", [longest])[0] if page.purpose == "check" else longest
            database.save(rater, position, {"choice": answer}, 1.0)
    database.close()
    return str(folder)


def test_a_study_is_reported_and_exported_in_every_format(study: str, tmp_path: Path):
    said = run("report", study)
    assert "a study" in said
    assert "Preferred most is" not in said  # one system always wins
    assert "never lost" in said
    for format in ("text", "csv", "latex", "json", "html"):
        run("report", study, "--format", format, "--output", str(tmp_path / format))
        assert (tmp_path / format).stat().st_size > 500
    assert "<html" in (tmp_path / "html").read_text()
    for format in ("csv", "jsonl", "parquet", "trl", "argilla", "label-studio", "potato"):
        run("export", study, "--format", format, "--output", str(tmp_path / f"e.{format}"))
        assert (tmp_path / f"e.{format}").stat().st_size > 100
    preferred = [json.loads(line) for line in (tmp_path / "e.trl").read_text().splitlines()]
    assert all(len(row["chosen"]) > len(row["rejected"]) for row in preferred)
    assert {row["prompt"] for row in preferred} <= {str(p) for p in range(14)}


def test_a_metric_that_cannot_be_compared_is_told(study: str):
    """All raters always chose the same system, so people are constant."""
    assert "length is not compared with people: a correlation needs" in " ".join(run("report", study).split())


def test_an_exported_file_is_reported_like_its_study(study: str, tmp_path: Path):
    run("export", study, "--format", "jsonl", "--output", str(tmp_path / "answers.jsonl"))
    ours, theirs = (
        json.loads(run("report", place, "--format", "json")) for place in (study, str(tmp_path / "answers.jsonl"))
    )
    for part in ("pairs", "agreement", "raters", "noise", "name", "excluded"):
        assert ours[part] == theirs[part]


def test_what_cannot_be_written_is_said(study: str):
    with pytest.raises(Rl4lmsError, match="--output"):
        run("report", study, "--format", "html")
    with pytest.raises(Rl4lmsError, match="--output"):
        run("export", study, "--format", "parquet")
    with pytest.raises(Rl4lmsError, match=r"no scores for a leaderboard: .*never lost"):
        run("report", study, "--format", "leaderboard")
    with pytest.raises(Rl4lmsError, match="between 0 and 1"):
        run("report", study, "--confidence", "95")
    with pytest.raises(Rl4lmsError, match="there is no study"):
        run("report", "nowhere")


def test_a_reward_is_made_of_a_study(study: str, tmp_path: Path):
    base, output = encoder(tmp_path / "base"), str(tmp_path / "liked")
    said = run(
        "to-reward",
        study,
        "--base",
        base,
        "--output",
        output,
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--quiet",
        "--max-tokens",
        "16",
    )
    assert "agrees with a rater in" in said
    assert "agree with each other in 100.0 %" in said
    assert f"use it as   reward: {{name: preference, model: {output}/model" in said


def test_power(study: str):
    said = run("power", "--difference", "0.3", "--noise", "0.5", "--interaction", "0.3", "--items", "40")
    count = items_for_ratings(0.3, 3, noise=0.5, interaction=0.3)
    assert f"{count} prompts, each text rated by 3, find 0.3 with a power of 0.8" in said
    assert f"40 prompts find it with a power of {power_of_ratings(0.3, 40, 3, noise=0.5, interaction=0.3):.2f}" in said
    with pytest.raises(Rl4lmsError, match="both 0"):  # all raters agreed
        run("power", "--difference", "0.3", "--study", study)
