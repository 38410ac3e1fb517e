"""NIST against the numbers that GEM-metrics publishes (`tests/test_nist.py`) and against nltk's."""

from __future__ import annotations

import random

import pytest
from nltk.translate.nist_score import corpus_nist

from rl4lms.metrics.nist import Nist
from tests.parity.test_gem import PREDICTIONS, REFERENCES, REVERSED

WORDS = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran", "x", "y"]


def value(metric, completions, references) -> float:
    return metric(completions=completions, references=references)["nist"].value


@pytest.mark.parametrize(
    ("texts", "published"),
    [(PREDICTIONS, 2.949), ([texts[0] for texts in REFERENCES], 5.346), (REVERSED, 0), (["", "", ""], 0)],
    ids=["basic", "identical", "reversed", "empty"],
)
def test_published_numbers(texts, published):
    assert value(Nist(), texts, REFERENCES) == pytest.approx(published, abs=1e-3)


@pytest.mark.parametrize("max_n", [1, 2, 5])
def test_it_is_nltks_with_one_reference(max_n):
    rng = random.Random(max_n)
    texts, gold = ([[rng.choice(WORDS) for _ in range(rng.randrange(6, 15))] for _ in range(60)] for _ in range(2))
    own = value(
        Nist(max_n=max_n, tokenize="whitespace"), [" ".join(words) for words in texts], [(" ".join(w),) for w in gold]
    )
    assert own == pytest.approx(corpus_nist([[words] for words in gold], texts, n=max_n), abs=1e-12)
    shorter = [words[: len(words) // 2 + 3] for words in texts]
    own = value(
        Nist(max_n=max_n, tokenize="whitespace"), [" ".join(words) for words in shorter], [(" ".join(w),) for w in gold]
    )
    assert own == pytest.approx(corpus_nist([[words] for words in gold], shorter, n=max_n), abs=1e-12)


def test_two_references_by_hand():
    # 5 words: a twice, b twice, c once. An a of the text matches in either reference, b in the first, c in the second.
    found = value(Nist(max_n=1, tokenize="whitespace"), ["a b c"], [("a b", "a b c")])
    bits = 2 * 1.3219280948873624 + 2.321928094887362  # log2(5 / 2), twice, and log2(5)
    assert found == pytest.approx(bits / 3)  # three words and 2.5 in the mean reference: no penalty


def test_a_reference_that_comes_twice_changes_nothing():
    texts, gold = ["the cat sat on a mat", "a dog ran"], ["the cat sat on the mat", "the dog ran on"]
    once, twice = ([(text,) * times for text in gold] for times in (1, 2))
    assert value(Nist(), texts, once) == pytest.approx(value(Nist(), texts, twice), abs=1e-12)


def test_two_thirds_of_the_words_halve_it():
    gold = [("a b c d e f",)]
    assert value(Nist(max_n=1), ["a b c d"], gold) == pytest.approx(0.5 * 2.584962500721156)  # log2(6)


def test_no_words_at_all():
    for texts, gold in ((["", "?"], [("a",), ("b",)]), (["a", "b"], [("",), ("",)]), ([""], [("",)])):
        assert value(Nist(), texts, gold) == 0


def test_error_and_signature():
    result = Nist()(completions=PREDICTIONS, references=REFERENCES)["nist"]
    assert 0.05 < result.stderr < 2
    assert Nist()(completions=["a"], references=["a"])["nist"].stderr is None
    assert Nist(max_n=4, lowercase=False).signature.startswith("nist|n:4|tok:13a|case:mixed|version:rl4lms-")
    assert value(Nist(), ["The cat"], [("the cat",)]) > 0
    assert value(Nist(lowercase=False), ["THE CAT"], [("the cat",)]) == 0
