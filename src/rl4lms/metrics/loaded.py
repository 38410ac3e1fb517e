"""Metrics in Python: `load("rouge").compute(predictions=..., references=...)`, as Hugging Face's `evaluate` has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rl4lms.data.given import references_given, rows_given, texts_given
from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics.call import build, compute_all, name_of
from rl4lms.metrics.corpus import corpus_of_file
from rl4lms.plugins.building import as_component, bound
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import checked_options, signature_model
from rl4lms.types import Metric, MetricResult

#: What names a metric: its name, a mapping with name and options, a function, a class, or an object that is one.
Named = str | Mapping[str, Any] | Component | Callable[..., Any]

_SPLITS = ("train", "validation", "test")


class Score(float):
    """One number of a metric: its mean over texts, or its value of the whole set, and what is known beside.

    Attributes:
        result: everything, as evaluations have it.
    """

    result: MetricResult

    def __new__(cls, result: MetricResult) -> Score:
        """Make the number of a result."""
        self = super().__new__(cls, result.mean)
        self.result = result
        return self

    def __getnewargs__(self) -> tuple[Any]:
        return (self.result,)

    @property
    def mean(self) -> float:
        """The number itself, as a plain float."""
        return self.result.mean

    @property
    def stderr(self) -> float | None:
        """Its standard error; None where it is not known."""
        return self.result.stderr

    @property
    def n(self) -> int:
        """How many texts have a value."""
        return self.result.n

    @property
    def values(self) -> tuple[float, ...] | None:
        """One value per text, NaN where a text has none; None for a value of the whole set."""
        return self.result.values

    @property
    def signature(self) -> str:
        """Implementation, version and options."""
        return self.result.signature

    @property
    def higher_is_better(self) -> bool | None:
        """None where neither direction is better."""
        return self.result.higher_is_better


class Results(Mapping[str, Score]):
    """Scores by key, in the metric's order. Shown, they are the means."""

    def __init__(self, results: Sequence[MetricResult]) -> None:
        self._scores = {result.key: Score(result) for result in results}

    def __getitem__(self, key: str) -> Score:
        return self._scores[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def __repr__(self) -> str:
        return repr(self._scores)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return mean, standard error, n and signature by key, as plain values for a JSON file."""
        return {key: score.result.summary() for key, score in self._scores.items()}


class Loaded:
    """One or several metrics, ready to be called.

    Attributes:
        metrics: in the order in which they were named.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = tuple(metrics)

    def compute(
        self,
        *,
        predictions: Any,
        references: Any = None,
        prompts: Any = None,
        sources: Any = None,
        texts: Any = None,
        **columns: Any,
    ) -> Results:
        """Measure texts.

        Every argument has one entry per text, in a list, a tuple, an array, a Series or a column of `datasets`.

        Args:
            predictions: the texts to measure.
            references: of each a text, a list of texts, or None where it has none.
            prompts: what the texts continue or answer; a simplification's or a summary's source.
            sources: another name for prompts.
            texts: prompt and text as one, for the metrics that read them so.
            columns: whatever else a metric takes by name, such as `table`.

        Raises:
            DataError: what is given is no text, lengths differ, or a metric needs what is not given.
            NonFiniteError: a metric returned NaN or infinity.
        """
        if prompts is not None and sources is not None:
            raise DataError("prompts and sources are two names of one column; give one of them")
        if "completions" in columns:
            raise DataError("the texts to measure are given as predictions=; completions= is what metrics see")
        given = sources if prompts is None else prompts
        completions = texts_given("compute", "predictions", predictions)
        if given is None:
            for metric in self.metrics:
                if getattr(metric, "needs_prompts", False):
                    raise DataError(f"metric {name_of(metric)!r} compares with the prompts (sources); give prompts=")
        results = compute_all(
            self.metrics,
            completions=completions,
            prompts=[""] * len(completions) if given is None else given,
            references=[()] * len(completions) if references is None else references,
            texts=texts,
            columns={name: rows_given("compute", name, values) for name, values in columns.items()},
        )
        return Results(results)


def load(metric: Named | list[Named] | tuple[Named, ...], *, corpus: Any = None, **options: Any) -> Loaded:
    """Make a metric, or several, to call it on texts.

    Args:
        metric: a name (`rl4lms ls` shows all), a name with options as a mapping, `path/to/file.py:name`, a function or
            class, or a list of these.
        corpus: for metrics that take document frequencies from one: a file of data, or references, one entry per
            document.
        options: of the metric; those of several stand in their mappings.

    Raises:
        UnknownNameError: there is no such metric.
        ConfigError: an option is unknown or has a wrong value, options are given for a list, or a corpus is missing, or
            given to metrics that take none.
        MissingPartError, MissingExtraError: what the metric needs is not installed.
    """
    several = isinstance(metric, list | tuple)
    if several and options:
        raise ConfigError(
            f"option {next(iter(options))!r}: options of several metrics stand with each, as "
            f'{{"name": "rouge", "stemmer": False}}'
        )
    named: Sequence[Named] = metric if isinstance(metric, list | tuple) else [metric]
    metrics = [_made(one, options) for one in named]
    if several and not metrics:
        raise ConfigError("the list of metrics is empty; name one")
    fitted = [_fit(one, corpus) for one in metrics]
    if corpus is not None and not any(fitted):
        raise ConfigError("corpus: none of these metrics takes statistics from one; leave it out")
    return Loaded(metrics)


def _made(metric: Named, options: Mapping[str, Any]) -> Metric:
    if callable(metric) and not isinstance(metric, str | Mapping | Component):
        owner = f"metric {name_of(metric)!r}"
        if not hasattr(metric, "__name__"):  # an object that was made already
            if options:
                raise ConfigError(f"{owner} is an object, whose options were set when it was made; leave them out")
            return metric
        made: Metric = bound(owner, metric, checked_options(owner, signature_model(metric), options))
        return made
    component = as_component(metric, "metric")
    return build({"name": component.name, **component.options, **options})


def _fit(metric: Metric, corpus: Any) -> bool:
    """Give a metric the corpus that it takes statistics from; return whether that is the one that was given."""
    named = getattr(metric, "corpus", None)
    if not isinstance(named, str):
        return False
    fit: Callable[[Sequence[tuple[str, ...]], str], None] = metric.fit  # type: ignore[attr-defined]
    if named not in _SPLITS:
        fit(corpus_of_file(named), named)
        return False
    if corpus is None:
        raise ConfigError(
            f"metric {name_of(metric)!r} takes document frequencies from a fixed corpus; give corpus=, a file of data "
            f"or the references of each document"
        )
    if isinstance(corpus, str):
        fit(corpus_of_file(corpus), corpus)
    else:
        fit(references_given(f"the corpus of {name_of(metric)}", corpus), "corpus")
    return True
