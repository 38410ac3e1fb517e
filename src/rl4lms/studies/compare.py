"""Compares runs on the same prompts: what `rl4lms.compare`, `rl4lms compare` and `rl4lms report` are built on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rl4lms.config.resolve import flat
from rl4lms.errors import ConfigError, DataError, did_you_mean
from rl4lms.runs.evaluations import Evaluation
from rl4lms.stats.paired import Contrast, contrast, contrast_of_sets
from rl4lms.studies.findings import Column, Difference, Findings
from rl4lms.studies.systems import System, group, named, read_run, refuse_different, with_starts

if TYPE_CHECKING:
    from rich.console import Console

    from rl4lms.training.result import RunResult

#: Each system against the model that its training began with, where that is known.
START = "start"
# Shown last, in this order: what was optimised, how far it went, how long texts are.
_LAST = ("reward", "kl_per_sequence", "completion_tokens", "terminated")
# Other forms of `kl_per_sequence`, and what says little of texts: shown where `metrics` names them.
_ON_DEMAND = ("kl_per_token", "kl_k3_per_token", "kl_behaviour_per_token", "kl_behaviour_per_sequence", "entropy")


@dataclass(frozen=True, slots=True)
class Comparison(Findings):
    """Systems on the same prompts, and how they are shown."""

    def to_markdown(self) -> str:
        """Return tables and texts as Markdown."""
        from rl4lms.studies.compare_text import markdown

        return markdown(self)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return a complete page; written to `path` where one is given."""
        from rl4lms.runs.storage import write_text
        from rl4lms.studies.compare_page import html

        text = html(self)
        if path is not None:
            write_text(Path(path), text)
        return text

    def show(self, console: Console) -> None:
        """Print tables and texts, for a terminal of 80 columns or more."""
        from rl4lms.studies.compare_text import show

        show(self, console)

    def _repr_html_(self) -> str:
        from rl4lms.studies.compare_page import fragment

        return fragment(self)

    def __str__(self) -> str:
        return self.to_markdown()


def compare(
    runs: Iterable[str | Path | RunResult] | Mapping[str, Any],
    *,
    against: str | Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
    evaluate: bool = False,
    split: str | None = None,
    overrides: Iterable[str] = (),
    keep: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Compare runs prompt by prompt.

    Runs that differ in nothing but their seed are one system. By default the evaluations are compared that the runs
    have kept of the models that training ended with.

    Args:
        runs: run folders, results of `rl4lms.train`, or files of `rl4lms evaluate --output`; `label=path`, or a mapping
            from label to a path or several, gives them names.
        against: the label of the system that the others are compared with, the first one where None; `start` compares
            each with the model that its training began with; a mapping says it for each.
        metrics: keys, the one that matters most first; all but a few where there are none.
        evaluate: decode every run again, instead of reading what it has kept.
        split, overrides: which prompts, and settings `evaluation.…` for all runs, with `evaluate`.
        keep: folder that the new evaluations are written to, with `evaluate`; they can be compared later.
        progress: called with `evaluating`, how many evaluations are done, and of how many.

    Raises:
        ConfigError: the runs, labels or metrics cannot be understood, or there is only one system.
        DataError: the runs were not evaluated on the same prompts in the same way.
    """
    systems = _systems(runs, against == START, evaluate, split, overrides, keep, progress)
    if len(systems) < 2:
        raise ConfigError(
            f"{systems[0].label}: that is one system, with {len(systems[0].evaluations)} seeds; name another one, or "
            "compare it with its start: --against start (in Python: against='start')"
        )
    return comparison(systems, against, metrics, notes=_decoded(evaluate))


def report(
    runs: Iterable[str | Path | RunResult] | Mapping[str, Any],
    *,
    metrics: Sequence[str] = (),
    evaluate: bool = False,
    split: str | None = None,
    overrides: Iterable[str] = (),
    keep: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Show runs beside the models that their training began with, and what training changed; see `compare`."""
    systems = _systems(runs, True, evaluate, split, overrides, keep, progress)
    known = any(system.start is not None for system in systems)
    return comparison(systems, START if known else None, metrics, notes=_decoded(evaluate))


def _systems(
    runs: Iterable[str | Path | RunResult] | Mapping[str, Any],
    starts: bool,
    evaluate: bool,
    split: str | None,
    overrides: Iterable[str],
    keep: str | Path | None,
    progress: Callable[[str, int, int], None] | None,
) -> list[System]:
    given, overrides = named(runs), tuple(overrides)
    if not given:
        raise ConfigError("name the folders of the runs to compare")
    if evaluate:
        from rl4lms.runs.display import without_bars
        from rl4lms.studies.measure import measure

        with without_bars():
            read = measure([path for _, path in given], split, overrides, keep, starts, progress)
    elif split is not None or overrides or keep is not None:
        raise ConfigError(
            "split, overrides and keep are for runs that are decoded again: add --evaluate (evaluate=True)"
        )
    else:
        read = [read_run(path) for _, path in given]
    systems = group([(label, run) for (label, _), run in zip(given, read, strict=True)])
    systems = with_starts(systems) if starts else systems
    refuse_different([evaluation for system in systems for evaluation in system.evaluations])
    return systems


def comparison(
    systems: Sequence[System],
    against: str | Mapping[str, str] | None,
    metrics: Sequence[str] = (),
    columns: Sequence[Column] = (),
    notes: Sequence[str] = (),
) -> Comparison:
    """Compute everything that is shown of systems; see `compare`.

    Args:
        systems: the rows.
        against, metrics: as for `compare`.
        columns: metrics with headings of their own, in place of `metrics`.
        notes: what else a reader has to know.
    """
    every = [evaluation for system in systems for evaluation in system.evaluations]
    common, left_out = _common(systems, every)
    shown = tuple(columns) or tuple(_column(key, every) for key in _chosen(common, metrics, every))
    pairs = _pairs(systems, against)
    by_label = {system.label: system for system in systems}
    differences = [
        Difference(
            column.key, one, two, d.value, d.stderr, (d.low, d.high), d.over, d.prompts, (d.seeds[0], d.seeds[1])
        )
        for one, two in pairs.items()
        for column in shown
        if (d := estimate(column.key, by_label[one].evaluations, by_label[two].evaluations)) is not None
    ]
    results = {s.label: _means(s.evaluations, shown) for s in systems}
    masked = {s.label: _means(s.masked, shown) for s in systems if s.masked}
    return Comparison(
        tuple(systems), shown, results, masked, tuple(differences), tuple([*notes, *left_out, *_unfinished(systems)])
    )


def _common(systems: Sequence[System], every: Sequence[Evaluation]) -> tuple[list[str], list[str]]:
    """Return the metrics that all have and that mean the same, and notes on the others."""
    names = list(dict.fromkeys(key for evaluation in every for key in evaluation.results))
    notes = []
    rewards = {repr(flat(evaluation.recipe["reward"])) for evaluation in every}
    if len(rewards) > 1:
        names = [key for key in names if key != "reward" and not key.startswith("reward/")]
        notes.append("reward: the runs were trained with different ones, whose scores say nothing of each other.")
    kept = []
    for key in names:
        without = [s.label for s in systems if any(key not in evaluation.results for evaluation in s.evaluations)]
        signatures = {str(e.results[key].get("signature", "")) for e in every if key in e.results}
        if without:
            notes.append(f"{key}: left out, since {', '.join(without)} did not measure it.")
        elif len(signatures) > 1:
            notes.append(f"{key}: left out, since the runs measured it with different settings.")
        else:
            kept.append(key)
    return kept, notes


def _chosen(common: Sequence[str], metrics: Sequence[str], every: Sequence[Evaluation]) -> list[str]:
    """Return what is shown: metrics with a value of each text first, since their differences have an error."""
    for key in metrics:
        if key not in common:
            raise ConfigError(f"metric {key!r}: not all of the runs measured it; {did_you_mean(key, common)}")
    if metrics:
        return list(metrics)
    own = [key for key in common if key not in (*_LAST, *_ON_DEMAND) and not key.startswith("reward/")]
    of_texts = [key for key in own if all(evaluation.values(key) is not None for evaluation in every)]
    of_sets = [key for key in own if key not in of_texts]
    last = [key for key in _LAST if key in common]
    ordered = [*of_texts, *of_sets, *last] if of_texts else [*last[:1], *of_sets, *last[1:]]
    return [*ordered, *(key for key in common if key.startswith("reward/"))]


def _column(key: str, every: Sequence[Evaluation]) -> Column:
    better = every[0].results[key].get("higher_is_better")
    return Column(key, key + {True: " ↑", False: " ↓", None: ""}[better], "", better)


def _pairs(systems: Sequence[System], against: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return who is compared with whom, by label."""
    labels = [system.label for system in systems]
    if isinstance(against, Mapping):
        wanted = dict(against)
    elif against == START:
        wanted = {system.label: system.start for system in systems if system.start is not None}
        if not wanted:
            raise DataError(
                "no evaluation before training was kept, so there is nothing to compare with: add --evaluate, or name "
                "a system with --against"
            )
    else:
        base = labels[0] if against is None else against
        wanted = {label: base for label in labels if label != base}
    for label in [*wanted, *wanted.values()]:
        if label not in labels:
            raise ConfigError(f"against {label!r}: no such system; {did_you_mean(label, labels)}")
    return wanted


def estimate(key: str, *sides: Sequence[Evaluation]) -> Contrast | None:
    """Return the mean of one system, or the difference of two; None where one is no number, as of a reward that
    failed.
    """
    if any(evaluation.results.get(key, {}).get("mean") is None for side in sides for evaluation in side):
        return None
    values = [[evaluation.values(key) for evaluation in side] for side in sides]
    if any(row is None for side in values for row in side):
        return contrast_of_sets(*([evaluation.results[key]["mean"] for evaluation in side] for side in sides))
    tables = [np.array(side) for side in values]
    there = np.all([np.isfinite(table).all(0) for table in tables], axis=0)
    return contrast(*tables) if there.any() else None


def _means(evaluations: Sequence[Evaluation], columns: Sequence[Column]) -> dict[str, Contrast]:
    found = {}
    for column in columns:
        mean = estimate(column.key, evaluations)
        if mean is None:
            continue
        if mean.stderr is None and len(evaluations) == 1:  # what the metric itself says of its number
            mean = replace(mean, stderr=evaluations[0].results[column.key]["stderr"])
        found[column.key] = mean
    return found


def _decoded(evaluate: bool) -> list[str]:
    return ["All of them were decoded again for this comparison."] if evaluate else []


def _unfinished(systems: Sequence[System]) -> list[str]:
    return [
        f"{run.path}: evaluated after iteration {run.final.step} of {run.iterations}; the run is not finished."
        for system in systems
        for run in system.runs
        if run.final.step < run.iterations
    ]
