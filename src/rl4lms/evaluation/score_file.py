"""Metrics of texts that are there already: a file of completions, from any system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl4lms.data.files import read_rows
from rl4lms.data.given import texts_of
from rl4lms.errors import ConfigError, DataError
from rl4lms.evaluation.corpus import corpus as read_corpus
from rl4lms.metrics import build_all, compute
from rl4lms.plugins import registry
from rl4lms.plugins.building import as_component
from rl4lms.plugins.calling import parameters_of
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import option_names, options_model
from rl4lms.rewards import nested
from rl4lms.types import Metric, MetricResult


@dataclass(frozen=True, slots=True)
class Scored:
    """What metrics say about a file.

    Attributes:
        results: by key.
        samples: the rows of the file, with their values.
        absent: metrics that could not be computed, with what to do about it.
    """

    results: dict[str, MetricResult]
    samples: list[dict[str, Any]]
    absent: dict[str, str]


def score_file(
    path: str,
    metrics: Iterable[Component | str | Mapping[str, Any]],
    *,
    corpus: str | None = None,
    completion_column: str = "completion",
    references_column: str = "references",
    prompt_column: str = "prompt",
    text_column: str = "text",
    samples: bool = True,
) -> Scored:
    """Compute metrics of the completions in a file.

    Args:
        path: JSONL, JSON, CSV or Parquet with a row per completion, or a Hub id. Other columns go to metrics by name;
            `full_prompt` is the prompt before it was cut, as in the predictions of this library.
        metrics: names, or names with options.
        corpus: a file of data whose references give document frequencies to the metrics that need them and name a split
            of a task.
        completion_column, references_column, prompt_column: names of columns; prompts and references may be missing
            where no metric needs them.
        text_column: prompt and completion as one text; `none` says that no column is. Where a row has none, only the
            two strings are known.
        samples: whether the rows are wanted as well. Where they are not, the name of a column that none of the metrics
            reads is refused.

    Raises:
        DataError: the file cannot be read, no row has a column that was named, a row has no completion, no text
            ends with its completion, or a metric cannot use the data.
        ConfigError: a metric has a wrong option, is named twice, needs the policy, or needs a corpus and none is named;
            or two metrics report the same key.
        UnknownNameError: there is no such metric.
    """
    components = [as_component(metric, "metric") for metric in metrics]
    _refuse_twice(components)
    built, absent = build_all(components)
    fitted = [_fit(name, ready, corpus) for name, ready in built]
    if corpus is not None and not any(fitted) and not absent:  # an absent metric may be what it is for
        raise ConfigError(f"--corpus {corpus}: none of these metrics takes statistics from it; leave it out")
    raw = list(read_rows(path))
    named = {"references": references_column, "prompt": prompt_column, "text": text_column}
    for usual, column in named.items():
        if column != usual and (usual, column) != ("text", "none") and not any(column in row for _, row in raw):
            there = ", ".join(map(str, raw[0][1])) if raw else "none"
            raise DataError(f"{path}: no row has the column {column!r} ({usual}_column); there are: {there}")
        if column != usual and not samples and not absent and not any(_reads(usual, *ready) for ready in built):
            raise ConfigError(f"{usual}_column {column!r}: none of these metrics reads it; leave it out")
    rows = [_row(path, place, row, completion_column, references_column, prompt_column) for place, row in raw]
    if not rows:
        raise DataError(f"{path}: there are no rows")
    texts = None
    if text_column != completion_column:
        for place, row in raw:
            if not isinstance(row.get(text_column), str | None):
                raise DataError(f"{place}: {text_column!r} must be a text, got {type(row[text_column]).__name__}")
        texts = _whole_texts(path, text_column, [row.get(text_column) for _, row in raw], rows)
    names = sorted({name for row in rows for name in row["columns"]})
    given = ("prompts", "full_prompts", "completions", "references")
    batch: dict[str, Any] = {"texts": texts, **{name: [row[name] for row in rows] for name in given}}
    columns = {name: [row["columns"].get(name) for row in rows] for name in names}
    results: dict[str, MetricResult] = {}
    for metric_name, ready in built:
        if getattr(ready, "needs_references", False) and not any(batch["references"]):
            raise DataError(
                f"{path}: no row has a reference in the column {references_column!r}, and {metric_name} compares with "
                f"references; fill it in, or name another column as references_column"
            )
        for result in compute(ready, **batch, columns=columns):
            if result.key in results:
                raise ConfigError(
                    f"the metric {metric_name!r} reports {result.key!r}, as another does; score them in two calls"
                )
            results[result.key] = result
    return Scored(results, _records(rows, results), absent)


def _reads(column: str, owner: str, metric: Metric) -> bool:
    """Return whether a metric takes prompts, references or texts; one of somebody else's may, if it takes anything."""
    parameters = parameters_of(owner, metric)
    if column == "references" and getattr(metric, "needs_references", False):
        return True
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    own = type(metric).__module__.partition(".")[0] == __name__.partition(".")[0]
    names = {"prompt": {"prompts", "full_prompts"}, "text": {"texts"}}.get(column, {column})
    return not names.isdisjoint(parameters) or (anything and not own)


def _refuse_twice(components: Sequence[Component]) -> None:
    """One metric with two sets of options reports the same keys twice, unless its option `key` tells them apart."""
    seen: set[tuple[str, str]] = set()
    for component in components:
        name, key = component.name, str(component.options.get("key", ""))
        if (name, key) in seen:
            has_key = "key" in option_names(options_model(registry.metrics, name))
            rename = "give one of them another name with its option `key`, or " if has_key else ""
            raise ConfigError(
                f"the metric {name!r} is named twice; its keys would be the same, so {rename}score them in two calls"
            )
        seen.add((name, key))


def _fit(owner: str, metric: Metric, file: str | None) -> bool:
    """Give a metric the corpus it names; return whether that is `file`."""
    used = False
    for part in nested(metric):
        name = getattr(part, "corpus", None)
        if name is None:
            continue
        if name in ("train", "validation", "test"):
            if file is None:
                raise ConfigError(
                    f"{owner} takes document frequencies from a fixed corpus: name a file of references with --corpus "
                    f"FILE"
                )
            name, used = file, True
        part.fit(read_corpus(None, name), name)
    return used


def _row(
    path: str, place: str, row: Mapping[str, Any], completion: str, references: str, prompt: str
) -> dict[str, Any]:
    if not isinstance(row.get(completion), str):
        found = "no column" if completion not in row else f"{type(row[completion]).__name__} in the column"
        raise DataError(
            f"{place}: {found} {completion!r}, where the text to score should be; there are: {', '.join(map(str, row))}"
        )
    # a column that is called like what metrics are given, while another one was named for it, is not meant
    own = {completion, references, prompt, "prompts", "completions", "references"}
    for name in (prompt, "full_prompt"):
        if not isinstance(row.get(name), str | None):
            raise DataError(f"{place}: {name!r} must be a text, got {type(row[name]).__name__}")
    seen = row.get(prompt) or ""
    return {
        "prompts": seen,
        "full_prompts": row.get("full_prompt") or seen,
        "completions": row[completion],
        "references": texts_of(row, references, lambda: place, path),
        "columns": {name: value for name, value in row.items() if name not in own},
    }


def _whole_texts(path: str, column: str, texts: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Return prompt and completion of each row as one text; None where the file does not have them all.

    Raises:
        DataError: the column is something else.
    """
    if not all(isinstance(text, str) for text in texts):
        return None
    completions = [row["completions"].strip() for row in rows]
    if any(completions) and not any(
        t.endswith(c) for t, c in zip(map(str.strip, texts), completions, strict=True) if c
    ):
        raise DataError(
            f"{path}: the column {column!r} should have prompt and completion as one text, and none of its texts ends "
            f"with the completion; name another with --text-column"
        )
    return list(texts)


def _records(rows: Sequence[Mapping[str, Any]], results: Mapping[str, MetricResult]) -> list[dict[str, Any]]:
    per_row = {key: result.values for key, result in results.items() if result.values is not None}
    return [
        {"prompt": row["prompts"], "completion": row["completions"], "references": list(row["references"])}
        | {key: values[i] if values[i] == values[i] else None for key, values in per_row.items()}
        for i, row in enumerate(rows)
    ]
