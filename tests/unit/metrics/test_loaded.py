"""Metrics in Python: `rl4lms.metrics.load`."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys

import datasets
import numpy as np
import pandas as pd
import pytest

import rl4lms
from rl4lms.errors import ConfigError, DataError, MissingPartError, UnknownNameError
from rl4lms.metrics import compute, load
from rl4lms.metrics.answers import ExactMatch
from rl4lms.metrics.rouge import Rouge

TEXTS, GOLD = ["the cat sat", "a dog ran"], ["the cat ran", "a dog ran"]


def test_it_is_what_compute_says():
    found = load("rouge", stemmer=False).compute(predictions=TEXTS, references=GOLD)
    expected = compute(Rouge(stemmer=False), prompts=["", ""], completions=TEXTS, references=GOLD, columns={})
    assert list(found) == [result.key for result in expected]
    assert [score.result for score in found.values()] == expected


def test_a_score_is_a_number_that_knows_more():
    score = load("rouge").compute(predictions=TEXTS, references=GOLD)["rouge1"]
    assert score == pytest.approx(5 / 6)
    assert score > 0.8
    assert f"{score:.2f}" == "0.83"
    assert json.dumps(score) == repr(float(score))
    assert (score.mean, score.n, score.higher_is_better) == (float(score), 2, True)
    assert score.values == pytest.approx((2 / 3, 1))
    assert score.stderr == pytest.approx(1 / 6)
    assert score.signature.startswith("rouge|stemmer:yes|")
    again = pickle.loads(pickle.dumps(score))
    assert (again, again.result) == (score, score.result)


def test_results_are_a_mapping_and_plain_where_asked():
    found = load("exact_match").compute(predictions=TEXTS, references=GOLD)
    assert dict(found) == {"exact_match": 0.5}
    assert repr(found) == "{'exact_match': 0.5}"
    assert json.loads(json.dumps(found.summary()))["exact_match"]["n"] == 2
    corpus = load("bleu").compute(predictions=TEXTS, references=GOLD)["bleu-1"]
    assert (corpus.values, corpus.n) == (None, 2)


@pytest.mark.parametrize(
    "form",
    [
        tuple,
        np.array,
        pd.Series,
        lambda texts: datasets.Dataset.from_dict({"t": texts})["t"],
        lambda texts: pd.DataFrame({"t": texts})["t"],
    ],
    ids=["tuple", "numpy", "pandas", "datasets", "frame"],
)
def test_columns_of_other_libraries(form):
    expected = dict(load("token_f1").compute(predictions=TEXTS, references=GOLD))
    assert dict(load("token_f1").compute(predictions=form(TEXTS), references=form(GOLD))) == expected
    several = [["x", text] for text in GOLD]
    assert dict(load("token_f1").compute(predictions=form(TEXTS), references=several)) == expected


def test_several_metrics_with_their_own_options():
    loaded = load(["exact_match", {"name": "chrf", "word_order": 2}, ExactMatch])
    assert len(loaded.metrics) == 3
    with pytest.raises(DataError, match="two metrics report 'exact_match'"):
        loaded.compute(predictions=TEXTS, references=GOLD)
    found = load(["exact_match", {"name": "chrf", "word_order": 2}]).compute(predictions=TEXTS, references=GOLD)
    assert set(found) == {"exact_match", "chrf++", "sentence_chrf++"}
    with pytest.raises(ConfigError, match="option 'word_order': options of several metrics stand with each"):
        load(["exact_match", "chrf"], word_order=2)
    with pytest.raises(ConfigError, match="the list of metrics is empty"):
        load([])


def longer(completions, *, than: int = 3):
    return {"longer": [float(len(text.split()) > than) for text in completions]}


def test_functions_classes_objects_and_files():
    batch = {"predictions": ["a b", "a b c d"]}
    assert load(longer).compute(**batch)["longer"] == 0.5
    assert load(longer, than=1).compute(**batch)["longer"] == 1
    assert load(f"{__file__}:longer", than=5).compute(**batch)["longer"] == 0
    assert load(lambda completions: {"one": [1] * len(completions)}).compute(**batch)["one"] == 1
    assert load(ExactMatch, normalise=False).compute(predictions=["A"], references=["a"])["exact_match"] == 0
    assert load(ExactMatch(normalise=False)).compute(predictions=["A"], references=["a"])["exact_match"] == 0
    with pytest.raises(ConfigError, match=r"metric 'longer', option 'then'.*did you mean 'than'"):
        load(longer, then=1)
    with pytest.raises(ConfigError, match="'ExactMatch' is an object"):
        load(ExactMatch(), normalise=False)


def test_prompts_are_sources_and_refused_where_a_metric_needs_them_and_has_none():
    batch = {"predictions": ["a c"], "references": ["a c"]}
    assert load("sari").compute(**batch, sources=["a b"]) == load("sari").compute(**batch, prompts=["a b"])
    with pytest.raises(DataError, match=r"'Sari' compares with the prompts \(sources\); give prompts="):
        load("sari").compute(**batch)
    with pytest.raises(DataError, match="two names of one column"):
        load("sari").compute(**batch, prompts=["a"], sources=["a"])


def test_columns_reach_the_metric():
    found = load("concept_coverage").compute(predictions=["cats run"], concepts=[["cat", "sit"]])
    assert found["concept_coverage"] == 0.5
    with pytest.raises(DataError, match="needs the data column 'concepts'"):
        load("concept_coverage").compute(predictions=["cats run"])
    with pytest.raises(DataError, match="compute: concepts must be a list with one entry per row, got one text"):
        load("concept_coverage").compute(predictions=["cats run"], concepts="cat")


def test_a_corpus_by_file_or_as_texts(tmp_path):
    file = tmp_path / "train.jsonl"
    documents = ["the cat sat", "a dog ran", "the park"]
    file.write_text("".join(json.dumps({"references": text}) + "\n" for text in documents))
    by_file, named, given = (
        load("cider_d", corpus=str(file)),
        load({"name": "cider_d", "corpus": str(file)}),
        load("cider_d", corpus=documents),
    )
    values = [one.compute(predictions=TEXTS, references=GOLD)["cider_d"] for one in (by_file, named, given)]
    assert values[0] == values[1] == values[2] > 0
    with pytest.raises(ConfigError, match="takes document frequencies from a fixed corpus; give corpus="):
        load("cider_d")
    with pytest.raises(ConfigError, match="none of these metrics takes statistics"):
        load("rouge", corpus=documents)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"predictions": "abc"}, "compute: predictions must be a list with one entry per row, got one text"),
        ({"predictions": None}, "predictions must be a list"),
        ({"predictions": ["a", None]}, "predictions of row 2 must be a text, got None; write '' for an empty text"),
        ({"predictions": ["a", "b"]}, "references has 1 rows, completions 2"),
        ({"predictions": []}, "there are no completions to measure"),
        ({"predictions": ["a"], "references": None}, "compares with references, and no row has any"),
        ({"predictions": ["a"], "references": [math.nan]}, "got float; None where there is none"),
        ({"predictions": ["a"], "completions": ["a"]}, "are given as predictions="),
    ],
)
def test_what_cannot_be_measured(given, message):
    with pytest.raises(DataError, match=message):
        load("exact_match").compute(**{"references": ["a"], **given})


def test_what_cannot_be_loaded(monkeypatch):
    with pytest.raises(UnknownNameError, match="did you mean 'rouge'"):
        load("rogue")
    with pytest.raises(ConfigError, match="did you mean 'stemmer'"):
        load("rouge", stemer=True)
    with pytest.raises(ConfigError, match="name a metric, or"):
        load(5)
    monkeypatch.setattr("rl4lms.metrics.wordnet.search_places", lambda: [])
    with pytest.raises(MissingPartError, match="rl4lms metrics setup-wordnet"):
        load("meteor")


def test_it_needs_no_import_but_the_library_and_loads_no_torch():
    code = (
        "import sys, rl4lms; print(dict(rl4lms.metrics.load('rouge_combined').compute(predictions=['a'], references=['a'])),"
        " sorted({'torch', 'transformers', 'datasets'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "{'rouge_combined': 0.6666666666666666} []"
    assert {"metrics", "stats"} <= set(dir(rl4lms))
