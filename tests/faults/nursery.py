"""A process that has imported everything and forks one child per command, so that a test can kill hundreds of them.

It is given orders through a pipe, and answers each with the child's process id and, when it has ended, its wait status.
The child notes in a file what it is doing, which survives its death, and can be told to die at a point of its work:
everything that does this is put into the child here, and nothing of it is in the library.
"""

from __future__ import annotations

import functools
import mmap
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PHASE_BYTES = 64


class Phase:
    """What the child does right now, in a memory-mapped file."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(b" " * PHASE_BYTES)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), PHASE_BYTES)
        self.now = ""
        self.set("start")

    def set(self, name: str) -> None:
        self.now = name
        self._map[:] = name.encode().ljust(PHASE_BYTES)[:PHASE_BYTES]

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        before = self.now
        self.set(name)
        yield
        self.set(before)


class Plan:
    """Signals that the child sends to itself, each when a point is reached for the `nth` time.

    Args:
        entries: (point, nth, name of the signal).
        phase: notes where SIGKILL fell.
    """

    def __init__(self, entries: list[list[Any]], phase: Phase) -> None:
        self._left = {(point, name): nth for point, nth, name in entries}
        self.points = {point for point, _, _ in entries}
        self._phase = phase

    def at(self, point: str, before: Callable[[], object] = lambda: None) -> None:
        """The code has come to a point. `before` makes the mess that a death there leaves behind."""
        for key in [key for key in self._left if key[0] == point]:
            self._left[key] -= 1
            if self._left[key] == 0:
                before()
                if key[1] == "SIGKILL":
                    self._phase.set(f"injected: {point}")
                os.kill(os.getpid(), signal.Signals[key[1]])


def half(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text[: len(text) // 2])


def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Replaces a function by `around(original, *arguments)`."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, call)


def note_phases(phase: Phase) -> None:
    from rl4lms.runs import checkpoint, tracking
    from rl4lms.training import loop, result, run

    def noted(name: str) -> Callable[..., Any]:
        def around(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            with phase.during(name):
                return original(*args, **kwargs)

        return around

    wrap(run, "warm_start", noted("warm start"))
    wrap(run, "_resume", noted("resume"))
    wrap(run, "save_result", noted("final save"))
    wrap(loop.Loop, "run", noted("loop"))
    wrap(loop.Loop, "step", noted("rollout"))
    wrap(loop, "log_prob_pass", noted("log-prob pass"))
    wrap(loop, "begin_scoring", lambda original, *args: functools.partial(noted("reward"), original(*args)))
    wrap(loop.Loop, "_evaluated", noted("evaluation"))
    wrap(tracking.RunLog, "log", noted("metrics"))
    wrap(checkpoint.Checkpoints, "save", noted("checkpoint"))
    wrap(checkpoint.Checkpoints, "prune", noted("prune"))
    wrap(result, "save_model", noted("final save"))
    from rl4lms.algorithms.ppo import PPO

    wrap(PPO, "update", noted("update"))


def plant(plan: Plan) -> None:
    """Puts every point into the code where it belongs."""
    _plant_in_checkpoints(plan)
    _plant_in_the_loop(plan)
    _plant_in_the_rest(plan)


def _plant_in_checkpoints(plan: Plan) -> None:
    from rl4lms.runs import checkpoint

    saving = False

    def save(original: Callable[..., Any], *args: Any) -> Any:
        nonlocal saving
        saving = True
        result = original(*args)
        saving = False
        return result

    def save_file(original: Callable[..., Any], tensors: Any, path: Path) -> None:
        name = path.name.removesuffix(".safetensors")
        if f"checkpoint: {name} torn" in plan.points:
            original(tensors, path.with_suffix(".whole"))
            plan.at(f"checkpoint: {name} torn", lambda: half(path, path.with_suffix(".whole").read_bytes()))
            path.with_suffix(".whole").unlink()
        original(tensors, path)
        plan.at(f"checkpoint: {name} written")

    def digest(original: Callable[..., Any], manifest: Any) -> Any:
        if saving:
            plan.at("checkpoint: before the manifest")
        return original(manifest)

    def prune(original: Callable[..., Any], *args: Any) -> None:
        if saving:
            plan.at("checkpoint: after the rename")
        original(*args)

    def rmtree(original: Callable[..., Any], path: Path) -> None:
        plan.at("prune: half removed", lambda: next(path.glob("*.safetensors")).unlink())
        original(path)
        plan.at("prune: removed")

    wrap(checkpoint.Checkpoints, "save", save)
    wrap(checkpoint, "save_file", save_file)
    wrap(checkpoint, "_digest", digest)
    wrap(checkpoint.Checkpoints, "prune", prune)
    checkpoint.shutil = _Module(rmtree=functools.partial(rmtree, checkpoint.shutil.rmtree))


def _plant_in_the_loop(plan: Plan) -> None:
    import torch

    from rl4lms.models.policy import Policy
    from rl4lms.rollout.engine import LocalEngine
    from rl4lms.runs import tracking
    from rl4lms.training import loop

    def after(point: str) -> Callable[..., Any]:
        def around(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            plan.at(point)
            return result

        return around

    def rollout(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        plan.at("evaluation: decoded" if kwargs["stream"] == "evaluation" else "rollout: whole")
        return result

    def append_line(original: Callable[..., Any], path: Path, text: str) -> None:
        if path.name == "metrics.jsonl":
            plan.at("metrics: torn line", lambda: half(path, text.encode()))
        original(path, text)
        if path.name == "metrics.jsonl":
            plan.at("metrics: line written")

    wrap(Policy, "generate", after("rollout: one batch"))
    wrap(LocalEngine, "rollout", rollout)
    wrap(loop, "log_prob_pass", after("log-prob pass"))
    wrap(loop, "begin_scoring", lambda original, *args: functools.partial(after("reward"), original(*args)))
    wrap(torch.optim.AdamW, "step", after("update: one optimiser step"))
    wrap(tracking, "append_line", append_line)


def _plant_in_the_rest(plan: Plan) -> None:
    from rl4lms.runs import storage
    from rl4lms.supervised import trainer
    from rl4lms.training import result

    def rename(name: str) -> Callable[..., Any]:
        def around(original: Callable[..., Any], old: Any, new: Any) -> None:
            path = Path(new)
            place = "checkpoint" if path.name.startswith("step-0") and path.suffix == "" else path.name
            place = "samples" if path.suffix == ".jsonl" and path.name.startswith("step-") else place
            place = "evaluations" if path.suffix == ".json" and path.name.startswith("step-") else place
            plan.at(f"{place}: before the rename")
            original(old, new)
            plan.at(f"{place}: renamed")

        return around

    def save_model(original: Callable[..., Any], *args: Any) -> None:
        original(*args)
        plan.at("model: files written")

    def progress(original: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        plan.at("warm start: one step")
        original(*args, **kwargs)

    # `storage` calls os.rename and os.replace; only its own view of the module is changed.
    names = {
        "rename": functools.partial(rename("rename"), os.rename),
        "replace": functools.partial(rename("replace"), os.replace),
    }
    storage.os = _Module(os, **names)
    wrap(result, "save_model", save_model)
    wrap(trainer._Progress, "on_step_end", progress)


class _Module:
    """A module of which some functions are replaced."""

    def __init__(self, original: Any = None, **names: Any) -> None:
        self.__dict__.update(names)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def child(order: dict[str, Any]) -> None:
    """Runs one command; never returns."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    code = 1
    try:
        from rl4lms.cli.main import main as rl4lms

        phase = Phase(Path(order["phase"]))
        note_phases(phase)
        plant(Plan(order["plan"], phase))
        sys.argv = ["rl4lms", *order["words"]]
        rl4lms()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - whatever it is, the test shows it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve(orders: Connection, folder: Path, environment: dict[str, str]) -> None:
    """Takes orders until the pipe is closed; what goes wrong here is in `nursery.log`."""
    os.dup2(os.open(folder / "nursery.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.environ.update(environment)
    import torch

    import rl4lms.cli.main  # noqa: F401 - the children need not import it

    torch.set_num_threads(1)
    orders.send({"ready": True})
    while True:
        try:
            order = orders.recv()
        except EOFError:
            return
        pid = os.fork()
        if not pid:
            child(order)
        orders.send({"pid": pid})
        _, status = os.waitpid(pid, 0)
        orders.send({"status": status})
