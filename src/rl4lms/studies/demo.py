"""The paper's comparison in miniature: six systems on the mini edition of `imdb`, one seed, a few minutes on two cores.

Each system is a plain `rl4lms train` of a packaged recipe in a process of its own. The warm start is trained once and
shared. Everything is measured on the test split with the model that training ended with. The recipes' settings were
chosen on other prompts (the range `development` of `tasks/imdb/corpus.py`), so nothing is chosen by looking at what is
reported.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import rl4lms
from rl4lms.errors import ConfigError
from rl4lms.stats import mean_stderr
from rl4lms.studies import demo_report
from rl4lms.studies.demo_systems import GAIN_KEYS, SYSTEMS, Outcome
from rl4lms.studies.jobs import Job, run_jobs, seconds_by_job

PROMPTS = 500
_OURS = ("runs", "logs", "report.html", "results.json", "zero-shot.json")
_QUICK_PROMPTS = 32
_QUICK_RL = ("training.iterations=2", "training.prompts_per_iteration=16")
_QUICK_SUPERVISED = ("supervised.max_steps=5",)


def run(output: Path, *, quick: bool, force: bool, jobs: int, console: Console, progress: bool = True) -> Path:
    """Run the comparison, print table and texts, and write report, numbers and run to `output`.

    Raises:
        ConfigError: there is something in the folder already, and `force` is off.
        JobError: a run failed.
    """
    _make_room(output, force)
    started = time.perf_counter()
    plan = make_plan(output.resolve(), quick)
    run_jobs(plan, output / "logs", at_once=jobs, console=Console(stderr=True, highlight=False), show=progress)
    outcomes = collect(output)
    about = {
        "rl4lms": rl4lms.__version__,
        "python": sys.version.split()[0],
        "quick": quick,
        "prompts": outcomes[0].results["sentiment"]["n"],
        "seconds": round(time.perf_counter() - started, 1),
        "seconds_by_job": seconds_by_job(plan),
        "commands": commands(plan, output),
    }
    demo_report.write(output, outcomes, about)
    demo_report.show(console, outcomes, about)
    return output


def _make_room(output: Path, force: bool) -> None:
    present = [output / name for name in _OURS if (output / name).exists()]
    if present and not force:
        raise ConfigError(
            f"{output}: there is a demo already; add --force to replace it, or name another folder with --output"
        )
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file; name a folder with --output")
    for path in present:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    output.mkdir(parents=True, exist_ok=True)


def make_plan(output: Path, quick: bool) -> list[Job]:
    """Return the jobs, those that others wait for first."""
    prompts = _QUICK_PROMPTS if quick else PROMPTS
    # Before and after training only: the curves come from the rollouts, and no evaluation chooses anything.
    common = [
        f"evaluation.prompts={prompts}",
        f"evaluation.samples={prompts}",
        "evaluation.split=test",
        "evaluation.every=0",
    ]
    jobs = [_asset_job(output, "base", "sentiment"), _asset_job(output, "judge", "evaluator")]
    assets = [job.name for job in jobs]
    trained = {}
    for system in SYSTEMS[1:]:
        assert system.recipe is not None
        folder = output / "runs" / system.key
        settings = [*common, f"output_dir={json.dumps(str(folder))}", "checkpoint.every=0"]
        if system.start == "supervised":  # its warm start is the model of the supervised run
            settings += ["supervised=null", f"model.path={json.dumps(str(output / 'runs' / 'supervised' / 'model'))}"]
        if quick:
            settings += _QUICK_RL if system.is_rl else _QUICK_SUPERVISED
        after = [*assets, *(["supervised"] if system.start == "supervised" else [])]
        arguments = ["-m", "rl4lms", "train", system.recipe, *settings, "--quiet"]
        trained[system.key] = Job(
            system.key, arguments, after, _Curve(folder / "metrics.jsonl", iterations(system.recipe, settings))
        )
    zero_shot = [
        "-m",
        "rl4lms",
        "evaluate",
        "imdb-mini-ppo",
        *common,
        "--split",
        "test",
        "--output",
        str(output / "zero-shot.json"),
        "--quiet",
    ]
    order = ("supervised", "ppo", "supervised-ppo", "nlpo", "supervised-nlpo")
    return [*jobs, *(trained[key] for key in order), Job("zero-shot", zero_shot, assets)]


def _asset_job(output: Path, *names: str) -> Job:
    name = "models-" + "-".join(names)
    return Job(
        name, ["-m", "rl4lms.studies.build_assets", "imdb", *names], progress=_Printed(output / "logs" / f"{name}.log")
    )


def iterations(recipe: str, settings: Sequence[str]) -> int:
    """Return how many iterations a packaged recipe makes with these settings."""
    from rl4lms.config import read_recipe

    return read_recipe(Path(rl4lms.__file__).parent / "recipes" / f"{recipe}.yaml", settings).training.iterations


@dataclass(frozen=True, slots=True)
class _Curve:
    """Progress of a run, from the lines of its log."""

    path: Path
    of: int

    def __call__(self) -> tuple[int, int, str]:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        try:
            last = json.loads(lines[-1]) if lines else {}
        except ValueError:  # half written
            last = {}
        if "rollout/score" not in last:
            return 0, 0, ""
        return last["step"], self.of, f"score {last['rollout/score']:.2f}  KL {last['rollout/kl_per_sequence']:.1f}"


@dataclass(frozen=True, slots=True)
class _Printed:
    """Progress that a job prints as lines `<name> <step> <of>`."""

    path: Path

    def __call__(self) -> tuple[int, int, str]:
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if self.path.is_file() else []
        words = lines[-1].split() if lines else []
        if len(words) != 3 or not (words[1].isdigit() and words[2].isdigit()):
            return 0, 0, ""
        return int(words[1]), int(words[2]), words[0]


def commands(plan: Sequence[Job], output: Path) -> list[str]:
    """Return the jobs as commands that can be typed, with folders as they are named by the user."""
    shown = []
    for job in plan:
        words = ["rl4lms" if word == "rl4lms" else word for word in job.arguments if word not in ("-m", "--quiet")]
        line = " ".join(f"'{word}'" if set(word) & set(' "') else word for word in words)
        line = line.replace(str(output.resolve()), str(output))
        if line.startswith("rl4lms "):
            shown.append(line)
    return shown


def collect(output: Path) -> list[Outcome]:
    """Read what the runs left behind."""
    zero_shot = json.loads((output / "zero-shot.json").read_text(encoding="utf-8"))
    outcomes = [Outcome(SYSTEMS[0], zero_shot["results"], {}, zero_shot["samples"], ())]
    for system in SYSTEMS[1:]:
        folder = output / "runs" / system.key
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        plain = {
            key.removeprefix("eval/"): value
            for key, value in result["eval"].items()
            if not key.startswith("eval/masked/")
        }
        masked = {
            key.removeprefix("eval/masked/"): value
            for key, value in result["eval"].items()
            if key.startswith("eval/masked/")
        }
        samples = _lines(folder / "samples" / f"step-{result['iterations']:06d}.jsonl")
        curve = [line for line in _lines(folder / "metrics.jsonl") if "rollout/score" in line]
        outcomes.append(Outcome(system, plain, masked, samples, curve))
    by_key = {outcome.system.key: outcome for outcome in outcomes}
    for start, trained in (("zero-shot", "nlpo"), ("supervised", "supervised-nlpo")):
        before = _lines(output / "runs" / trained / "metrics.jsonl")[0]
        n = by_key[start].results["sentiment"]["n"]
        found = {
            key.removeprefix("eval/masked/"): value for key, value in before.items() if key.startswith("eval/masked/")
        }
        by_key[start].masked = {key: {"mean": value, "stderr": None, "n": n} for key, value in found.items()}
    for outcome in outcomes:
        if outcome.system.start is not None:
            outcome.gains = gains(by_key[outcome.system.start].samples, outcome.samples)
    return outcomes


def gains(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Return mean difference and its standard error over prompts, for `GAIN_KEYS`; both lists hold the same prompts in
    the same order.
    """
    found = {}
    for key in GAIN_KEYS:
        differences = [b[key] - a[key] for a, b in zip(before, after, strict=True)]
        mean, error = mean_stderr(differences)
        assert error is not None  # of one prompt alone
        found[key] = (mean, error)
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
