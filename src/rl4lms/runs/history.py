"""What a run has logged, line by line, as Python and pandas see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl4lms.errors import CheckpointError, ConfigError, did_you_mean
from rl4lms.log_keys import describe

if TYPE_CHECKING:
    from pandas import DataFrame


class History(list[dict[str, Any]]):
    """The numbers of a run by iteration: one mapping from log key to number each, with `step`.

    Step 0 is the evaluation before training. A key is missing where it was not measured, and its value is None where it
    was not finite.
    """

    def series(self, key: str) -> list[tuple[int, float]]:
        """Return (step, value) of a log key, without the steps that have no value.

        Raises:
            ConfigError: the run did not log the key, and no run has one of exactly this name (docs/log-keys.md).
        """
        known = self.log_keys()
        line = None if key in known else describe(key)
        if known and key not in known and (line is None or line.is_family):
            raise ConfigError(f"{key!r} was not logged; {did_you_mean(key, known)}")
        return [(line["step"], line[key]) for line in self if line.get(key) is not None]

    def log_keys(self) -> list[str]:
        """Return the log keys that some iteration has, in alphabetical order."""
        return sorted({key for line in self for key in line} - {"step"})

    def to_pandas(self) -> DataFrame:
        """Return a data frame with one row for each iteration, `step` as its index and the log keys as columns."""
        import pandas

        return pandas.DataFrame(self, columns=["step", *self.log_keys()]).set_index("step")


def read_history(folder: Path) -> History:
    """Read `metrics.jsonl` of a run folder; a torn last line, of a run that goes on or was killed, is left out.

    Raises:
        CheckpointError: there is none, or a line is damaged.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; name the folder of a run that has begun")
    history = History()
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
            row["step"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}:{number}: a damaged line; rl4lms train RUN --resume mends it") from error
        history.append(row)
    return history
