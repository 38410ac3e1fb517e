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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import rl4lms
from rl4lms.errors import ConfigError
from rl4lms.grue.executors import Processes
from rl4lms.grue.jobs import Job, bars, run_jobs, seconds_by_job
from rl4lms.studies import demo_report
from rl4lms.studies.compare import Comparison, comparison
from rl4lms.studies.demo_systems import AGAINST, COLUMNS, SYSTEMS
from rl4lms.studies.systems import group, read_run, refuse_different, with_starts

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
    shown = bars(Console(stderr=True, highlight=False), progress)
    run_jobs(plan, output / "logs", executor=Processes(jobs), show=shown)
    found = collect(output)
    about = {
        "rl4lms": rl4lms.__version__,
        "python": sys.version.split()[0],
        "quick": quick,
        "prompts": len(found.systems[0].evaluations[0].prompts),
        "seconds": round(time.perf_counter() - started, 1),
        "seconds_by_job": seconds_by_job(plan),
        "commands": commands(plan, output),
    }
    demo_report.write(output, found, about)
    demo_report.show(console, found, about)
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
    common = [f"evaluation.prompts={prompts}", "evaluation.split=test", "evaluation.every=0"]
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
    zero_shot = ["-m", "rl4lms", "evaluate", "imdb-mini-ppo", f"evaluation.prompts={prompts}", "--split", "test"]
    zero_shot += ["--output", str(output / "zero-shot.json"), "--quiet"]
    order = ("supervised", "ppo", "supervised-ppo", "nlpo", "supervised-nlpo")
    return [*jobs, *(trained[key] for key in order), Job("zero-shot", zero_shot, assets)]


def _asset_job(output: Path, *names: str) -> Job:
    name = "models-" + "-".join(names)
    return Job(
        name,
        ["-m", "rl4lms.supervised.build_assets", "imdb", *names],
        progress=_Printed(output / "logs" / f"{name}.log"),
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


def collect(output: Path) -> Comparison:
    """Compare what the runs left behind, each system with the one that it starts from."""
    paths = [output / ("runs" if system.recipe is not None else "") / system.key for system in SYSTEMS]
    paths = [path if path.is_dir() else path.with_suffix(".json") for path in paths]
    runs = [(system.label, read_run(path)) for system, path in zip(SYSTEMS, paths, strict=True)]
    # a start that wrote the same texts as a system is that system, and brings what it decodes inside the mask
    systems = with_starts(group(runs))
    refuse_different([evaluation for system in systems for evaluation in system.evaluations])
    return comparison(systems, AGAINST, columns=COLUMNS)
