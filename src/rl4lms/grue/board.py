"""Tables of what a grid has measured: a pure function of the files of its cells.

A number is the mean over prompts and seeds; its error covers both, see `rl4lms.stats.paired.contrast`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rl4lms.errors import ConfigError, DataError, did_you_mean
from rl4lms.grue.result import RESULTS_FILE, Decoding, Result, read_results
from rl4lms.grue.scores import Scores, read_scores
from rl4lms.grue.submission import grids
from rl4lms.grue.suite import CELLS, SYSTEMS, TASKS
from rl4lms.grue.verify import TIERS, Tier, tier_of
from rl4lms.stats.hierarchical import MANY_SEEDS, hierarchical_bootstrap
from rl4lms.stats.paired import Contrast, contrast, contrast_of_sets
from rl4lms.stats.ranks import Rank, rank_intervals
from rl4lms.tasks import build as build_task

#: The cells of a task in one edition and version, by these.
Groups = Mapping[tuple[str, int, str], Sequence["Measured"]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One cell, decoded in one way: its result, its values by prompt, and how far it was checked."""

    result: Result
    scores: Scores
    tier: Tier = "reported"


@dataclass(frozen=True, slots=True)
class TaskBoard:
    """The table of one task.

    Attributes:
        task, version, edition, decoding: of what.
        prompts: how many each system answered.
        columns: metrics by key: whether higher is better.
        rows: by system: its seeds, and its number by metric; what was not measured is not there.
        tiers: by system: how far all of its cells were checked.
        ranks: by metric and system, of the systems that have every seed of the task; none of a metric without a better
            end.
    """

    task: str
    version: int
    edition: str
    decoding: Decoding
    prompts: int
    columns: Mapping[str, bool | None]
    rows: Mapping[str, tuple[int, Mapping[str, Contrast]]]
    tiers: Mapping[str, Tier]
    ranks: Mapping[str, Mapping[str, Rank]]

    @property
    def title(self) -> str:
        """What it is a table of, in one line."""
        how = "its own decoding" if self.decoding == "own" else "the decoding that all share"
        return f"{self.task} {self.edition}, version {self.version}: {self.prompts} test prompts, each system at {how}"


def read_cells(folder: Path) -> list[tuple[Path, Result]]:
    """Return every result of a grid, or of a folder of submissions, with the folder of its cell.

    Raises:
        ConfigError: there is no finished cell.
        DataError: a file is damaged, or lies where another cell would; a cell is there twice.
    """
    found, places = [], dict[tuple[object, ...], Path]()
    for path in sorted(path for grid in grids(folder) for path in (grid / CELLS).glob(f"*/*/*/{RESULTS_FILE}")):
        for result in read_results(path):
            key = (result.task, result.system, f"seed-{result.seed}")
            if key != path.parent.parts[-3:]:
                raise DataError(f"{path}: says that it is of the cell {'/'.join(key)}")
            which = (*key, result.decoding, result.edition, result.task_version)
            if which in places:
                raise DataError(
                    f"{path}: a second result of {'/'.join(key)}, {result.decoding}; the first is in {places[which]}; "
                    "give one of the systems another label, or let one submission supersede the other"
                )
            places[which] = path
            found.append((path.parent, result))
    if not found:
        raise ConfigError(f"{folder}: no cell of a grid is finished there; run one: rl4lms grue run --output {folder}")
    return found


def read_groups(grid: Path | Sequence[tuple[Path, Result]], decoding: Decoding) -> Groups:
    """Return the cells of each task, decoded in one way, in the order of the paper's tasks.

    Args:
        grid: its folder, or that of submissions; or results with the folders of their cells, as `stored.read_stored`
            returns them.
        decoding: which of the two.

    Raises:
        ConfigError, DataError: see `read_cells`; also where cells of a task were evaluated on different prompts.
    """
    groups: dict[tuple[str, int, str], list[Measured]] = {}
    for place, result in read_cells(grid) if isinstance(grid, Path) else grid:
        if result.decoding == decoding:
            measured = Measured(result, read_scores(place / result.scores), tier_of(place))
            groups.setdefault((result.task, result.task_version, result.edition), []).append(measured)
    for cells in groups.values():
        _check_prompts(cells)
    order = {name: number for number, name in enumerate(TASKS)}
    return {key: groups[key] for key in sorted(groups, key=lambda key: (order.get(key[0], len(order)), key))}


def _check_prompts(cells: Sequence[Measured]) -> None:
    first = cells[0]
    for cell in cells:
        if cell.result.prompts != first.result.prompts:
            prompts = sorted({cell.result.prompts for cell in cells})
            raise DataError(f"{first.result.task}: cells were evaluated on different numbers of prompts: {prompts}")
        if (cell.scores.ids, cell.scores.documents) != (first.scores.ids, first.scores.documents):
            raise DataError(
                f"{cell.scores.path}: its prompts, or the documents that they are from, are not those of "
                f"{first.scores.path}; what is compared must answer the same prompts in the same order"
            )


def boards(folder: Path, decoding: Decoding, metrics: Sequence[str] = ()) -> list[TaskBoard]:
    """Compute the table of each task of a grid; see `boards_of`."""
    return boards_of(read_groups(folder, decoding), metrics)


def boards_of(groups: Groups, metrics: Sequence[str] = ()) -> list[TaskBoard]:
    """Compute the table of each task.

    Args:
        groups: of `read_groups`.
        metrics: keys that are shown; where there are none, those that the task names, else all.

    Raises:
        ConfigError: no task has one of the metrics.
    """
    known = {key for group in groups.values() for one in group for key in one.result.metrics}
    for key in metrics:
        if key not in known:
            raise ConfigError(f"metric {key!r}: no result has it; {did_you_mean(key, known)}")
    return [_board(group, metrics) for group in groups.values()]


def _board(cells: Sequence[Measured], metrics: Sequence[str]) -> TaskBoard:
    first = cells[0].result
    directions = {key: value.higher_is_better for cell in cells for key, value in cell.result.metrics.items()}
    shown = [key for key in (metrics or _named(first, directions)) if key in directions]
    systems = by_system(cells)
    rows = {
        system: (len(own), {key: number for key in shown if (number := estimate(key, own)) is not None})
        for system, own in systems.items()
    }
    tiers = {system: lowest_tier(own) for system, own in systems.items()}
    columns = {key: directions[key] for key in shown}
    ranks = {key: _ranks(key, better, systems) for key, better in columns.items() if better is not None}
    about = (first.task, first.task_version, first.edition, first.decoding, first.prompts)
    return TaskBoard(*about, columns, rows, tiers, ranks)


def by_system(cells: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Return the cells of each system in the order of seeds, the paper's systems first."""
    systems = sorted({cell.result.system for cell in cells}, key=_place)
    return {
        system: sorted((cell for cell in cells if cell.result.system == system), key=lambda cell: cell.result.seed)
        for system in systems
    }


def lowest_tier(cells: Iterable[Measured]) -> Tier:
    """Return how far all of some cells were checked."""
    return min((cell.tier for cell in cells), key=TIERS.index)


def seeds_of(cells: Iterable[Measured]) -> set[int]:
    """Return the seeds of some cells."""
    return {cell.result.seed for cell in cells}


def _ranks(key: str, higher_is_better: bool, systems: Mapping[str, Sequence[Measured]]) -> dict[str, Rank]:
    """Return the ranks of the systems that have every seed of any, and the metric in each."""
    every = set().union(*(seeds_of(own) for own in systems.values()))
    values = {
        system: number.value
        for system, own in systems.items()
        if seeds_of(own) == every and (number := estimate(key, own)) is not None
    }
    ranked = list(values)
    p_values = {}
    for i, j in combinations(range(len(ranked)), 2):
        difference = estimate(key, systems[ranked[i]], systems[ranked[j]])
        p_values[i, j] = None if difference is None else difference.cautious_p_value
    found = rank_intervals(list(values.values()), p_values, higher_is_better=higher_is_better)
    return dict(zip(ranked, found, strict=True))


def _place(system: str) -> tuple[int, str]:
    return (SYSTEMS.index(system) if system in SYSTEMS else len(SYSTEMS), system)


def _named(result: Result, there: Iterable[str]) -> list[str]:
    """Return the metrics that a task names for its table, or all but the reward's parts."""
    task = build_task(result.task, edition=result.edition)
    named = [key for keys in getattr(task, "board", {}).values() for key in keys]
    return named or [key for key in there if not key.startswith("reward/")]


def estimate(key: str, ours: Sequence[Measured], theirs: Sequence[Measured] | None = None) -> Contrast | None:
    """Return a metric of a system, or the difference of two; None where a seed has none.

    Args:
        key: of the metric.
        ours, theirs: the cells of a system on a task.
    """
    sides = [ours] if theirs is None else [ours, theirs]
    means = [[_mean(key, cell) for cell in side] for side in sides]
    if any(mean is None for side in means for mean in side):
        return None
    values = [[cell.scores.values(key) for cell in side] for side in sides]
    if any(row is None for side in values for row in side):
        return contrast_of_sets(*means)  # type: ignore[arg-type]  # none is None
    tables = [np.array(side, dtype=np.float64) for side in values]
    if not np.isfinite(np.concatenate(tables)).all(0).any():
        return None
    return crossed(tables, ours[0].scores.documents)


def crossed(tables: Sequence[NDArray[np.float64]], documents: Sequence[str]) -> Contrast:
    """Return the mean of one table (seeds, prompts), or the difference of two.

    The mean of ten seeds or more has the interval of a bootstrap over seeds and documents. Of a difference the test is
    what is asked for, and that is `contrast`'s.
    """
    found = contrast(*tables, clusters=documents)
    if len(tables) > 1 or len(tables[0]) < MANY_SEEDS:
        return found
    there = np.flatnonzero(np.isfinite(tables[0]).all(axis=0))
    kept = [documents[int(place)] for place in there]
    interval = hierarchical_bootstrap(tables[0][:, there], clusters=kept).estimate
    return replace(found, low=interval.low, high=interval.high)


def _mean(key: str, cell: Measured) -> float | None:
    return cell.result.metrics[key].mean if key in cell.result.metrics else None
