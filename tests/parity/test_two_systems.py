"""The comparison of two systems against sacrebleu's own `PairedTest`, and against resampling texts one by one."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

from rl4lms.evaluation.two_systems import differences
from rl4lms.metrics import build, compute

WORDS = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran", "in", "park", "and", "saw", "two", "birds"]


def systems(changed: tuple[int, int], n: int = 80, seed: int = 0):
    """Gold texts of twelve words, and two systems that replace some."""
    rng = random.Random(seed)
    gold = [rng.choices(WORDS, k=12) for _ in range(n)]

    def made(count: int) -> list[str]:
        texts = []
        for words in gold:
            own = list(words)
            for place in rng.sample(range(12), count):
                own[place] = rng.choice(WORDS)
            texts.append(" ".join(own))
        return texts

    first, second = made(changed[0]), made(changed[1])
    return first, second, [" ".join(words) for words in gold]


def results(metric, texts, gold):
    found = compute(build(metric), prompts=[""] * len(gold), completions=texts, references=gold, columns={})
    return {result.key: result for result in found}


METRICS = {"sacrebleu": BLEU(), "chrf": CHRF(), "ter": TER()}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("changed", [pytest.param((5, 5), marks=pytest.mark.slow), (6, 5)], ids=["alike", "different"])
def test_approximate_randomisation_is_sacrebleus(name, changed):
    first, second, gold = systems(changed)
    test = PairedTest([("first", first), ("second", second)], {name: METRICS[name]}, [gold], "ar", n_samples=2000)
    _, scores = test()
    (column,) = (key for key in scores if key != "System")
    one, other = scores[column]
    found = differences(results(name, first, gold), results(name, second, gold))[name]
    assert (found.first.mean, found.second.mean) == pytest.approx((one.score, other.score), abs=1e-9)
    assert found.value == pytest.approx(other.score - one.score, abs=1e-9)
    if name == "ter":  # edits are whole numbers; sacrebleu does not count samples that differ just as much
        assert other.p_value - 0.03 < found.p < other.p_value + 0.2
    else:
        assert found.p == pytest.approx(other.p_value, abs=0.03)


@pytest.mark.slow
def test_the_interval_is_that_of_texts_drawn_one_by_one():
    first, second, gold = systems((6, 5))
    found = differences(results("sacrebleu", first, gold), results("sacrebleu", second, gold))["sacrebleu"]
    rng, drawn = np.random.default_rng(5), []
    for _ in range(150):
        rows = rng.integers(0, len(gold), len(gold))
        one, other = (
            BLEU().corpus_score([texts[i] for i in rows], [[gold[i] for i in rows]]).score for texts in (first, second)
        )
        drawn.append(other - one)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.2 * (high - low))
    assert found.n == 80


def test_a_value_per_text_is_compared_text_by_text():
    first, second, gold = systems((6, 5))
    found = differences(results("rouge_combined", first, gold), results("rouge_combined", second, gold))
    (difference,) = found.values()
    assert 0 < difference.low < difference.value < difference.high
    assert difference.p < 0.05
    assert difference.first.values is not None


@pytest.mark.parametrize("name", ["bleu", "nist", "wer", "local_recall"])
def test_every_value_of_sums_has_an_interval(name):
    first, second, gold = systems((7, 3), n=20)
    found = differences(results(name, first, gold), results(name, second, gold))
    for key, difference in found.items():
        assert difference.low <= difference.value <= difference.high, key
        assert difference.p < 0.05, key


def test_what_is_no_sum_has_a_difference_and_no_interval():
    first, second, gold = systems((6, 5), n=20)
    for difference in differences(results("diversity", first, gold), results("diversity", second, gold)).values():
        assert (difference.low, difference.high, difference.p, difference.method) == (None, None, None, "")
