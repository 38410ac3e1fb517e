from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch

from rl4lms.errors import ConfigError, DataError, NonFiniteError
from rl4lms.metrics import build, compute, compute_all
from rl4lms.types import CorpusValue

BATCH = {
    "prompts": ["p", "q", "r"],
    "completions": ["a", "bb", "cccc"],
    "references": [("x",), (), ("y", "z")],
    "columns": {"topic": [1, 2, 3]},
}


def length(completions):
    return {"length": [len(text) for text in completions]}


def test_mean_and_standard_error():
    (result,) = compute(length, **BATCH)
    assert (result.key, result.n, result.values) == ("length", 3, (1.0, 2.0, 4.0))
    assert result.mean == pytest.approx(7 / 3)
    assert result.stderr == pytest.approx(statistics.stdev([1, 2, 4]) / math.sqrt(3))


def test_a_corpus_value_and_a_single_row_have_no_standard_error():
    (corpus,) = compute(lambda completions: {"all": 2.5}, **BATCH)
    assert (corpus.mean, corpus.stderr, corpus.values, corpus.n) == (2.5, None, None, 3)
    (single,) = compute(length, prompts=["p"], completions=["ab"], references=[()], columns={})
    assert (single.mean, single.stderr, single.values) == (2.0, None, (2.0,))


def test_a_corpus_value_may_bring_its_error():
    (result,) = compute(lambda completions: {"all": CorpusValue(2.5, 0.1)}, **BATCH)
    assert (result.mean, result.stderr, result.values, result.n) == (2.5, 0.1, None, 3)
    with pytest.raises(NonFiniteError, match="the error of all is nan"):
        compute(lambda completions: {"all": CorpusValue(2.5, float("nan"))}, **BATCH)


def test_rows_without_a_value_enter_no_mean():
    (result,) = compute(lambda completions: {"x": [1.0, None, 4.0]}, **BATCH)
    assert (result.mean, result.n, result.stderr) == (2.5, 2, pytest.approx(1.5))
    assert result.values is not None
    assert math.isnan(result.values[1])
    assert result.values[::2] == (1.0, 4.0)


def test_a_key_without_any_value_is_left_out():
    assert [result.key for result in compute(lambda completions: {"x": [None] * 3, "y": [0.0] * 3}, **BATCH)] == ["y"]


def test_signatures_are_stored_for_all_keys_or_for_each():
    def metric(completions):
        return {"x": [1.0] * 3, "y": 2.0}

    metric.signature = "mine|version:1"
    assert [result.summary() for result in compute(metric, **BATCH)] == [
        {"mean": 1.0, "stderr": 0.0, "n": 3, "signature": "mine|version:1"},
        {"mean": 2.0, "stderr": None, "n": 3, "signature": "mine|version:1"},
    ]
    metric.signature = {"y": "other"}
    assert [result.signature for result in compute(metric, **BATCH)] == ["", "other"]
    assert "signature" not in compute(metric, **BATCH)[0].summary()


def test_arguments_are_passed_by_name():
    seen = {}

    def metric(references, topic, **columns):
        seen.update(references=references, topic=topic, **columns)
        return {}

    assert compute(metric, **BATCH) == []
    assert seen == {
        "references": BATCH["references"],
        "topic": [1, 2, 3],
        "prompts": BATCH["prompts"],
        "full_prompts": BATCH["prompts"],
        "completions": BATCH["completions"],
    }
    assert compute(metric, **BATCH, texts=["pa", "q bb", "rcccc"], full_prompts=["0p", "q", "r"]) == []
    assert (seen["texts"], seen["full_prompts"]) == (["pa", "q bb", "rcccc"], ["0p", "q", "r"])


@pytest.mark.parametrize("name", ["texts", "full_prompts"])
def test_what_metrics_are_given_is_no_name_for_a_column(name):
    with pytest.raises(DataError, match=f"the data has a column '{name}', a name that is reserved"):
        compute(length, **BATCH | {"columns": {name: ["a", "b", "c"]}})


@pytest.mark.parametrize(
    "values",
    [np.array([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 4.0]), [np.float32(1), torch.tensor(2), 4], (True, 2, 4.0)],
)
def test_numbers_of_other_libraries(values):
    (result,) = compute(lambda completions: {"x": values}, **BATCH)
    assert result.values == (1.0, 2.0, 4.0)
    assert all(type(value) is float for value in result.values)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        ({"x": [1.0, 2.0]}, DataError, "x has 2 values for 3"),
        ({"x": [1.0, "2", 2.0]}, DataError, "row 2 is '2'"),
        ({"x": "abc"}, DataError, "x is str"),
        ({"x": [1.0, float("nan"), 2.0]}, NonFiniteError, "row 2 is nan"),
        ({"x": float("inf")}, NonFiniteError, "x is inf"),
        ({1: [1.0, 2.0, 3.0]}, DataError, "key 1"),
        ([1.0, 2.0, 3.0], DataError, "mapping"),
    ],
)
def test_other_results_are_refused(returned, error, message):
    def broken(completions):
        return returned

    with pytest.raises(error, match=message) as caught:
        compute(broken, **BATCH)
    assert "'broken'" in str(caught.value)


def test_rows_are_counted_among_those_that_the_metric_gets_and_the_message_says_so():
    class Picky:
        needs_references = True

        def __call__(self, completions, references):
            raise DataError("picky: row 1 is wrong")

    with pytest.raises(DataError, match=r"^picky: row 1 is wrong \(counted without the rows that have no reference\)$"):
        compute(Picky(), **BATCH | {"references": [None, ("a",), ("b",)]})
    with pytest.raises(DataError, match=r"^picky: row 1 is wrong$"):
        compute(Picky(), **BATCH | {"references": [("c",), ("a",), ("b",)]})


def test_wrong_batches_are_refused():
    with pytest.raises(DataError, match="topic has 1 rows"):
        compute(length, **BATCH | {"columns": {"topic": [1]}})
    with pytest.raises(DataError, match="reserved"):
        compute(length, **BATCH | {"columns": {"references": [1, 2, 3]}})
    with pytest.raises(DataError, match="no completions"):
        compute(length, prompts=[], completions=[], references=[], columns={})
    with pytest.raises(DataError, match="needs the data column 'answer'"):
        compute(lambda completions, answer: {}, **BATCH)
    with pytest.raises(DataError, match="evaluations only"):
        compute(build("reference_perplexity"), **BATCH)


def test_two_metrics_with_one_key():
    with pytest.raises(DataError, match="two metrics report 'length'"):
        compute_all([length, length], **BATCH)
    assert [result.key for result in compute_all([length, build("dates")], **BATCH)] == ["length", "dates"]


def test_higher_is_better():
    def metric(completions):
        return {"up": 1.0, "down": 1.0, "neither": 1.0}

    metric.higher_is_better = {"up": True, "down": False}
    assert [result.higher_is_better for result in compute(metric, **BATCH)] == [True, False, None]
    assert compute(build("dates"), **BATCH)[0].higher_is_better is True


def test_build_checks_options():
    assert build({"name": "diversity", "window": 5})(completions=["a b c d e"]).keys() >= {"msttr-5"}
    with pytest.raises(ConfigError, match="did you mean 'window'"):
        build({"name": "diversity", "windw": 5})
    with pytest.raises(ConfigError, match="window"):
        build({"name": "diversity", "window": 0})
