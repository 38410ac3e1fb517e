"""The overall table: tasks of different metrics in one number, by constants that stand with each task.

The score of a run on a task is the mean of the task's metrics, each normalised by `norms`; a system's score is the mean
over tasks. A system that lacks a task or a seed that others have gets neither score nor rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rl4lms.grue.board import Groups, Measured, by_system, lowest_tier, seeds_of
from rl4lms.grue.norms import Norm, normalised, norms_of
from rl4lms.grue.suite import TASKS
from rl4lms.grue.verify import Tier
from rl4lms.stats.base import Estimate
from rl4lms.stats.hierarchical import MANY_SEEDS, hierarchical_bootstrap
from rl4lms.stats.improvement import probability_of_improvement
from rl4lms.stats.intervals import iqm, stratified_bootstrap_ci
from rl4lms.stats.paired import Contrast, cluster_values, contrast, mean_contrast
from rl4lms.stats.ranks import Rank, rank_intervals
from rl4lms.tasks import build as build_task

Array = NDArray[np.float64]
Kind = Literal["task", "naturalness"]
#: What the probability of improvement is over.
BASELINE = "supervised"


@dataclass(frozen=True, slots=True)
class Row:
    """A system in the overall table.

    Attributes:
        tier: how far all of its cells were checked.
        seeds: how many.
        lacks: what it lacks of what others have; then there are no numbers.
        score: the normalised metrics of tasks, the mean over tasks.
        naturalness: the same of the metrics of naturalness that have constants; None where there are none.
        rank: by `score`; None where its error is not known, with one seed.
        iqm: interquartile mean of the scores of all runs on all tasks.
        improvement: probability that a run is better than one of `BASELINE`; None for itself, and without a complete
            `BASELINE`.
    """

    tier: Tier
    seeds: int
    lacks: str = ""
    score: Contrast | None = None
    naturalness: Contrast | None = None
    rank: Rank | None = None
    iqm: Estimate | None = None
    improvement: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Overall:
    """The overall table of an edition.

    Attributes:
        edition: of the tasks.
        tasks: those that count.
        rows: by system.
        absent: why there is no table; empty where there is one.
    """

    edition: str
    tasks: Sequence[str]
    rows: Mapping[str, Row]
    absent: str = ""


@dataclass(frozen=True, slots=True)
class _Task:
    """A task that counts: its cells by system, and by kind the constants of its metrics."""

    name: str
    cells: Mapping[str, Sequence[Measured]]
    norms: Mapping[Kind, Mapping[str, Norm]]

    @property
    def seeds(self) -> set[int]:
        return set().union(*(seeds_of(own) for own in self.cells.values()))


def overall_boards(groups: Groups) -> list[Overall]:
    """Compute the overall table of each edition that a grid has; tasks that are not the paper's do not count.

    Args:
        groups: of `rl4lms.grue.board.read_groups`.
    """
    counted = [key for key in groups if key[0] in TASKS]
    return [_overall(edition, groups) for edition in dict.fromkeys(edition for _, _, edition in counted)]


def _overall(edition: str, groups: Groups) -> Overall:
    keys = [key for key in groups if key[0] in TASKS and key[2] == edition]
    names = [name for name, _, _ in keys]
    tasks = []
    for name, version, _ in keys:
        built = build_task({"name": name, "edition": edition})
        if names.count(name) > 1:
            return Overall(edition, sorted(set(names), key=names.index), {}, f"cells of {name} are of several versions")
        known = norms_of(built, version)
        named: Mapping[str, Sequence[str]] = getattr(built, "board", {})
        norms: dict[Kind, dict[str, Norm]] = {
            "task": {key: known[key] for key in named["task"] if key in known},
            "naturalness": {key: known[key] for key in named["naturalness"] if key in known},
        }
        if not norms["task"]:
            return Overall(
                edition,
                names,
                {},
                f"no constants (base model, references) are known for {name} {edition}, version {version}",
            )
        tasks.append(_Task(name, by_system(groups[name, version, edition]), norms))
    return Overall(edition, names, _rows(tasks))


def _rows(tasks: Sequence[_Task]) -> dict[str, Row]:
    cells = [cell for task in tasks for own in task.cells.values() for cell in own]
    rows = {
        system: Row(lowest_tier(own), len(seeds_of(own)), _lacking(system, tasks))
        for system, own in by_system(cells).items()
    }
    complete = [system for system, row in rows.items() if not row.lacks]
    by_run = {system: [_by_run(task.cells[system], task.norms["task"]) for task in tasks] for system in complete}
    for system, rank in _ranks(complete, tasks).items():
        rows[system] = replace(
            rows[system],
            score=_score("task", tasks, system),
            naturalness=_score("naturalness", tasks, system),
            rank=rank,
            iqm=stratified_bootstrap_ci(by_run[system], iqm, resamples=1000),
            improvement=probability_of_improvement(by_run[system], by_run[BASELINE])
            if BASELINE in by_run and system != BASELINE
            else None,
        )
    return rows


def _lacking(system: str, tasks: Sequence[_Task]) -> str:
    """Say which tasks, seeds or metrics of others a system lacks."""
    there = [task for task in tasks if system in task.cells]
    if len(there) < len(tasks):
        return f"{len(there)} of {len(tasks)} tasks"
    for task in there:
        own = seeds_of(task.cells[system])
        if own != task.seeds:
            return f"{len(own)} of {len(task.seeds)} seeds of {task.name}"
        for key in (*task.norms["task"], *task.norms["naturalness"]):
            if _tables(task.cells[system], key) is None:
                return f"no {key} of {task.name}"
    return ""


def _tables(ours: Sequence[Measured], key: str) -> Array | None:
    """Return a metric of a system, (seeds, prompts); of a metric of the whole set the same number for every prompt.

    Returns:
        None where a run has no number, or no prompt has a value in every run.
    """
    if any(key not in cell.result.metrics or cell.result.metrics[key].mean is None for cell in ours):
        return None
    values = [cell.scores.values(key) for cell in ours]
    if any(row is None for row in values):
        means = [cell.result.metrics[key].mean for cell in ours]
        return np.repeat(np.array(means, dtype=np.float64)[:, None], ours[0].result.prompts, axis=1)
    table = np.array(values, dtype=np.float64)
    return table if np.isfinite(table).all(0).any() else None


def _by_run(cells: Sequence[Measured], norms: Mapping[str, Norm]) -> list[float]:
    """Return the score of each run on a task."""
    table = [[cell.result.metrics[key].mean for cell in cells] for key in norms]
    each = [normalised(row, norm) for row, norm in zip(np.array(table, dtype=np.float64), norms.values(), strict=True)]
    runs: list[float] = np.mean(each, axis=0).tolist()
    return runs


def _composites(sides: Sequence[Sequence[Measured]], norms: Mapping[str, Norm]) -> list[Array]:
    """Return the mean of the normalised metrics of systems on a task, (seeds, documents) of each.

    A prompt that has no value of a metric in some run is left out of that metric, for all of these systems.
    """
    documents, total = sides[0][0].scores.documents, [np.zeros(1) for _ in sides]
    for key, norm in norms.items():
        found = [_tables(side, key) for side in sides]
        tables = [normalised(table, norm) for table in found if table is not None]
        there = np.isfinite(np.concatenate(tables)).all(0)
        of_documents = [cluster_values(np.where(there, table, np.nan), documents) for table in tables]
        total = [sum_ + one / len(norms) for sum_, one in zip(total, of_documents, strict=True)]
    return total


def _score(kind: Kind, tasks: Sequence[_Task], *systems: str) -> Contrast | None:
    """Return the score of a system, or the difference of two; None where no task has such constants."""
    counted = [task for task in tasks if task.norms[kind]]
    if not counted:
        return None
    each = [_composites([task.cells[system] for system in systems], task.norms[kind]) for task in counted]
    found = mean_contrast([contrast(*tables) for tables in each])
    prompts = sum(task.cells[systems[0]][0].result.prompts for task in counted)
    if len(systems) == 1 and min(len(tables[0]) for tables in each) >= MANY_SEEDS:
        draws = [hierarchical_bootstrap(*tables, seed=number).draws for number, tables in enumerate(each)]
        low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
        found = replace(found, low=float(low), high=float(high))
    return replace(found, prompts=prompts)


def _ranks(systems: Sequence[str], tasks: Sequence[_Task]) -> dict[str, Rank | None]:
    """Return the ranks of complete systems; None where one seed says nothing of the error."""
    scores = [_score("task", tasks, system) for system in systems]
    values = [score.value for score in scores if score is not None]
    p_values = {
        (i, j): None if (one := _score("task", tasks, systems[i], systems[j])) is None else one.cautious_p_value
        for i, j in combinations(range(len(systems)), 2)
    }
    found = rank_intervals(values, p_values)
    return {
        system: rank if score is not None and score.stderr is not None else None
        for system, score, rank in zip(systems, scores, found, strict=True)
    }
