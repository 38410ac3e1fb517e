from __future__ import annotations

import math
import pickle
import random

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics import build
from rl4lms.metrics.cider import Cider, CiderD

CORPUS = [("a b", "a c"), ("a d",), ("a b", "e"), ("f",)]


def fitted(kind=CiderD, corpus=CORPUS, **options):
    metric = kind(**({"max_n": 1, "tokenize": "whitespace"} | options))
    metric.fit(corpus, "train")
    return metric


def test_cosine_by_hand():
    # of 4 documents a is in 3, b in 2, d and the unknown x count as in 1
    a, b, rare = math.log(4 / 3), math.log(4 / 2), math.log(4)
    metric = fitted(Cider)
    (value,) = metric(["a x"], [("a b",)])["cider"]
    assert value == pytest.approx(10 * a * a / math.hypot(a, rare) / math.hypot(a, b))
    # the mean over two references, one of which has nothing in common
    assert metric(["a x"], [("a b", "d")])["cider"] == [pytest.approx(value / 2)]


def test_clipping_and_length_penalty_by_hand():
    a, b = math.log(4 / 3), math.log(2)
    text, reference = math.hypot(3 * a, b), math.hypot(a, b)
    (plain,) = fitted(Cider)(["a a a b"], [("a b",)])["cider"]
    assert plain == pytest.approx(10 * (3 * a * a + b * b) / text / reference)
    (clipped,) = fitted(CiderD)(["a a a b"], [("a b",)])["cider_d"]
    assert clipped == pytest.approx(10 * (a * a + b * b) / text / reference * math.exp(-(2**2) / (2 * 6**2)))
    (narrow,) = fitted(CiderD, sigma=1.0)(["a a a b"], [("a b",)])["cider_d"]
    assert narrow / clipped == pytest.approx(math.exp(-2 + 4 / 72))


def test_what_every_document_has_counts_nothing():
    metric = fitted(corpus=[("a b",), ("a c",)])
    assert metric(["a", "a b"], [("a",), ("a b",)])["cider_d"] == [0.0, pytest.approx(10)]


@pytest.mark.parametrize("kind", [Cider, CiderD])
def test_nothing_to_compare_is_zero(kind):
    metric = fitted(kind, tokenize="ptb", max_n=4)
    rows = [("", "a b"), ("a b", ""), ("", ""), (" ...", "!"), ("\ud800", "a"), ("日本語 🙂", "a b")]
    assert metric([row[0] for row in rows], [(row[1],) for row in rows])[kind.key] == [0.0] * len(rows)
    assert metric(["\ud800 e\u0301"], [("\ud800 e\u0301",)])[kind.key] == [
        pytest.approx(5)
    ]  # two of the four lengths of n-grams


def test_values_depend_on_the_corpus_and_on_no_other_row():
    rng = random.Random(0)
    rows = [(" ".join(rng.choices("abcdefgh", k=6)), (" ".join(rng.choices("abcdefgh", k=5)),)) for _ in range(40)]
    metric = fitted(max_n=4)
    whole = metric([text for text, _ in rows], [texts for _, texts in rows])["cider_d"]
    assert [metric([text], [texts])["cider_d"][0] for text, texts in reversed(rows)] == whole[::-1]
    assert fitted(corpus=[*CORPUS, ("a d",)], max_n=4)([rows[0][0]], [rows[0][1]])["cider_d"] != whole[:1]


def test_fit_comes_first_and_needs_documents():
    metric = build({"name": "cider_d", "corpus": "validation"})
    assert metric.corpus == "validation"
    with pytest.raises(ConfigError, match=r"cider_d needs document frequencies.*fit\(references, 'validation'\)"):
        metric(completions=["a"], references=[("a",)])
    with pytest.raises(DataError, match="'tiny' has 1"):
        metric.fit([("a",)], "tiny")
    with pytest.raises(DataError, match=r"corpus 'tiny' of cider_d .* row 2 has none"):
        metric.fit([("a",), ()], "tiny")
    metric.fit(CORPUS, "validation")
    with pytest.raises(DataError, match="row 1 has none"):
        metric(completions=["a"], references=[()])
    with pytest.raises(ConfigError, match="tokenize"):
        build({"name": "cider", "tokenize": "13a"})


def test_signature_names_the_corpus():
    assert "cider_d|tokenize:ptb|n:4|sigma:6|corpus:train|version" in CiderD().signature
    one, shuffled, other = (fitted(corpus=corpus).signature for corpus in (CORPUS, CORPUS[::-1], [*CORPUS[:3], ("g",)]))
    assert "|corpus:train|documents:4|hash:" in one
    assert one == shuffled != other
    # where a text ends and where a document ends are part of it
    assert fitted(corpus=[("a", "b"), ("c",)]).signature != fitted(corpus=[("a",), ("b", "c")]).signature


def test_fitting_again_forgets_the_former_corpus():
    metric = fitted()
    before = metric(["a b"], [("a d",)])
    metric.fit([("b",), ("d",), ("a b d",)], "other")
    after = metric(["a b"], [("a d",)])
    assert before != after
    assert metric.corpus == "other"
    metric.fit(CORPUS, "train")
    assert metric(["a b"], [("a d",)]) == before


def test_case_and_punctuation():
    metric = fitted(tokenize="ptb")
    assert metric(["Cat, DOG!"], [("cat dog",)])["cider_d"] == [pytest.approx(10)]
    assert fitted(tokenize="whitespace")(["Cat, DOG!"], [("cat dog",)])["cider_d"] == [0.0]


def test_other_processes_get_the_same():
    metric = fitted()
    batch = (["a b c"], [("a b", "c d")])
    assert pickle.loads(pickle.dumps(metric))(*batch) == metric(*batch)
