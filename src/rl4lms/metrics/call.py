"""Calling metrics: arguments by name, results checked, mean and standard error added."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rl4lms.data.conversations import Message
from rl4lms.data.given import references_given, texts_given
from rl4lms.errors import (
    BrokenPackageError,
    DataError,
    MissingExtraError,
    MissingPartError,
    NonFiniteError,
    Rl4lmsError,
    nth_row,
)
from rl4lms.plugins import building, calling, registry
from rl4lms.plugins.component import Component
from rl4lms.types import CorpusValue, Metric, MetricResult, NllOfTexts

RESERVED = frozenset({"prompts", "full_prompts", "completions", "texts", "references", "nll_of_texts"})


def build(metric: Component | str | Mapping[str, Any]) -> Metric:
    """Return the metric of that name with these options.

    Raises:
        UnknownNameError: no metric has that name.
        ConfigError: an option is unknown, missing or has a wrong value.
    """
    built: Metric = building.build(registry.metrics, metric)
    return built


def build_all(
    metrics: Iterable[Component | str | Mapping[str, Any]],
) -> tuple[list[tuple[str, Metric]], dict[str, str]]:
    """Metrics with their names; and, by name, what those lack that cannot be computed, with what to do about it.

    Raises:
        UnknownNameError, ConfigError: as `build`.
    """
    built: list[tuple[str, Metric]] = []
    absent: dict[str, str] = {}
    for metric in metrics:
        component = building.as_component(metric, "metric")
        try:
            built.append((component.name, build(component)))
        except (MissingPartError, MissingExtraError, BrokenPackageError) as error:  # told at the start and in results
            absent[str(component.options.get("key", component.name))] = str(error)
    return built, absent


def compute(
    metric: Metric,
    *,
    prompts: Sequence[str],
    completions: Sequence[str],
    references: Sequence[str | Sequence[str] | None],
    columns: Mapping[str, list[Any]],
    texts: Sequence[str] | None = None,
    full_prompts: Sequence[str] | None = None,
    nll_of_texts: NllOfTexts | None = None,
    conversations: Sequence[Sequence[Message]] | None = None,
) -> list[MetricResult]:
    """Call one metric on B rows.

    Args:
        metric: gets those of the arguments below that it names, and all of them where it takes `**columns`.
        prompts, completions: (B,) texts; prompts as far as a policy saw them.
        references: (B,) of each row a text or several, None or () where there is none. A metric that
            `needs_references` has no value for such a row.
        columns: every other column of the data, (B,) each. The metric gets copies of everything, down to nested lists.
        texts: (B,) prompt and completion as one text; None where only the two strings are known. A metric that names
            `texts` without a default then cannot be used.
        full_prompts: (B,) prompts before they were cut; `prompts` where None.
        nll_of_texts: negative log-likelihood of texts under the policy; for metrics with `needs_policy`.
        conversations: (B,) messages of each prompt, none where it is a text; for metrics of this library that name
            them.

    Returns:
        One result per key, in the metric's order; none for a key that has a value for no row. The standard error of a
        mean treats rows as independent; it is None for a single row.

    Raises:
        DataError: a text is none, lengths differ, a column has a reserved name, no row has the references that are
            needed, the policy is needed and absent, or the metric raised an error, or returned something else than
            numbers, one per row or one for all. No number is made up for a metric that fails.
        NonFiniteError: the metric returned NaN or infinity.
    """
    owner = f"metric {name_of(metric)!r}"
    given = {"prompts": prompts, "completions": completions, "full_prompts": full_prompts, "texts": texts}
    if full_prompts is None:
        given["full_prompts"] = prompts
    batch: dict[str, Any] = {
        name: texts_given(owner, name, values)
        for name, values in given.items()
        if values is not None or name != "texts"
    }
    n = len(batch["completions"])
    if not n:
        raise DataError(f"{owner}: there are no completions to measure")
    check_columns(columns, RESERVED)
    batch |= {"references": references_given(owner, references), **columns}
    ours = type(metric).__module__.startswith("rl4lms.")  # to any other, `conversations` is a column of the data
    if conversations is not None and ours and "conversations" in calling.parameters_of(owner, metric):
        batch["conversations"] = conversations
    for column, values in batch.items():
        if len(values) != n:
            raise DataError(f"{owner}: {column} has {len(values)} rows, completions {n}")
    batch, rows = comparable(owner, metric, batch, n)
    if getattr(metric, "needs_policy", False):
        if nll_of_texts is None:
            raise DataError(f"{owner} scores texts under the policy, and can be used in evaluations only")
        batch["nll_of_texts"] = nll_of_texts
    taken = calling.taken_arguments(owner, metric, batch)
    own = calling.detached(owner, {name: values for name, values in taken.items() if name != "nll_of_texts"})
    try:
        values = metric(**taken | own)
    except DataError as error:
        if len(rows) == n:
            raise
        raise DataError(f"{error} (counted without the rows that have no reference)") from error
    except (Rl4lmsError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a metric is anybody's code; SystemExit would end the program without a word
        raise DataError(f"{owner} raised {calling.what_was_raised(metric, error)}") from error
    if not isinstance(values, Mapping):
        raise DataError(f"{owner} returned {type(values).__name__}; expected a mapping from key to numbers")
    results = [_result(owner, metric, key, value, n, rows) for key, value in values.items()]
    return [result for result in results if result.n]


def compute_all(metrics: Iterable[Metric], **batch: Any) -> list[MetricResult]:
    """`compute` for several metrics.

    Raises:
        DataError: two metrics report the same key; also everything that `compute` raises.
    """
    results: dict[str, MetricResult] = {}
    for metric in metrics:
        for result in compute(metric, **batch):
            if result.key in results:
                raise DataError(
                    f"two metrics report {result.key!r}; leave one of them out, or rename its result where it has the "
                    f"option `key`"
                )
            results[result.key] = result
    return list(results.values())


def comparable(owner: str, component: Any, batch: Mapping[str, Any], n: int) -> tuple[dict[str, Any], Sequence[int]]:
    """Return the columns of the rows that a metric or reward can say something about, and which of the n rows they are:
    those with references, where it needs them.

    Raises:
        DataError: it needs references, and no row has any.
    """
    rows: Sequence[int] = range(n)
    if getattr(component, "needs_references", False):
        rows = [row for row, texts in enumerate(batch["references"]) if texts]
    if not rows and n:
        raise DataError(f"{owner} compares with references, and no row has any")
    if len(rows) == n:
        return dict(batch), rows
    return {name: _of_rows(values, rows, n) for name, values in batch.items()}, rows


def _of_rows(values: Any, rows: Sequence[int], n: int) -> Any:
    """Return a column's values of these rows; what is no column, such as TRL's `trainer_state`, as it is."""
    return [values[row] for row in rows] if hasattr(values, "__len__") and len(values) == n else values


def spread(values: Sequence[Any], rows: Sequence[int], n: int) -> list[Any]:
    """Return n values: those of `rows`, None for every other row."""
    whole: list[Any] = [None] * n
    for row, value in zip(rows, values, strict=True):
        whole[row] = value
    return whole


def check_columns(columns: Mapping[str, Any], reserved: frozenset[str]) -> None:
    """Refuse data columns that would hide an argument.

    Raises:
        DataError: a column has a reserved name.
    """
    for name in columns:
        if name in reserved:
            raise DataError(
                f"the data has a column {name!r}, a name that is reserved for what rewards and metrics are given; "
                f"rename it"
            )


def name_of(component: Any) -> str:
    """Return what to call a function or an instance in messages."""
    return str(getattr(component, "__name__", type(component).__name__))


def metric_attribute(metric: Any, attribute: str, key: str) -> Any:
    """Return an attribute of a metric that may be the same for all its keys, or a mapping from key; None where it says
    nothing.
    """
    value = getattr(metric, attribute, None)
    return value.get(key) if isinstance(value, Mapping) else value


def _result(owner: str, metric: Metric, key: Any, value: Any, n: int, rows: Sequence[int]) -> MetricResult:
    if not isinstance(key, str) or not key:
        raise DataError(f"{owner} returned the key {key!r}; keys are names")
    said = {
        "higher_is_better": metric_attribute(metric, "higher_is_better", key),
        "signature": metric_attribute(metric, "signature", key) or "",
    }
    if hasattr(value, "tolist"):  # numpy and torch
        value = value.tolist()
    if isinstance(value, CorpusValue):
        about = len(rows) if value.n is None else value.n
        stderr = None if value.stderr is None else _finite(owner, f"the error of {key}", value.stderr)
        return MetricResult(key, _finite(owner, key, value.value), stderr, about, None, **said, sums=value.sums)
    if _is_number(value):
        return MetricResult(key, _finite(owner, key, value), None, len(rows), None, **said)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise DataError(f"{owner}: {key} is {type(value).__name__}; expected one number per row, or one for all")
    if len(value) != len(rows):
        raise DataError(f"{owner}: {key} has {len(value)} values for {len(rows)} completions")
    plain = spread([item.item() if hasattr(item, "item") else item for item in value], rows, n)
    for row, item in enumerate(plain):
        if item is not None and not _is_number(item):
            raise DataError(
                f"{owner}: {key} of {nth_row(row)} is {item!r}; expected a number, or None where the row has no value"
            )
    numbers = tuple(
        math.nan if item is None else _finite(owner, f"{key} of {nth_row(row)}", item) for row, item in enumerate(plain)
    )
    kept = [number for number in numbers if not math.isnan(number)]
    mean = statistics.fmean(kept) if kept else math.nan
    stderr = statistics.stdev(kept) / math.sqrt(len(kept)) if len(kept) > 1 else None
    return MetricResult(key, mean, stderr, len(kept), numbers, **said)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _finite(owner: str, what: str, value: float) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise NonFiniteError(
            f"{owner}: {what} is an integer of about {round(int(value).bit_length() * math.log10(2))} digits"
        ) from error
    if not math.isfinite(number):
        raise NonFiniteError(f"{owner}: {what} is {number}")
    return number
