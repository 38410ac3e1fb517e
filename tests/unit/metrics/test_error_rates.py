from __future__ import annotations

import pytest

from rl4lms.errors import DataError
from rl4lms.metrics import build
from rl4lms.metrics.error_rates import Cer, Wer
from rl4lms.rewards import build as build_reward


def test_by_hand():
    values = Wer()(["the cat", "a dog ran away"], ["the cat sat", "a dog"])
    assert values["sentence_wer"] == pytest.approx([1 / 3, 2 / 2])
    assert values["wer"].value == pytest.approx(3 / 5)
    assert values["wer"].stderr > 0
    assert Cer()(["abc d"], ["abd d"])["sentence_cer"] == pytest.approx([1 / 5])


def test_the_reference_with_the_lowest_rate_counts():
    # two edits of eight words are better than one of two
    values = Wer()(["a b c d e f x y"], [("a b c d e f g h", "x z")])
    assert values["sentence_wer"] == [0.25]
    assert values["wer"].value == 0.25


def test_empty_texts_and_references():
    assert Wer()(["", "a", ""], ["", "", "b c"])["sentence_wer"] == [0, 1, 1]
    assert "wer" not in Wer()(["a"], [""])  # no words to divide by
    assert Cer()([" a b "], ["a b"])["sentence_cer"] == [0]
    with pytest.raises(DataError, match="row 2 has none"):
        Wer()(["a", "b"], [("a",), ()])


def test_options():
    batch = (["Hello, World — 「yes」"], ["hello world yes"])
    assert Wer()(*batch)["sentence_wer"][0] > 1 / 2
    assert Wer(lowercase=True, no_punct=True)(*batch)["sentence_wer"] == [0]
    assert Cer(lowercase=True)(["A"], ["a"])["sentence_cer"] == [0]
    assert Wer(no_punct=True).signature.startswith("wer|case:mixed|punct:no|version:rl4lms-")


@pytest.mark.parametrize("name", ["wer", "cer"])
def test_as_a_reward_no_edits_are_one(name):
    reward = build_reward(name)
    assert reward(completions=["a b", "a c", "x y z w"], references=["a b", "a b", "a b"])[0] == 1
    assert reward(completions=["x y z w"], references=["a b"])[0] < 0
    assert build(name).higher_is_better is False
