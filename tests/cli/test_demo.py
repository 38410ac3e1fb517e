from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from rl4lms.config import read_recipe
from rl4lms.errors import ConfigError
from rl4lms.studies import demo, demo_report
from rl4lms.studies.demo import SYSTEMS, Outcome
from rl4lms.studies.jobs import Job, JobError, run_jobs
from tests.cli.test_cli import call

SILENT = Console(file=open(os.devnull, "w"))  # noqa: SIM115 - lives as long as the tests


def result(mean: float, stderr: float | None = 0.02, n: int = 4) -> dict[str, float | int | None]:
    return {"mean": mean, "stderr": stderr, "n": n}


def outcomes(text: str = "a completion .") -> list[Outcome]:
    """Made-up outcomes of every system; sentiment rises by 0.1 from one to the next."""
    made = []
    for number, system in enumerate(SYSTEMS):
        level = 0.2 + 0.1 * number
        results = {
            key: result(level)
            for key in ("sentiment", "gold_sentiment", "derivable", "reward", "kl_per_sequence", "completion_tokens")
        }
        results |= {key: result(12.25, None) for key in ("perplexity", "reference_perplexity", "distinct-2")}
        sample = {"prompt": text, "completion": text, "sentiment": level, "gold_sentiment": 0.5, "derivable": level}
        curve = [
            {"step": i, "rollout/score": level, "rollout/kl_per_sequence": 1.0, "rollout/entropy": 2.0} for i in (1, 2)
        ]
        if "nlpo" in system.key:
            curve = [line | {"train/mask_size": 20.0} for line in curve]
        masked = dict(results) if "nlpo" in system.key else {}
        made.append(Outcome(system, results, masked, [sample] * 8, curve if system.is_rl else ()))
    for outcome in made[1:]:
        start = next(other for other in made if other.system.key == outcome.system.start)
        outcome.gains = demo.gains(start.samples, outcome.samples)
    return made


ABOUT = {
    "rl4lms": "0",
    "python": "3",
    "quick": False,
    "prompts": 500,
    "seconds": 1.0,
    "seconds_by_job": {"ppo": 1.0},
    "commands": ["rl4lms x"],
}


def test_the_plan_is_the_six_systems_of_the_paper(tmp_path):
    plan = {job.name: job for job in demo.make_plan(tmp_path, quick=False)}
    assert {system.key for system in SYSTEMS} <= plan.keys()
    for name in ("supervised-ppo", "supervised-nlpo"):
        assert "supervised" in plan[name].after
        assert "supervised=null" in plan[name].arguments
        assert any(word.startswith("model.path=") and "runs/supervised/model" in word for word in plan[name].arguments)
    for system in SYSTEMS[1:]:
        words = list(plan[system.key].arguments)
        settings = [word for word in words[4:] if "=" in word]
        recipe = read_recipe(Path(demo.__file__).parents[1] / "recipes" / f"{words[3]}.yaml", settings)
        assert (recipe.seed, recipe.evaluation.split, recipe.evaluation.prompts) == (0, "test", demo.PROMPTS)
        assert recipe.output_dir == str(tmp_path / "runs" / system.key)
        assert recipe.algorithm_name == system.key.removeprefix("supervised-")


def test_rl_systems_differ_in_nothing_but_algorithm_and_start():
    folder = Path(demo.__file__).parents[1] / "recipes"
    recipes = {system.key: read_recipe(folder / f"{system.recipe}.yaml") for system in SYSTEMS if system.is_rl}
    for key, recipe in recipes.items():
        other = recipes["ppo"]
        assert (recipe.optimizer, recipe.kl, recipe.training, recipe.rollout) == (
            other.optimizer,
            other.kl,
            other.training,
            other.rollout,
        )
        shared = set(other.algorithm.options)
        assert {k: v for k, v in recipe.algorithm.options.items() if k in shared} == other.algorithm.options, key


def test_gains_are_paired():
    before = [dict.fromkeys(demo.GAIN_KEYS, value) for value in (0.0, 1.0, 0.0, 1.0)]
    after = [dict.fromkeys(demo.GAIN_KEYS, value) for value in (0.5, 1.5, 0.5, 1.5)]
    assert demo.gains(before, after)["sentiment"] == (0.5, 0.0)  # a shift of every prompt has no error
    mean, error = demo.gains(before, [dict.fromkeys(demo.GAIN_KEYS, value) for value in (1.0, 1.0, 1.0, 1.0)])[
        "derivable"
    ]
    assert mean == 0.5
    assert error == pytest.approx((1 / 3) ** 0.5 / 2)


def test_the_table_fits_80_columns_and_says_what_the_error_is():
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    demo_report.show(console, outcomes(), ABOUT)
    text = console.export_text()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    header = next(i for i, line in enumerate(lines) if line.startswith("system"))
    rows = lines[header + 1 : header + 9]
    assert [row[:17].strip() for row in rows] == [
        "Zero-shot", "Supervised", "PPO", "NLPO", "inside its "
                                                  "mask", "Supervised+PPO", "Supervised+NLPO", "inside its mask",
    ]  # fmt: skip
    assert "0.40±.02" in rows[2]
    flat = " ".join(text.split())
    assert "± is the standard error over the 500 evaluation prompts" in flat
    assert "One seed" in flat
    assert "what RL optimised and no evidence" in flat


def test_the_report_shows_hostile_text_literally():
    hostile = "<script>alert(1)</script></style>{{7*7}}"
    html = demo_report.html(outcomes(hostile), ABOUT)
    seen: list[str] = []
    text: list[str] = []
    parser = HTMLParser(convert_charrefs=True)
    parser.handle_starttag = lambda tag, attrs: seen.append(tag)  # type: ignore[method-assign]
    parser.handle_data = text.append  # type: ignore[method-assign]
    parser.feed(html)
    assert "script" not in seen
    assert "".join(text).count(hostile) >= 6 * 8
    assert seen.count("figure") == 4  # score, KL, entropy, mask size


def test_an_earlier_demo_is_kept_unless_forced(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "mine.txt").write_text("keep")
    result = call("demo", "--output", tmp_path, "--quick")
    assert result.exit_code == 2
    assert "--force" in result.output
    demo._make_room(tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ConfigError, match="is a file"):
        demo._make_room(tmp_path / "mine.txt", force=False)


# --- jobs


def job(name: str, code: str, *after: str) -> Job:
    return Job(name, ["-c", code], after)


def test_jobs_wait_for_what_they_need(tmp_path):
    append = f"import time; open(r'{tmp_path / 'order'}', 'a').write('{{0}}'); time.sleep(0.3)"
    jobs = [job("b", append.format("b"), "a"), job("a", append.format("a")), job("c", append.format("c"), "a", "b")]
    run_jobs(jobs, tmp_path / "logs", at_once=2, console=SILENT)
    assert (tmp_path / "order").read_text() == "abc"
    assert all(j.seconds > 0.2 for j in jobs)


def test_no_more_than_asked_for_at_once_and_one_thread_each(tmp_path):
    code = (
        "import os, time, pathlib, sys\n"
        f"folder = pathlib.Path(r'{tmp_path}')\n"
        "mine = folder / ('running-%d' % os.getpid()); mine.touch(); time.sleep(0.4)\n"
        "print(len(list(folder.glob('running-*'))), os.environ['OMP_NUM_THREADS']); mine.unlink()"
    )
    run_jobs([job(name, code) for name in "abcd"], tmp_path / "logs", at_once=2, console=SILENT)
    seen = [(tmp_path / "logs" / f"{name}.log").read_text().split() for name in "abcd"]
    assert all(int(count) <= 2 and threads == "1" for count, threads in seen)


def test_a_failing_job_stops_the_others_and_shows_its_log(tmp_path):
    jobs = [
        job("slow", "import time; time.sleep(60)"),
        job("bad", "import sys; print('what went wrong'); sys.exit(3)"),
        job("never", "", "bad"),
    ]
    with pytest.raises(JobError, match=r"bad failed with exit code 3(.|\n)*what went wrong"):
        run_jobs(jobs, tmp_path / "logs", at_once=2, console=SILENT)
    assert not (tmp_path / "logs" / "never.log").exists()


# --- the whole thing


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_demo_runs(tmp_path):
    command = [sys.executable, "-m", "rl4lms", "demo", "--quick", "--output", str(tmp_path / "demo"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(len(line) for line in done.stdout.splitlines() if "/" not in line) <= 80
    assert "Supervised+NLPO" in done.stdout
    numbers = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert set(numbers["systems"]) == {system.key for system in SYSTEMS}
    assert numbers["systems"]["ppo"]["results"]["sentiment"]["n"] == 32
    assert "inside_its_mask" in numbers["systems"]["nlpo"]
    assert numbers["systems"]["supervised-ppo"]["results"]["kl_per_token"]["mean"] != 0
    html = (tmp_path / "demo" / "report.html").read_text()
    assert html.count("<svg") == 4
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "--force" in again.stderr
