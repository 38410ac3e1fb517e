from __future__ import annotations

import pytest

from rl4lms.errors import DataError
from rl4lms.metrics.rouge_l import CocoRougeL, RougeLMax


def coco(completion: str, *references: str, **options: float) -> float:
    return CocoRougeL(**options)(completions=[completion], references=[references])["coco_rouge_l"][0]


def longest(completion: str, *references: str, **options: object) -> float:
    return RougeLMax(**options)(completions=[completion], references=[references])["rouge_l_max"][0]


def test_coco_worked_by_hand():
    # a c: precision 2/4, recall 2/3; 2.44 * 1/3 / (2/3 + 1.44/2)
    assert coco("a b c d", "a c e") == pytest.approx(2.44 * (1 / 3) / (2 / 3 + 0.72))
    assert coco("a b c d", "a c e", beta=1) == pytest.approx(4 / 7)


def test_coco_takes_precision_and_recall_from_different_references():
    # the first has all words of the text, the second has all of its own in it
    assert coco("a b", "a b c d", "a") == 1.0
    assert coco("a b", "a b c d") < 1


def test_coco_leaves_tokens_as_they_are():
    assert coco("A cat.", "a cat .") == 0.0
    assert coco("a  cat", "a cat ") == 1.0


def test_max_worked_by_hand():
    assert longest("the cats sat", "the cat ran away") == pytest.approx(4 / 7)
    assert longest("the cats sat", "the cat ran away", stemmer=False) == pytest.approx(2 / 7)
    # precision 2/3, recall 1/2; alpha weighs precision in the harmonic mean
    assert longest("the cats sat", "the cat ran away", alpha=0.2) == pytest.approx(1 / (0.2 * 3 / 2 + 0.8 * 2))
    assert longest("the cats sat", "the cat ran away", alpha=1) == pytest.approx(2 / 3)
    assert longest("the cats sat", "the cat ran away", alpha=0) == pytest.approx(1 / 2)


def test_max_stems_by_porters_own_rules():
    assert longest("skies", "ski") == 1.0  # sky, with the exceptions that nltk adds
    assert longest("sing", "singing") == 1.0


def test_max_is_the_best_reference():
    assert longest("a b", "c", "a x", "a b c") == pytest.approx(0.8)


def test_max_root_of_precision_and_recall():
    assert longest("a b", "a c", weight_factor=1.2) == pytest.approx(0.5 ** (1 / 1.2))
    assert longest("a b", "a c", weight_factor=2) == pytest.approx(0.5**0.5)


def test_max_cuts_words_between_spaces():
    # `b-c` is one word for the limit, two for the comparison
    assert longest("a b-c d e", "a b-c x", max_words=2) == 1.0
    assert longest("a\nb-c d\ne", "a\nb-c x", max_words=2) == 1.0
    assert longest("a b c", "a b-c", max_words=2) == pytest.approx(0.8)  # a b, a b c
    assert longest("a b-c d e", "a b c", max_words=None) == pytest.approx(0.75)
    assert longest("x " * 100 + "a", "a") == 0.0  # 100 is the default
    assert longest("x " * 99 + "a", "a") == pytest.approx(2 / 101)


def test_max_joins_lines_and_counts_no_word_twice():
    assert longest("c d\na b", "a b\nc d") == 1.0
    assert longest("a", "a\na") == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [coco, longest])
def test_texts_without_words_score_zero(value):
    for completion, reference in (("", "a"), ("a", ""), ("", ""), (" \n", " ")):
        assert value(completion, reference) == 0.0
    assert longest("!?", "!?") == 0.0
    for text in ("\ud800 x", "e\u0301 x", "🙂 x", "日本 x", "שלום x"):
        assert value(text, text) == 1.0


@pytest.mark.parametrize("metric", [CocoRougeL(), RougeLMax()])
def test_no_references(metric):
    with pytest.raises(DataError, match="row 2 has none"):
        metric(completions=["a", "b"], references=[("a",), ()])


def test_signatures():
    assert "beta:1.2" in CocoRougeL().signature
    assert "weight_factor:1.2|stemmer:yes|max_words:none" in RougeLMax(weight_factor=1.2, max_words=None).signature
