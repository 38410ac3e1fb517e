"""The adapter against a stand-in for aac-metrics with its documented interface."""

from __future__ import annotations

import math
import sys
import types

import pytest

from rl4lms.errors import DataError, MissingPartError
from rl4lms.metrics import build


class StandIn:
    """`aac_metrics.functional.spice(candidates, mult_references)` -> corpus and sentence scores; here the share of
    common words.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], list[list[str]]]] = []
        self.failure: BaseException | None = None
        self.lost = 0

    def __call__(
        self, candidates: list[str], mult_references: list[list[str]]
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        self.calls.append((candidates, mult_references))
        if self.failure is not None:
            raise self.failure
        scores = []
        for text, references in zip(candidates, mult_references, strict=True):
            known = {word for reference in references for word in reference.split()}
            scores.append(math.nan if text == "nothing" else len(known & set(text.split())) / len(known or "-"))
        return {"spice": sum(scores) / len(scores)}, {"spice": scores[self.lost :]}


@pytest.fixture
def stand_in(monkeypatch) -> StandIn:
    spice = StandIn()
    package, functional = types.ModuleType("aac_metrics"), types.ModuleType("aac_metrics.functional")
    functional.spice = spice
    monkeypatch.setitem(sys.modules, "aac_metrics", package)
    monkeypatch.setitem(sys.modules, "aac_metrics.functional", functional)
    monkeypatch.setenv("AAC_METRICS_JAVA_PATH", sys.executable)  # any program will do
    return spice


def test_absent_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "aac_metrics", None)
    with pytest.raises(
        MissingPartError,
        match=r"aac-metrics, which SPICE needs, is missing; run: pip install aac-metrics && aac-metrics-download.*Java",
    ):
        build("spice")


def test_absent_java(stand_in, monkeypatch):
    monkeypatch.setenv("AAC_METRICS_JAVA_PATH", "no-such-java")
    with pytest.raises(MissingPartError, match="Java, which SPICE needs, is missing"):
        build("spice")
    monkeypatch.delenv("AAC_METRICS_JAVA_PATH")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingPartError, match="Java"):
        build("spice")


@pytest.mark.parametrize(
    "failure",
    [FileNotFoundError("Cannot find JAR file"), RuntimeError("Invalid Java executable"), OSError("no memory")],
)
def test_absent_program(stand_in, failure):
    stand_in.failure = failure
    with pytest.raises(MissingPartError, match=str(failure)):
        build("spice")


def test_values(stand_in):
    metric = build("spice")
    values = metric(
        completions=["a dog\nruns", "", "nothing", " ?! ", "cat"],
        references=[("a dog",), ("a",), ("b",), ("?",), ("dog", "cat mat")],
    )
    assert values == {"spice": [1.0, 0.0, None, 0.0, pytest.approx(1 / 3)]}
    candidates, references = stand_in.calls[-1]
    assert candidates == ["a dog runs", "nothing", "cat"]  # on one line; texts without words are not sent
    assert references == [["a dog"], ["b"], ["dog", "cat mat"]]
    assert metric.higher_is_better
    assert metric.signature.startswith("spice|implementation:aac-metrics-")


def test_texts_without_words_start_no_java(stand_in):
    metric = build("spice")
    before = len(stand_in.calls)
    assert metric(completions=["", "..."], references=[("a",), ("b",)]) == {"spice": [0.0, 0.0]}
    assert len(stand_in.calls) == before


def test_characters_that_no_file_can_hold(stand_in):
    metric = build("spice")
    metric(completions=["a\ud800b"], references=[("c\ud800",)])
    assert stand_in.calls[-1] == (["a?b"], [["c?"]])


def test_failures_are_no_zeros(stand_in):
    metric = build("spice")
    with pytest.raises(DataError, match="row 1 has none"):
        metric(completions=["a"], references=[()])
    stand_in.lost = 1
    with pytest.raises(DataError, match="1 values for 2 texts"):
        metric(completions=["a", "b"], references=[("a",), ("b",)])
    stand_in.failure = RuntimeError("java died")
    with pytest.raises(DataError, match="java died"):
        metric(completions=["a"], references=[("a",)])
