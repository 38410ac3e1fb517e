"""What a comparison finds: means and differences of systems on the same prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rl4lms.stats.paired import Contrast
from rl4lms.studies.systems import System


@dataclass(frozen=True, slots=True)
class Column:
    """A metric that is shown.

    Attributes:
        key: its name in evaluations.
        heading: what tables call it, with an arrow where a direction is better.
        meaning: a sentence, where there is one.
        higher_is_better: None where neither direction is better.
    """

    key: str
    heading: str
    meaning: str = ""
    higher_is_better: bool | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one system minus that of another.

    Attributes:
        metric: its key.
        system, against: labels; the difference is system minus against.
        mean: the difference.
        stderr: its standard error; None where the runs say nothing of it.
        interval: ends of the 95 % interval; infinite where the error is not known.
        over: what the error covers: `prompts`, `prompts and seeds`, `seeds`, or nothing.
        prompts: that have a value in every run; 0 for a number of the whole set.
        seeds: runs of the system and of the other.
    """

    metric: str
    system: str
    against: str
    mean: float
    stderr: float | None
    interval: tuple[float, float]
    over: str
    prompts: int
    seeds: tuple[int, int]

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True, slots=True)
class Findings:
    """Systems on the same prompts.

    Attributes:
        systems: the rows: models before training first, where there are any.
        columns: the metrics, the one that matters most first.
        results: mean and error by label and metric.
        masked: the same decoded inside NLPO's mask, of the systems that have one.
        differences: of each system against another, by metric.
        notes: what a reader has to know of them.
    """

    systems: tuple[System, ...]
    columns: tuple[Column, ...]
    results: Mapping[str, Mapping[str, Contrast]]
    masked: Mapping[str, Mapping[str, Contrast]]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    def difference(self, metric: str, system: str) -> Difference | None:
        """Return the difference of a system in a metric, if there is one."""
        found = (d for d in self.differences if (d.metric, d.system) == (metric, system))
        return next(found, None)
