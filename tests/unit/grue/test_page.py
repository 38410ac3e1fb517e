from __future__ import annotations

import json
import re
import shutil

import pytest

from rl4lms.grue.access import Access
from rl4lms.grue.curves import curves_of
from rl4lms.grue.page import report
from rl4lms.grue.submission import pack
from tests.chromium import needs_chromium, opened
from tests.cli.test_cli import call
from tests.unit.grue.made_up import change, task

MODEL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def made(tmp_path_factory, write):
    """A grid of two systems with two seeds, one with a log, and a submission of it."""
    folder = tmp_path_factory.mktemp("made")
    grid = folder / "grid"
    for seed in range(2):
        place = write(grid, seed)
        other = grid / "cells" / "commongen" / "ppo" / place.name
        shutil.copytree(place, other)
        change(other / "results.json", lambda rows: [row.update(system="ppo", model=MODEL) for row in rows])
        change(other / "own.parquet", lambda rows: [row.update(solved=0.25, completion="a dog ran .") for row in rows])
        change(other / "cell.json", lambda c: c["cell"]["system"].update(label="ppo", algorithm="ppo"))
        (other / "run").mkdir()
        lines = [{"step": 0, "eval/reward": 0.1}]
        lines += [{"step": n, "rollout/score": n / 4, "rollout/kl_per_sequence": n / 2} for n in range(1, 5)]
        (other / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pack(grid, folder / "board" / "first", name="first", tried=3, note="<b>note</b>", training=["CommonGen train"])
    return folder


def test_a_submission_keeps_curves(made):
    place = made / "board" / "first" / "cells" / "commongen" / "ppo" / "seed-1"
    assert not (place / "run").exists()
    assert curves_of(place) == curves_of(made / "grid" / "cells" / "commongen" / "ppo" / "seed-1")
    assert curves_of(place)["rollout/score"] == [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)]
    assert curves_of(place.parents[1] / "zero_shot" / "seed-0") == {}


def test_a_report_of_a_board(made, tmp_path):
    path = tmp_path / "report.html"
    done = call("grue", "report", made / "board", "-o", path, "--title", "Ours & theirs")
    assert done.exit_code == 0, done.output
    html = path.read_text()
    assert "<title>Ours &amp; theirs</title>" in html
    assert "1 tasks, 2 systems, 2 seeds, mini edition: 4 runs" not in html  # plurals
    assert "1 task, 2 systems, 2 seeds, mini edition: 4 runs" in html
    for text in ("zero_shot", "CommonGen train", "&lt;b&gt;note&lt;/b&gt;", "Training reward", "Reward against KL"):
        assert text in html
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    rows = json.loads(data)["rows"]
    assert len(rows) == 6
    samples = {sample.id: sample for sample in task().samples("test")}
    assert all(row["prompt"] == samples[row["id"]].prompt for row in rows)
    assert all(row["texts"][1] == "a dog ran ." for row in rows)
    assert {row["values"][1][json.loads(data)["metrics"].index(["solved", True])] for row in rows} == {0.25}
    addresses = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", html)
    assert not addresses  # nothing is loaded, and no page is beside it
    assert "onerror" not in html


def test_a_site_has_a_page_for_each_task(made, tmp_path):
    done = call("grue", "site", tmp_path / "site", made / "grid")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["commongen.html", "index.html"]
    index, page = ((tmp_path / "site" / name).read_text() for name in ("index.html", "commongen.html"))
    assert 'href="commongen.html"' in index
    assert 'href="index.html"' in page
    assert "a dog ran ." in page
    assert "a dog ran ." not in index
    done = call("grue", "site", tmp_path / "site", made / "grid")
    assert done.exit_code == 2
    assert "there is something already" in done.output


def test_texts_can_be_left_out(made, tmp_path):
    path = tmp_path / "report.html"
    assert call("grue", "report", made / "grid", "-o", path, "--no-texts").exit_code == 0
    assert "a dog ran ." not in path.read_text()
    done = call("grue", "report", made / "grid", "-o", path, "--no-texts", "--data", "commongen=x")
    assert done.exit_code == 2
    assert "--data is read for the texts" in done.output
    assert "no cell is of the task 'imdb'" in call("grue", "report", made / "grid", "--data", "imdb=x").output


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
def test_a_report_in_a_browser(made, tmp_path, width):
    path = tmp_path / "report.html"
    report(made / "board", path, Access())
    steps = (
        'found.cards = page.querySelectorAll("article").length; found.charts = page.querySelectorAll("figure").length;'
    )
    seen = opened(path.read_text(), width, tmp_path, steps)
    assert seen.errors == []
    assert seen.overflow == 0
    assert seen.found == {"cards": 6, "charts": 5}
