"""Metrics of texts that are there already: a file of completions, from any system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl4lms.errors import ConfigError, DataError
from rl4lms.evaluation.text_files import Columns, Texts, is_local, read_texts, refuse_columns_of_nothing
from rl4lms.metrics import build_all, compute
from rl4lms.metrics.corpus import corpus_of_file
from rl4lms.plugins import files, registry
from rl4lms.plugins.building import as_component
from rl4lms.plugins.calling import parameters_of
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import option_names, options_model
from rl4lms.types import Metric, MetricResult

#: What names a metric: a name, or a name with options.
Named = Component | str | Mapping[str, Any]


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


@dataclass(frozen=True, slots=True)
class Ready:
    """Metrics that were built and given their corpus.

    Attributes:
        metrics: with their names.
        absent: those that could not be built, with what to do about it.
    """

    metrics: list[tuple[str, Metric]]
    absent: dict[str, str]


def score_file(
    path: str,
    metrics: Iterable[Named],
    *,
    corpus: str | None = None,
    completion_column: str = "completion",
    references_column: str | Sequence[str] = "references",
    prompt_column: str = "prompt",
    text_column: str = "text",
    references: Sequence[str] = (),
    prompts: str | None = None,
    samples: bool = True,
) -> Scored:
    """Compute metrics of the completions in a file.

    Args:
        path: JSONL, JSON, CSV or Parquet with a row per completion, plain text with one per line, or a Hub id. Other
            columns go to metrics by name; `full_prompt` is the prompt before it was cut, as in the predictions of this
            library.
        metrics: names, or names with options.
        corpus: a file of data whose references give document frequencies to the metrics that need them and name a split
            of a task.
        completion_column, references_column, prompt_column: names of columns, of references also several; prompts and
            references may be missing where no metric needs them.
        text_column: prompt and completion as one text; `none` says that no column is. Where a row has none, only the
            two strings are known.
        references, prompts: files of their own, see `rl4lms.evaluation.text_files.read_texts`.
        samples: whether the rows are wanted as well. Where they are not, the name of a column that none of the metrics
            reads is refused.

    Raises:
        DataError: the file cannot be read, no row has a column that was named, a row has no completion, no text
            ends with its completion, or a metric cannot use the data.
        ConfigError: a metric has a wrong option, is named twice, needs the policy, or needs a corpus and none is named;
            or two metrics report the same key.
        UnknownNameError: there is no such metric.
    """
    components = named_metrics(metrics)
    names = (references_column,) if isinstance(references_column, str) else tuple(references_column)
    columns = Columns(completion_column, names, prompt_column, text_column)
    refuse_columns_of_nothing([path], columns, references, prompts)
    texts = read_texts(path, columns, references=references, prompts=prompts)
    ready = make_ready(components, corpus)
    if not samples:
        refuse_unread(ready, columns, references, prompts)
    results = score_texts(texts, ready, columns)
    return Scored(results, records(texts, results), ready.absent)


def named_metrics(metrics: Iterable[Named]) -> list[Component]:
    """Read which metrics are meant, without importing one.

    Raises:
        ConfigError: one is no name, or named twice.
        UnknownNameError: there is no such metric.
    """
    components = [as_component(metric, "metric") for metric in metrics]
    for component in components:
        if component.name not in registry.metrics and not files.is_path(component.name):
            raise registry.unknown("metric", component.name, registry.metrics.names())
    _refuse_twice(components)
    return components


def make_ready(components: Iterable[Component], corpus: str | None) -> Ready:
    """Build metrics and give them their corpus.

    Raises:
        ConfigError: an option is wrong, or a corpus is missing, or named for metrics that take none.
        DataError: the corpus cannot be read.
    """
    if corpus is not None and is_local(corpus) and not Path(corpus).exists():
        corpus_of_file(corpus)  # says what is wrong with it before any metric is built
    built, absent = build_all(components)
    fitted = [_fit(name, metric, corpus) for name, metric in built]
    if corpus is not None and not any(fitted) and not absent:  # an absent metric may be what it is for
        raise ConfigError(f"--corpus {corpus}: none of these metrics takes statistics from it; leave it out")
    return Ready(built, absent)


def refuse_unread(ready: Ready, columns: Columns, references: Sequence[str], prompts: str | None) -> None:
    """Refuse the names of columns and files that none of the metrics reads.

    Raises:
        ConfigError: there is one.
    """
    usual = Columns()
    named = {
        f"{what}_column {getattr(columns, what)!r}": what
        for what in ("references", "prompt", "text")
        if getattr(columns, what) != getattr(usual, what) and (what, columns.text) != ("text", "none")
    }
    named |= {f"references {file!r}": "references" for file in references}
    named |= {} if prompts is None else {f"prompts {prompts!r}": "prompt"}
    for what, kind in named.items():
        if not ready.absent and not any(_reads(kind, *metric) for metric in ready.metrics):
            raise ConfigError(f"{what}: none of these metrics reads it; leave it out")


def score_texts(texts: Texts, ready: Ready, columns: Columns) -> dict[str, MetricResult]:
    """Call metrics on the texts of a file; return results by key.

    Raises:
        DataError: a metric needs references or prompts, and no row has any; also what a metric raises.
        ConfigError: two metrics report the same key.
    """
    results: dict[str, MetricResult] = {}
    for name, metric in ready.metrics:
        if getattr(metric, "needs_references", False) and not any(texts.references):
            which = " or ".join(map(repr, columns.references))
            raise DataError(
                f"{texts.path}: no row has a reference in the column {which}, and {name} compares with "
                f"references; fill it in, or name another column as references_column"
            )
        if getattr(metric, "needs_prompts", False) and not texts.has_prompts:
            raise DataError(
                f"{texts.path}: no row has a prompt (source) in the column {columns.prompt!r}, and {name} compares "
                f"with it; fill it in, or name another column as prompt_column"
            )
        for result in compute(metric, **texts.batch()):
            if result.key in results:
                raise ConfigError(
                    f"the metric {name!r} reports {result.key!r}, as another does; score them in two calls"
                )
            results[result.key] = result
    return results


def records(texts: Texts, results: Mapping[str, MetricResult]) -> list[dict[str, Any]]:
    """Return the rows of a file with their values, None where a row has none."""
    per_row = {key: result.values for key, result in results.items() if result.values is not None}
    return [
        {"prompt": texts.prompts[i], "completion": texts.completions[i], "references": list(texts.references[i])}
        | {key: values[i] if values[i] == values[i] else None for key, values in per_row.items()}
        for i in range(len(texts))
    ]


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


def _fit(owner: str, metric: Any, file: str | None) -> bool:
    """Give a metric the corpus it names; return whether that is `file`."""
    name, used = getattr(metric, "corpus", None), False
    if name is None:
        return False
    if name in ("train", "validation", "test"):
        if file is None:
            raise ConfigError(
                f"{owner} takes document frequencies from a fixed corpus: name a file of references with --corpus FILE"
            )
        name, used = file, True
    metric.fit(corpus_of_file(name), name)
    return used
