from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from rl4lms.config import read_recipe
from rl4lms.errors import ConfigError
from rl4lms.evaluation.evaluator import EvalResult
from rl4lms.grue.executors import Processes
from rl4lms.grue.jobs import Job, JobError, bars, run_jobs
from rl4lms.runs.evaluations import write_evaluation
from rl4lms.studies import demo, demo_report
from rl4lms.studies.compare import Comparison
from rl4lms.studies.demo_systems import COLUMNS, SYSTEMS
from rl4lms.types import MetricResult
from tests.cli.test_cli import call

SILENT = Console(file=open(os.devnull, "w"))  # noqa: SIM115 - lives as long as the tests


METRICS = [column.key for column in COLUMNS]


def made_up(folder: Path, text: str = "a completion .", prompts: int = 8) -> Comparison:
    """Write what runs of all systems would leave, and read it; sentiment rises by 0.1 from one to the next, and a
    system begins with the texts of the one that it starts from.
    """
    for number, system in enumerate(SYSTEMS):
        recipe = read_recipe(
            Path(demo.__file__).parents[1] / "recipes" / f"{system.recipe or 'imdb-mini-ppo'}.yaml",
            [f"evaluation.prompts={prompts}"],
        )
        final = evaluation(f"{text} {system.key}", 0.2 + 0.1 * number, prompts)
        split = {"split": "test"}
        if system.recipe is None:
            write_evaluation(folder / "zero-shot.json", final, recipe, model="start", step=0, masked=False, **split)
            continue
        run = folder / "runs" / system.key
        (run / "evaluations").mkdir(parents=True)
        (run / "config.resolved.yaml").write_text("")
        place = run / "evaluations"
        last = recipe.training.iterations if system.is_rl else 0
        start = evaluation(f"{text} {system.start}", 0.2, prompts)
        for masked in (False, True) if "nlpo" in system.key else (False,):
            end = f"{'-masked' * masked}.json"
            how = {"masked": masked, **split}
            write_evaluation(place / f"step-{last:06d}{end}", final, recipe, model="trained", step=last, **how)
            if system.is_rl:
                write_evaluation(place / f"step-000000{end}", start, recipe, model="start", step=0, **how)
        line = {"rollout/score": 0.5, "rollout/kl_per_sequence": 1.0, "rollout/entropy": 2.0}
        line |= {"train/mask_size": 20.0} if "nlpo" in system.key else {}
        lines = [{"step": i, **line} for i in (1, 2)] if system.is_rl else [{"step": 0}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return demo.collect(folder)


def evaluation(text: str, level: float, prompts: int) -> EvalResult:
    """An evaluation whose prompts differ by a little."""
    levels = [level + 0.02 * (i % 2) - 0.01 for i in range(prompts)]
    better = {column.key: column.higher_is_better for column in COLUMNS}
    mean = sum(levels) / prompts
    results = {key: MetricResult(key, mean, 0.02, prompts, tuple(levels), better[key]) for key in METRICS}
    results |= {key: MetricResult(key, 12.25, None, prompts, None, better[key]) for key in ("perplexity", "distinct-2")}
    rows = [
        {
            "id": str(i),
            "prompt": text.rpartition(" ")[0],
            "completion": text,
            "text": text,
            "references": [],
            **{key: levels[i] for key, found in results.items() if found.values is not None},
        }
        for i in range(prompts)
    ]
    return EvalResult(results, rows, prompts=prompts, available=prompts)


ABOUT = {
    "rl4lms": "0",
    "python": "3",
    "quick": False,
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


def test_every_system_is_compared_with_what_it_starts_from(tmp_path):
    found = made_up(tmp_path)
    assert [system.label for system in found.systems] == [system.label for system in SYSTEMS]  # no start is added
    gains = {(d.system, d.against): d.mean for d in found.differences if d.metric == "sentiment"}
    assert gains == {
        ("Supervised", "Zero-shot"): pytest.approx(0.1),
        ("PPO", "Zero-shot"): pytest.approx(0.2),
        ("NLPO", "Zero-shot"): pytest.approx(0.3),
        ("Supervised+PPO", "Supervised"): pytest.approx(0.3),
        ("Supervised+NLPO", "Supervised"): pytest.approx(0.4),
    }
    # those that NLPO starts from have numbers inside its mask, too
    assert set(found.masked) == {"Zero-shot", "Supervised", "NLPO", "Supervised+NLPO"}


def test_the_table_fits_80_columns_and_says_what_the_error_is(tmp_path):
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    demo_report.show(console, made_up(tmp_path), ABOUT)
    text = console.export_text()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    header = next(i for i, line in enumerate(lines) if line.startswith("system"))
    rows = lines[header + 1 : header + 12]
    assert [row[:17].rstrip() for row in rows] == [
        *(system.label for system in SYSTEMS),
        "inside the mask",
        "  Zero-shot",
        "  Supervised",
        "  NLPO",
        "  Supervised+NLPO"[:17],
    ]
    assert "0.40±.00" in rows[2]
    flat = " ".join(text.split())
    assert "± is the standard error over prompts" in flat
    assert "One seed" in flat
    assert "what RL optimised and no evidence" in flat


def test_the_report_shows_hostile_text_literally(tmp_path):
    hostile = "<script>alert(1)</script></style>{{7*7}}"
    html = demo_report.html(made_up(tmp_path, hostile), ABOUT)
    seen: list[str] = []
    text: list[str] = []
    parser = HTMLParser(convert_charrefs=True)
    parser.handle_starttag = lambda tag, attrs: seen.append(tag)  # type: ignore[method-assign]
    parser.handle_data = text.append  # type: ignore[method-assign]
    parser.feed(html)
    assert "script" not in seen
    assert "".join(text).count(hostile) >= 6 * 8
    assert seen.count("figure") == 5  # differences; score, KL, entropy, mask size


def test_the_report_of_its_runs_shows_what_its_own_page_shows(tmp_path):
    """`rl4lms report` of the same folders: every table and text but those that say how the demo was measured."""
    own = demo_report.html(made_up(tmp_path), ABOUT)
    targets = [f"Zero-shot={tmp_path / 'zero-shot.json'}"]
    targets += [f"{system.label}={tmp_path / 'runs' / system.key}" for system in SYSTEMS[1:]]
    page = tmp_path / "page.html"
    metrics = [word for key in METRICS for word in ("--metric", key)]
    result = call("report", *targets, *metrics, "--html", page)
    assert result.exit_code == 0, result.output

    def cells(html: str) -> list[str]:
        """What stands in tables up to the texts, without headings of columns, which the demo has words of its own for."""
        return re.findall(
            r'<(?:th role="rowheader"|td)[^>]*>(.*?)</t[hd]>', html.partition("<h2>Settings")[0], re.DOTALL
        )

    assert cells(page.read_text()) == cells(own)
    assert len(cells(own)) > 200


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
    run_jobs(jobs, tmp_path / "logs", executor=Processes(2), show=bars(SILENT))
    assert (tmp_path / "order").read_text() == "abc"
    assert all(j.seconds > 0.2 for j in jobs)


def test_no_more_than_asked_for_at_once_and_one_thread_each(tmp_path):
    code = (
        "import os, time, pathlib, sys\n"
        f"folder = pathlib.Path(r'{tmp_path}')\n"
        "mine = folder / ('running-%d' % os.getpid()); mine.touch(); time.sleep(0.4)\n"
        "print(len(list(folder.glob('running-*'))), os.environ['OMP_NUM_THREADS']); mine.unlink()"
    )
    run_jobs([job(name, code) for name in "abcd"], tmp_path / "logs", executor=Processes(2), show=bars(SILENT))
    seen = [(tmp_path / "logs" / f"{name}.log").read_text().split() for name in "abcd"]
    assert all(int(count) <= 2 and threads == "1" for count, threads in seen)


def test_a_failing_job_stops_the_others_and_shows_its_log(tmp_path):
    jobs = [
        job("slow", "import time; time.sleep(60)"),
        job("bad", "import sys; print('what went wrong'); sys.exit(3)"),
        job("never", "", "bad"),
    ]
    with pytest.raises(JobError, match=r"bad failed with exit code 3(.|\n)*what went wrong"):
        run_jobs(jobs, tmp_path / "logs", executor=Processes(2), show=bars(SILENT))
    assert not (tmp_path / "logs" / "never.log").exists()


def test_a_failing_job_leaves_others_alone_where_it_is_asked_to(tmp_path):
    jobs = [job("bad", "raise SystemExit(3)"), job("never", "", "bad"), job("nor", "", "never"), job("good", "")]
    ended = []
    run_jobs(
        jobs,
        tmp_path,
        executor=Processes(1),
        show=bars(SILENT),
        keep_going=True,
        finished=lambda j: ended.append(j.name),
    )
    assert [j.state for j in jobs] == ["failed", "skipped", "skipped", "done"]
    assert ended == ["good"]
    assert "bad failed with exit code 3" in jobs[0].error


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
    assert numbers["systems"]["supervised-ppo"]["results"]["kl_per_sequence"]["mean"] != 0
    html = (tmp_path / "demo" / "report.html").read_text()
    assert html.count("<svg role") == 5
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "--force" in again.stderr
