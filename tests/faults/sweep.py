"""Kills runs with SIGKILL again and again, resumes them, and compares what they end with to an uninterrupted run."""

from __future__ import annotations

import collections
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl4lms.config import dump_recipe
from tests.faults.nursery import serve
from tests.runs import fork_server, metric_lines, small_recipe

# A recipe without a checkpoint in every iteration, so that resumed runs have to repeat some.
_BASE = {
    "training": {"iterations": 6, "prompts_per_iteration": 8},
    "evaluation": {"every": 2, "prompts": 6},
    "checkpoint": {"every": 2, "keep_last": 1},
}
_NLPO = {"name": "nlpo", "mask_top_p": 0.8, "mask_update_every": 2}
_LORA = {"lora": {"r": 2, "alpha": 4}}
# It has a state, and runs in a thread beside the log-prob pass.
_OVERLAP = {
    "name": "sum",
    "parts": [{"reward": {"name": "rouge", "key": "rouge1"}}, {"reward": {"name": "length_penalty", "at_most": 3}}],
}
_RUNNING = {"name": "standardise", "over": "running", "reward": _OVERLAP}
# name: model family, settings
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "causal PPO separate": ("gpt2", {"checkpoint": {"every": 1, "keep_last": 2}}),
    "causal PPO shared": ("gpt2", {"model": {"value": "shared"}, "kl": {"kl_coef": 0.1, "kl_target": 0.05}}),
    "causal NLPO separate": (
        "gpt2",
        {"algorithm": _NLPO, "checkpoint": {"every": 2, "best": "eval/reward"}, "reward": _RUNNING},
    ),
    "causal NLPO shared": (
        "gpt2",
        {"algorithm": _NLPO, "model": {"value": "shared"}, "evaluation": {"generation": {"mask": True}}},
    ),
    "encoder-decoder PPO separate": ("t5-untied", {"rollout": {"completions_per_prompt": 2}}),
    "encoder-decoder NLPO shared": ("t5-untied", {"algorithm": _NLPO, "model": {"value": "shared"}}),
    "LoRA causal NLPO separate": ("gpt2", {"algorithm": _NLPO, "model": _LORA}),
    "LoRA encoder-decoder PPO shared": ("t5-untied", {"model": {"value": "shared", **_LORA}}),
    "warm start, causal PPO separate": (
        "gpt2",
        {"supervised": {"max_steps": 12, "batch_size": 8, "learning_rate": 1e-3}},
    ),
}
_GROUPS: dict[str, Any] = {"completions_per_prompt": 4}
_MASK = {"source": "lagged", "rule": "min_p", "min_p": 0.2, "refresh_every": 2}
# The other algorithms; what a run remembers beside weights is here, too: a running mean, a mask that lags.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "causal A2C in a lagged mask": ("gpt2", {"algorithm": {"name": "a2c"}, "mask": _MASK}),
    "encoder-decoder TRPO": ("t5-untied", {"algorithm": {"name": "trpo", "cg_steps": 3}}),
    "LoRA causal TRPO": ("gpt2", {"algorithm": {"name": "trpo", "cg_steps": 3}, "model": _LORA}),
    "causal bandit": ("gpt2", {"algorithm": {"name": "bandit_ppo", "minibatch_size": 8}}),
    "causal REINFORCE with a running mean": ("gpt2", {"algorithm": {"name": "reinforce", "baseline": "running"}}),
    "encoder-decoder RLOO": ("t5-untied", {"algorithm": {"name": "rloo"}, "rollout": _GROUPS}),
    "causal GRPO, exact KL": (
        "gpt2",
        {"algorithm": {"name": "grpo", "kl_estimator": "exact", "n_epochs": 2}, "rollout": _GROUPS},
    ),
    "encoder-decoder GSPO": ("t5-untied", {"algorithm": {"name": "gspo"}, "rollout": _GROUPS}),
    "causal CISPO": ("gpt2", {"algorithm": {"name": "cispo"}, "rollout": _GROUPS}),
    "causal expert iteration": ("gpt2", {"algorithm": {"name": "expert_iteration"}, "rollout": _GROUPS}),
}
# What each variant shows, for counting.
KINDS = {
    "causal": lambda name: "causal" in name,
    "encoder-decoder": lambda name: "encoder-decoder" in name,
    "PPO": lambda name: "PPO" in name,
    "NLPO": lambda name: "NLPO" in name,
    "separate value": lambda name: "separate" in name,
    "shared value": lambda name: "shared" in name,
    "LoRA": lambda name: "LoRA" in name,
}


@dataclass(slots=True)
class End:
    """How a child ended.

    Attributes:
        code: its exit code, or minus the signal that ended it.
        phase: what it was doing then.
        seconds: how long it lived.
        out, err: what it printed.
    """

    code: int
    phase: str
    seconds: float
    out: str
    err: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Nursery:
    """The forking process. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.cache = folder / "cache"
        environment = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "RL4LMS_CACHE": str(self.cache)}
        self._orders, theirs = multiprocessing.Pipe()
        self._process = fork_server().Process(target=serve, args=(theirs, folder, environment))
        self._process.start()
        theirs.close()
        self._answer()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *exc: object) -> None:
        self._orders.close()
        self._process.join(timeout=60)

    def _answer(self, timeout: float | None = None) -> dict[str, Any] | None:
        if not self._orders.poll(timeout):
            return None
        try:
            answer: dict[str, Any] = self._orders.recv()
        except EOFError as error:
            raise AssertionError((self._folder / "nursery.log").read_text()[-3000:]) from error
        return answer

    def run(self, *words: object, plan: Sequence[tuple[str, int, str]] = (), kill_after: float | None = None) -> End:
        """Runs `rl4lms` with these words in a child, which gets signals at the points of a plan, and SIGKILL after some
        seconds.
        """
        files = {name: self._folder / name for name in ("out", "err", "phase")}
        order = {
            "words": [str(word) for word in words],
            "plan": plan,
            **{name: str(path) for name, path in files.items()},
        }
        files["phase"].write_text("start")
        self._orders.send(order)
        started = time.perf_counter()
        pid = (self._answer() or {})["pid"]
        end = self._answer(kill_after)
        if end is None:
            os.kill(pid, signal.SIGKILL)
            end = self._answer()
        assert end is not None
        code = os.waitstatus_to_exitcode(end["status"])
        texts = {name: path.read_text() if path.is_file() else "" for name, path in files.items()}
        return End(code, texts["phase"].strip() or "start", time.perf_counter() - started, texts["out"], texts["err"])

    def train(self, recipe: Path, resume: bool, **how: Any) -> End:
        """Trains quietly; anything but success or SIGKILL is an error of the test."""
        end = self.run("train", recipe, "--quiet", *(["--resume"] if resume else []), **how)
        assert end.code in (0, -signal.SIGKILL), end.err[-4000:]
        return end


@dataclass(slots=True)
class Tally:
    """What happened to one variant.

    Attributes:
        random, injected: kills by the phase or the point that they fell into.
        resumes: how often a child continued a run that another had begun.
        finished: runs that reached their end after at least one kill.
        equal: how many of them ended like the uninterrupted run.
    """

    random: collections.Counter[str] = field(default_factory=collections.Counter)
    injected: collections.Counter[str] = field(default_factory=collections.Counter)
    resumes: int = 0
    finished: int = 0
    equal: int = 0

    @property
    def kills(self) -> int:
        return self.random.total() + self.injected.total()


class Victim:
    """One variant: its uninterrupted run, and runs that are killed."""

    def __init__(self, name: str, folder: Path, nursery: Nursery) -> None:
        family, settings = (VARIANTS | OTHERS)[name]
        self.name, self.tally, self._nursery, self._folder = name, Tally(), nursery, folder
        settings = {**_BASE, **settings}
        settings["evaluation"] = {**_BASE["evaluation"], **settings["evaluation"]}
        self.run = folder / "killed"
        self.recipe = folder / "recipe.yaml"
        whole = folder / "whole.yaml"
        folder.mkdir(parents=True)
        if "supervised" in settings:
            data = folder / "targets.jsonl"
            rows = [{"prompt": f"{i % 7}", "references": [f"{i % 7 + 1} {i % 7 + 2} {i % 7 + 4}"]} for i in range(48)]
            data.write_text("".join(json.dumps(row) + "\n" for row in rows))
            settings["data"] = {"train": str(data), "validation": str(data)}
        whole.write_text(dump_recipe(small_recipe(folder, family, output_dir=str(folder / "whole"), **settings)))
        self.recipe.write_text(dump_recipe(small_recipe(folder, family, output_dir=str(self.run), **settings)))
        nursery.train(whole, resume=False)
        self.expected = outcome(folder / "whole")
        self.seconds = nursery.train(self.recipe, resume=False).seconds
        assert outcome(self.run) == self.expected, "two uninterrupted runs differ"
        self.remove()

    def kill(self, **how: Any) -> bool:
        """Trains in one more child; returns whether it was killed. A run that finished is removed, and compared if it
        was killed before.
        """
        resume = (self.run / "config.resolved.yaml").is_file()
        begun = self.run.exists()
        end = self._nursery.train(self.recipe, resume, **how)
        self.tally.resumes += resume
        if end.killed:
            injected = end.phase.startswith("injected: ")
            (self.tally.injected if injected else self.tally.random)[end.phase.removeprefix("injected: ")] += 1
        elif begun:
            self.tally.finished += 1
            found = outcome(self.run)
            self.tally.equal += found == self.expected
            assert found == self.expected, f"{self.name}: {difference(found, self.expected)}"
        if not end.killed:
            self.remove()
        return end.killed

    def remove(self) -> None:
        """Forgets the run, so that the next one is fresh."""
        shutil.rmtree(self.run, ignore_errors=True)

    def finish(self) -> None:
        """Lets the run come to its end, if one was begun."""
        if self.run.exists():
            assert not self.kill()

    def random_kills(self, number: int, rng: random.Random) -> None:
        """Kills at moments that are spread evenly over the life of a run, its start and its final save included."""
        while self.tally.random.total() < number:
            self.kill(kill_after=rng.uniform(0, self.seconds))
        self.finish()

    def injected_kill(self, *points: tuple[str, int]) -> None:
        """A fresh run that dies at each of the points in turn, and is finished then."""
        self.finish()
        for point, nth in points:
            before = self.tally.injected[point]
            assert self.kill(plan=[(point, nth, "SIGKILL")]), f"{self.name} never came to {point!r} for the {nth}. time"
            assert self.tally.injected[point] == before + 1
        self.finish()


def outcome(folder: Path) -> dict[str, Any]:
    """What a run left: hashes of its weights, numbers, texts, and the names of all its files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    weights = {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.suffix == ".safetensors"
    }
    samples = {path.name: path.read_text() for path in (folder / "samples").iterdir()}
    result = json.loads((folder / "result.json").read_text())
    names = [str(path.relative_to(folder)) for path in files]
    return {"weights": weights, "metrics": metric_lines(folder), "result": result, "samples": samples, "names": names}


def difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    wrong = [key for key in expected if found[key] != expected[key]]
    return f"{', '.join(wrong)} differ: {[(found[key], expected[key]) for key in wrong]}"[:4000]


def table(tallies: dict[str, Tally]) -> str:
    """The counts as text."""
    lines = []
    for name, t in tallies.items():
        lines.append(
            f"{name}: {t.kills} kills ({t.random.total()} random, {t.injected.total()} injected), {t.resumes} resumes; "
            f"{t.equal} of {t.finished} finished runs equal to the uninterrupted one"
        )
        lines.append("  random in   " + ", ".join(f"{phase} {n}" for phase, n in t.random.most_common()))
        lines.append("  injected at " + ", ".join(f"{point} {n}" for point, n in sorted(t.injected.items())))
    everything = list(tallies.values())
    lines.append(
        f"together: {sum(t.random.total() for t in everything)} random and "
        f"{sum(t.injected.total() for t in everything)} injected kills, "
        f"{sum(t.resumes for t in everything)} resumes; {sum(t.equal for t in everything)} of "
        f"{sum(t.finished for t in everything)} equal"
    )
    lines += [
        f"  {kind}: {sum(t.kills for name, t in tallies.items() if has(name))} kills" for kind, has in KINDS.items()
    ]
    return "\n".join(lines)


def record(tallies: dict[str, Tally]) -> dict[str, Any]:
    """The counts as JSON."""
    kept = ("resumes", "finished", "equal")
    return {
        name: {"random": dict(t.random), "injected": dict(t.injected), **{key: getattr(t, key) for key in kept}}
        for name, t in tallies.items()
    }
