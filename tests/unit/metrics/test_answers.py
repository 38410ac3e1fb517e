from __future__ import annotations

import pytest

from rl4lms.errors import DataError
from rl4lms.metrics.answers import ExactMatch, TokenF1


def exact(completion: str, *references: str, **options: bool) -> float:
    return ExactMatch(**options)([completion], [references])["exact_match"][0]


def f1(completion: str, *references: str) -> float:
    return TokenF1()([completion], [references])["token_f1"][0]


def test_exact_match_ignores_what_squad_ignores():
    assert exact("The  Eiffel-Tower!", "an eiffeltower") == 1.0
    assert exact("theory", "ory") == 0.0  # articles are words
    assert exact("a cat", "a dog", "Cat.") == 1.0
    assert exact("cats", "cat") == 0.0


def test_exact_match_to_the_letter():
    assert exact("The cat", "cat", normalise=False) == 0.0
    assert exact("cat ", "cat", normalise=False) == 0.0
    assert exact("cat", "dog", "cat", normalise=False) == 1.0


def test_f1_worked_by_hand():
    # shared: big, cat; 2 of 3 words, 2 of 4
    assert f1("a big black cat", "the big, big cat sat") == pytest.approx(4 / 7)
    assert f1("cat cat", "cat") == pytest.approx(2 / 3)
    assert f1("b b c", "b b d") == pytest.approx(2 / 3)
    assert f1("b a-b", "b ab") == 1.0
    assert f1("cat", "dog", "cat mouse", "a bird") == pytest.approx(2 / 3)


def test_nothing_left_equals_nothing_left_only():
    for nothing in ("", " ", "the", "?!", "A."):
        assert f1(nothing, "") == exact(nothing, "") == 1.0
        assert f1(nothing, "cat") == exact(nothing, "cat") == 0.0
        assert f1("cat", nothing) == exact("cat", nothing) == 0.0
    assert f1("", "cat", "") == 1.0


def test_punctuation_goes_before_articles():
    # as in the script: `a.n` becomes an article, `it's` one word
    assert exact("a.n apple", "apple") == 1.0
    assert exact("it's", "its") == 1.0
    assert exact("the-cat", "cat") == 0.0


def test_unicode():
    for text in ("\ud800", "e\u0301", "🙂", "日本", "שלום", "«»"):
        assert exact(text, text) == f1(text, text) == 1.0
        assert exact(text, "x") == f1(text, "x") == 0.0


@pytest.mark.parametrize("metric", [ExactMatch(), TokenF1()])
def test_no_references(metric):
    with pytest.raises(DataError, match="row 2 has none"):
        metric(["a", "b"], [("a",), ()])


def test_signatures():
    assert ExactMatch().signature.startswith("exact_match|norm:squad|")
    assert ExactMatch(normalise=False).signature.startswith("exact_match|norm:none|")
    assert TokenF1().signature.startswith("token_f1|norm:squad|")
