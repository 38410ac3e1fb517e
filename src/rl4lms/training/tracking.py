"""Where numbers and texts go: `metrics.jsonl` and `samples/` always, other trackers when asked for. Nothing is sent anywhere by default."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rl4lms.config.training import TrackingConfig
from rl4lms.errors import MissingExtraError


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
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        self._trackers = [_TRACKERS[name](folder, config.project, run_name, settings) for name in config.report_to]

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Appends one line; NaN becomes null, which JSON can hold."""
        line = {"step": step} | {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for tracker in self._trackers:
            tracker.log(step, numbers)

    def log_samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes sample generations of one evaluation."""
        path = self.folder / "samples" / f"step-{step:06d}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")

    def cut_after(self, step: int) -> int:
        """Drops what was logged after `step`, which a resumed run writes again; returns the number of lines that were dropped."""
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.is_file() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        if len(kept) < len(lines):
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text("".join(kept), encoding="utf-8")
            temporary.replace(self.path)
        for path in (self.folder / "samples").glob("step-*.jsonl"):
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink()
        return len(lines) - len(kept)

    def close(self) -> None:
        """Closes the other trackers."""
        for tracker in self._trackers:
            tracker.close()


class _TensorBoard:
    def __init__(self, folder: Path, project: str, run_name: str, settings: Mapping[str, Any]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard", "track") from error
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for key, value in numbers.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        self._writer.close()


class _WandbLike:
    """Weights & Biases, and trackio, which has the same calls."""

    def __init__(self, module: str, project: str, run_name: str, settings: Mapping[str, Any]) -> None:
        import importlib

        try:
            self._module = importlib.import_module(module)
        except ImportError as error:
            raise MissingExtraError(module, "track") from error
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
