"""Where numbers and texts go: `metrics.jsonl` and `samples/` always, other trackers when asked for. Nothing is sent
anywhere by default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rl4lms.config.training import TrackingConfig
from rl4lms.plugins.packages import of_extra
from rl4lms.rewards.faults import Fault
from rl4lms.runs.evaluations import FOLDER as EVALUATIONS
from rl4lms.runs.evaluations import step_of
from rl4lms.runs.storage import append_line, fsync, tidy, write_text

FAULTS_FILE = "faults.jsonl"
_SHOWN_LINES = 10
# Enough to see what is wrong; a reward that fails all night must not fill the disk.
_FAULTS_PER_STEP, _FAULTS_PER_RUN = 5, 100


class Tracker(Protocol):
    """Receives the numbers of one step."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class RunLog:
    """The run folder's own record, and the trackers beside it.

    Args:
        folder: the run folder.
        config: which trackers to report to.
        run_name: name of the run there.
        settings: the resolved recipe, shown by trackers that show settings.
    """

    def __init__(self, folder: Path, config: TrackingConfig, run_name: str, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.path = folder / "metrics.jsonl"
        for name in ("samples", EVALUATIONS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._trackers = [_TRACKERS[name](folder, config.project, run_name, settings) for name in config.report_to]

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Append one line; NaN becomes null, which JSON can hold."""
        line = {"step": step} | {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        append_line(self.path, json.dumps(line))
        for tracker in self._trackers:
            tracker.log(step, numbers)

    def log_samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write sample generations of one evaluation."""
        path = self.folder / "samples" / f"step-{step:06d}.jsonl"
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def log_faults(self, step: int, during: str, faults: Sequence[Fault]) -> None:
        """Append the first faults of an iteration to `faults.jsonl`, as long as the run has few of them; the counts are
        in the metrics.

        Args:
            step: the iteration, as in the metrics.
            during: `rollout` or `evaluation`.
            faults: what went wrong in the reward.
        """
        path = self.folder / FAULTS_FILE
        told = len(path.read_bytes().splitlines()) if faults and path.is_file() else 0
        for fault in faults[: max(0, min(_FAULTS_PER_STEP, _FAULTS_PER_RUN - told))]:
            append_line(path, json.dumps({"step": step, "during": during, **fault.record()}))

    def sync(self) -> None:
        """Make sure that the numbers are on the disk before a checkpoint that counts on them is."""
        if self.path.is_file():
            fsync(self.path)

    def cut_after(self, step: int, unlogged: bool = False) -> list[str]:
        """Drop what was logged after `step`, which a resumed run writes again, and what cannot be read.

        Args:
            step: the last iteration that stays.
            unlogged: of this one, only the rollout stays: its evaluation is made again, and its line written then.

        Returns:
            Notes for the user about lines up to `step` that are damaged or missing.
        """
        rollouts, step = step, step - unlogged
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.is_file() else []
        found = [_step_of(line) for line in lines]
        kept = [line for line, number in zip(lines, found, strict=True) if number is not None and number <= step]
        if len(kept) < len(lines):
            write_text(self.path, b"".join(kept).decode("utf-8"))
        for path in (self.folder / "samples").glob("step-*.jsonl"):
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink()
        for path in (self.folder / EVALUATIONS).glob("step-*.json"):
            if (of := step_of(path)) is not None and of > step:
                path.unlink()
        faults = self.folder / FAULTS_FILE
        if faults.is_file():
            lines = faults.read_bytes().splitlines(keepends=True)
            last = [rollouts if b'"during": "rollout"' in line else step for line in lines]
            kept = [
                line
                for line, until in zip(lines, last, strict=True)
                if (n := _step_of(line)) is not None and n <= until
            ]
            write_text(faults, b"".join(kept).decode("utf-8"))
        for name in ("samples", EVALUATIONS):
            tidy(self.folder / name)
        missing = [str(number) for number in range(step + 1) if number not in found]
        shown = ", ".join(missing[:_SHOWN_LINES]) + (" …" if len(missing) > _SHOWN_LINES else "")
        return [f"{self.path}: the lines of these iterations are damaged or missing: {shown}"] if missing else []

    def close(self) -> None:
        """Close the other trackers."""
        for tracker in self._trackers:
            tracker.close()


class SilentLog(RunLog):
    """The log of a process that writes nothing."""

    def __init__(self, folder: Path, config: TrackingConfig, run_name: str, settings: Mapping[str, Any]) -> None:
        self.folder, self.path, self._trackers = folder, folder / "metrics.jsonl", []


def _step_of(line: bytes) -> int | None:
    """Return the step of a logged line; None where it is torn or damaged."""
    try:
        step = json.loads(line.decode("utf-8"))["step"] if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


class _TensorBoard:
    def __init__(self, folder: Path, project: str, run_name: str, settings: Mapping[str, Any]) -> None:
        of_extra("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for key, value in numbers.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        self._writer.close()


class _WandbLike:
    """Weights & Biases, and trackio, which has the same calls."""

    def __init__(self, module: str, project: str, run_name: str, settings: Mapping[str, Any]) -> None:
        self._module = of_extra(module)
        self._module.init(project=project, name=run_name, config=dict(settings))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._module.log(dict(numbers), step=step)

    def close(self) -> None:
        self._module.finish()


_TRACKERS: dict[str, Any] = {
    "tensorboard": _TensorBoard,
    "wandb": lambda folder, *args: _WandbLike("wandb", *args),
    "trackio": lambda folder, *args: _WandbLike("trackio", *args),
}
