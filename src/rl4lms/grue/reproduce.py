"""Runs cells again from recipe and seed: the third tier of a board.

On a processor of the kind that made a cell, with the same packages, texts and numbers are the same to the last bit.
Elsewhere sums are rounded in another order, a token is sampled otherwise sooner or later, and from there on the
training is another one with the same start, prompts and settings, like one of another seed. So there a number may
differ by as much as it does between seeds: by `TOLERANCE` standard errors of the difference, as the prompts give them.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.access import NO_CODE, Access
from rl4lms.grue.executors import Processes
from rl4lms.grue.jobs import Job, Show
from rl4lms.grue.result import RESULTS_FILE, Result, Value, read_results
from rl4lms.grue.runner import Grid
from rl4lms.grue.scores import read_scores
from rl4lms.grue.spec import Outside
from rl4lms.grue.verify import passed
from rl4lms.runs.environment import processor

#: Of 5,700 differences between two seeds of one system in `reports/grue-mini`, the largest is 5.6.
TOLERANCE = 6.0


@dataclass(frozen=True, slots=True)
class Rerun:
    """How a cell that was run again compares with what it was.

    Attributes:
        faults: what makes it none that was reproduced; none where it was.
        note: how it was reproduced: to the last bit, or how near.
    """

    faults: list[str]
    note: str = ""


def reproduce(place: Path, show: AbstractContextManager[Show], access: Access = NO_CODE) -> Rerun:
    """Run a cell again, and the one that it begins with, in a temporary folder, and compare. A cell without faults is
    *re-run*.

    Args:
        place: folder of the cell.
        show: shows what runs.
        access: how cells are opened.

    Raises:
        ConfigError: it holds predictions that no recipe made, or the recipe names code that may not be run.
        DataError: a file is damaged, or the cell fails when it is run again.
    """
    cell, results = access.open(place, training=True), read_results(place / RESULTS_FILE)
    if isinstance(cell, Outside):
        raise ConfigError(f"{cell.key}: there is no recipe to run again; these predictions were made by {cell.model}")
    cells = [one for one in (cell.after, cell) if one is not None]
    with tempfile.TemporaryDirectory(prefix="rl4lms-grue-") as temporary:
        grid = Grid(Path(temporary), cells)
        failed: list[Job] = grid.run(executor=Processes(1), show=lambda *_: show, finished=lambda *_: None)
        if failed:
            raise DataError(f"{cell.key}: it could not be run again: {failed[0].error}")
        again = {result.decoding: result for result in grid.results(cell)}
        done = _compared(cell.key, [(place, grid.place(cell), one, again[one.decoding]) for one in results])
    if not done.faults:
        passed(place, "re-run", done.note)
    return done


def _compared(key: str, pairs: list[tuple[Path, Path, Result, Result]]) -> Rerun:
    """Compare (folder, other folder, result, other result) of each decoding."""
    differences = [text for pair in pairs for text in _differences(key, *pair)]
    if not differences:
        return Rerun([], "the same texts and numbers to the last bit")
    first, again = pairs[0][2:]
    before, here = first.processor, processor()
    newer = [name for name, version in again.packages.items() if first.packages.get(name) != version]
    others = [name for name in newer if name != "rl4lms"]  # which has to give the same, or say why not
    if before == here and not others:
        return Rerun([*differences, f"{key}: and it was made with these packages on such a processor as this, {here}"])
    faults: list[str] = []
    largest, unknown = (0.0, "no number"), 0
    for _, _, one, two in pairs:
        for name, value in one.metrics.items():
            where, other = f"{key}, {one.decoding}", two.metrics.get(name)
            if other is None or (value.mean is None) != (other.mean is None):
                faults.append(f"{where}: {name} is there once and not the other time")
            elif value != other and value.mean is not None:
                distance = _distance(value, other)
                if distance is None:
                    unknown += 1
                    continue
                largest = max(largest, (distance, f"{name}, {one.decoding}"))
                if distance > TOLERANCE:
                    faults.append(
                        f"{where}: {name} {value.mean}, now {other.mean}: {distance:.1f} standard errors of the "
                        f"difference, and {TOLERANCE:g} may be"
                    )
    made = "another processor" if before is None else before
    made += f" with other versions of {', '.join(others)}" if others else ""
    note = (
        f"within the tolerance: made on {made}, run again on {here}; the largest difference is {largest[0]:.1f} of "
        f"{TOLERANCE:g} standard errors ({largest[1]}); not compared, because they have no errors: {unknown}"
    )
    return Rerun(faults, note)


def _differences(key: str, place: Path, other: Path, result: Result, again: Result) -> Iterator[str]:
    where = f"{key}, {result.decoding}"
    ours, theirs = (read_scores(path / result.scores).completions() for path in (place, other))
    if [prompt for prompt, _ in ours] != [prompt for prompt, _ in theirs]:
        yield f"{where}: other prompts"
    elif different := sum(one != two for one, two in zip(ours, theirs, strict=True)):
        yield f"{where}: {different} of {len(ours)} texts are others"
    for name, value in result.metrics.items():
        now = again.metrics.get(name)
        if value != now:
            yield f"{where}: {name} {value.mean}, now {'missing' if now is None else now.mean}"


def _distance(one: Value, two: Value) -> float | None:
    """Return how many standard errors of the difference two means are apart; None where they have no errors."""
    if one.mean is None or two.mean is None or one.stderr is None or two.stderr is None:
        return None
    error, difference = math.hypot(one.stderr, two.stderr), abs(one.mean - two.mean)
    return difference / error if error else math.inf if difference else 0.0
