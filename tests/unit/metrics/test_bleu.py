from __future__ import annotations

import math
import statistics

import pytest

from rl4lms.errors import DataError
from rl4lms.metrics.bleu import Bleu
from rl4lms.metrics.sums import corpus_value, ratio, resampled_sums
from rl4lms.stats import bootstrap_stderr


def sentence(completion: str, *references: str, n: int = 4, **options: object) -> float:
    return Bleu(**options)([completion], [references])[f"sentence_bleu-{n}"][0]


def test_corpus_worked_by_hand():
    values = Bleu(max_n=2)(["a b c", "d e"], [("a b x y",), ("d e",)])
    # words: 2 + 2 of 5; pairs: 1 + 1 of 3; 5 words against 6
    penalty = math.exp(1 - 6 / 5)
    assert values["bleu-1"].value == pytest.approx(penalty * 4 / 5)
    assert values["bleu-2"].value == pytest.approx(penalty * math.sqrt(4 / 5 * 2 / 3))
    assert values["bleu-1"].stderr > 0


def test_matches_are_clipped_by_the_reference_that_has_most():
    assert Bleu()(["a a a"], [("a b c", "a a d")])["bleu-1"].value == pytest.approx(2 / 3)


def test_the_closest_reference_length_and_the_shorter_of_two():
    # 4 words; 3 and 5 are as close, and 3 asks for no penalty
    assert Bleu()(["a b c d"], [("a b c d e", "x y z")])["bleu-1"].value == 1.0
    assert Bleu()(["a b c d"], [("a b c d e", "x y")])["bleu-1"].value == pytest.approx(math.exp(1 - 5 / 4))


def test_the_corpus_value_is_not_smoothed():
    values = Bleu(max_n=3)(["a b x"], [("a b c",)])
    assert values["bleu-2"].value > 0
    assert values["bleu-3"].value == 0.0


def test_smoothing_of_single_texts():
    # words 2/4, pairs 0/3, triples 0/2
    row = "a x b y", "a b c d"
    assert sentence(*row, n=3, smoothing="none") == 0.0
    assert sentence(*row, n=3, smoothing="exp") == pytest.approx((1 / 2 * (1 / 2) / 3 * (1 / 4) / 2) ** (1 / 3))
    assert sentence(*row, n=3, smoothing="floor") == pytest.approx((1 / 2 * 0.1 / 3 * 0.1 / 2) ** (1 / 3))
    assert sentence(*row, n=3, smoothing="add-k") == pytest.approx((1 / 2 * 1 / 4 * 1 / 3) ** (1 / 3))
    assert sentence("x y", "a b") == 0.0  # nothing to smooth


@pytest.mark.parametrize("smoothing", ["none", "floor", "add-k", "exp"])
def test_short_texts_can_be_perfect(smoothing):
    assert sentence("a b", "a b", smoothing=smoothing) == 1.0
    assert sentence("a b", "c", "a b", smoothing=smoothing) == 1.0


def test_tokens_and_case():
    assert sentence("A cat.", "A cat .", n=1) == pytest.approx(1 / 2 * math.exp(1 - 3 / 2))
    assert sentence("A cat.", "A cat .", n=1, tokenize="13a") == 1.0
    assert sentence("a -\n", "a -", n=1, tokenize="13a") == 1.0  # a line end hides no dash at the end of a text
    assert sentence("a cat", "A cat", n=1) == 0.5
    assert sentence("a cat", "A cat", n=1, lowercase=True) == 1.0


def test_remembered_references_depend_on_the_options():
    for _ in range(2):
        assert [sentence("a.", "A .", n=1, tokenize="13a", lowercase=lower) for lower in (False, True)] == [0.5, 1.0]


def test_more_words_than_max_n_asks_for():
    assert set(Bleu(max_n=1)(["a"], [("a",)])) == {"bleu-1", "sentence_bleu-1"}
    assert Bleu(max_n=2).reward_key == "sentence_bleu-2"


@pytest.mark.parametrize("tokenize", ["whitespace", "13a"])
def test_odd_texts(tokenize):
    metric = Bleu(tokenize=tokenize)
    for completion, reference in (("", "a"), ("a", ""), ("", ""), (" \n", "a")):
        values = metric([completion], [(reference,)])
        assert values["sentence_bleu-4"] == [0.0]
        assert values["bleu-4"].value == 0.0
    for text in ("?!", "\ud800", "e\u0301", "🙂 🙂", "日本", "שלום"):
        assert metric([text], [(text,)])["sentence_bleu-4"] == [1.0]
    with pytest.raises(DataError, match="row 2 has none"):
        metric(["a", "b"], [("a",), ()])


def test_the_bootstrap_spreads_as_a_mean_does():
    rows = [[float(i % 2), 1.0] for i in range(400)]
    samples = resampled_sums(rows, resamples=2000)
    assert samples[:, 1].tolist() == [400.0] * 2000
    assert corpus_value(rows, ratio).value == 0.5
    error = corpus_value(rows, ratio).stderr
    assert error == pytest.approx(0.5 / math.sqrt(400), rel=0.15)  # 200 samples
    for values in ([0.0, 1.0, 5.0], [0.1, 0.4, 0.5, 0.9, 2.0], [float(i * i) for i in range(10)]):
        samples = ratio(resampled_sums([[value, 1.0] for value in values], resamples=20000))
        error = bootstrap_stderr(samples, len(values))
        assert error == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)), rel=0.02)
    assert (resampled_sums(rows) == resampled_sums(rows)).all()
    assert not (resampled_sums(rows) == resampled_sums(rows, seed=1)).all()


def test_no_error_for_a_single_text():
    assert Bleu()(["a b"], [("a b",)])["bleu-1"].stderr is None


def test_signatures_of_both_kinds():
    said = Bleu(tokenize="13a", smoothing="floor").signature
    assert said["bleu-2"].startswith("bleu|tok:13a|case:mixed|smooth:none|version:rl4lms-")
    assert "smooth:floor|eff:yes" in said["sentence_bleu-2"]
    assert set(said) == set(Bleu()(["a"], [("a",)]))
