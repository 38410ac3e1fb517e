from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest

from rl4lms.metrics.diversity import Diversity


def values_of(texts: list[str], **options: Any) -> dict[str, float]:
    return {key: value.value for key, value in Diversity(detail="all", **options)(completions=texts).items()}


def slow(texts: list[list[str]], n: int) -> dict[str, float]:
    """Everything about n-grams by counting every one against every other one."""
    grams = [tuple(words[start : start + n]) for words in texts for start in range(len(words) - n + 1)]
    different: list[tuple[str, ...]] = []
    for gram in grams:
        if gram not in different:
            different.append(gram)
    entropy = 0.0
    for gram in different:
        probability = grams.count(gram) / len(grams)
        entropy += probability * math.log(1 / probability, 2)
    found = {
        f"distinct-{n}": len(different) / len(grams),
        f"vocab_size-{n}": len(different),
        f"unique-{n}": sum(grams.count(gram) == 1 for gram in different),
        f"entropy-{n}": entropy,
    }
    if n > 1:
        contexts = [tuple(words[start : start + n - 1]) for words in texts for start in range(len(words) - n + 2)]
        found[f"cond_entropy-{n}"] = 0.0
        for gram in different:
            joint, context = grams.count(gram) / len(grams), contexts.count(gram[:-1]) / len(contexts)
            found[f"cond_entropy-{n}"] += joint * math.log(context / joint, 2)
    return found


def slow_all(texts: list[list[str]], window: int) -> dict[str, float]:
    found = slow(texts, 1) | slow(texts, 2) | slow(texts, 3)
    running = [word for words in texts for word in words]
    ratios = []
    while len(running) >= window:
        ratios.append(len(set(running[:window])) / window)
        running = running[window:]
    lengths = [len(words) for words in texts]
    return found | {
        f"msttr-{window}": statistics.fmean(ratios),
        "total_length": sum(lengths),
        "mean_length": statistics.fmean(lengths),
        "std_length": statistics.pstdev(lengths),
        "median_length": statistics.median(lengths),
        "min_length": min(lengths),
        "max_length": max(lengths),
    }


def random_texts(seed: int, alphabet: str = "abcdefgh..!") -> list[list[str]]:
    rng = random.Random(seed)
    return [[rng.choice(alphabet) for _ in range(rng.randrange(40))] for _ in range(20)]


def test_against_the_slow_version():
    texts = random_texts(0)
    expected = slow_all(texts, 10)
    without = slow_all([[word for word in words if word.isalpha()] for words in texts], 10)
    expected |= {f"{key}-nopunct": value for key, value in without.items()}
    assert values_of([" ".join(words) for words in texts], window=10) == pytest.approx(expected, abs=1e-9)
    assert len(expected) == 42


def test_worked_by_hand():
    values = values_of(["A b a b.", "c"])
    # words: a b a b . c; pairs: ab ba ab b. ; triples: aba bab ab.
    assert {key: value for key, value in values.items() if not key.endswith("-nopunct")} == {
        "distinct-1": pytest.approx(4 / 6),
        "vocab_size-1": 4,
        "unique-1": 2,
        "entropy-1": pytest.approx(2 / 3 * math.log2(3) + 1 / 3 * math.log2(6)),
        "distinct-2": 0.75,
        "vocab_size-2": 3,
        "unique-2": 2,
        "entropy-2": pytest.approx(1.5),
        # ab: 1/2 against 2/6 for a; ba and b.: 1/4 against 2/6 for b
        "cond_entropy-2": pytest.approx(-(0.5 * math.log2(1.5) + 0.5 * math.log2(0.75))),
        "distinct-3": 1,
        "vocab_size-3": 3,
        "unique-3": 3,
        "entropy-3": pytest.approx(math.log2(3)),
        # aba and ab.: 1/3 against 2/4 for ab; bab: 1/3 against 1/4 for ba
        "cond_entropy-3": pytest.approx(-(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(4 / 3))),
        "total_length": 6,
        "mean_length": 3,
        "std_length": 2,
        "median_length": 3,
        "min_length": 1,
        "max_length": 5,
    }  # and no MSTTR: there are fewer than 100 words
    assert values["total_length-nopunct"] == 5


def test_what_cannot_be_computed_is_left_out():
    assert values_of(["", ""], window=1).keys() == {
        f"{name}_length{suffix}"
        for name in ("total", "mean", "std", "median", "min", "max")
        for suffix in ("", "-nopunct")
    }
    values = values_of(["one", "two."])
    assert "distinct-2" in values
    assert "distinct-2-nopunct" not in values
    assert "msttr-2-nopunct" in values_of(["one", "two."], window=2)
    assert "msttr-3-nopunct" not in values_of(["one", "two."], window=3)


def test_marks_that_are_no_punctuation():
    assert values_of(["a + b 🙂 _ „c“ e\u0301 …"], tokenizer="regex")["total_length-nopunct"] == 6  # a b 🙂 c e ´
    assert values_of(["\ud800 日本"])["total_length"] == 2


def test_repetition_is_less_diverse():
    same, varied = (values_of(texts, window=8) for texts in (["a a a a a a a a"], ["a b c d e f g h"]))
    for key in ("distinct-1", "distinct-2", "vocab_size-3", "entropy-1", "entropy-2", "msttr-8", "unique-1"):
        assert same[key] < varied[key]
        assert Diversity(window=8).higher_is_better[key]
    assert same["entropy-3"] == 0
    assert "mean_length" not in Diversity().higher_is_better


def test_errors_are_those_of_texts_drawn_one_by_one():
    """The same bootstrap, from texts that are drawn by another generator and measured by the slow version."""
    texts = random_texts(1)
    result = Diversity(window=10, resamples=400, detail="all")(completions=[" ".join(words) for words in texts])
    rng = random.Random(5)
    draws = [slow_all(rng.choices(texts, k=len(texts)), 10) for _ in range(120)]
    for key in draws[0]:
        expected = statistics.stdev(draw[key] for draw in draws)
        # two estimates from 120 and 400 draws; their ratio is off by 7 % on average
        factor = math.sqrt(len(texts) / (len(texts) - 1))
        assert result[key].stderr == pytest.approx(factor * expected, rel=0.35), key


def test_the_error_of_a_mean_is_the_known_one():
    lengths = [3, 5, 8, 13, 21, 34] * 10
    value = Diversity(resamples=2000, detail="all")(completions=["a " * length for length in lengths])["mean_length"]
    assert value.stderr == pytest.approx(statistics.stdev(lengths) / math.sqrt(60), rel=0.08)


@pytest.mark.parametrize("lengths", [(3, 8, 34), (3, 5, 8, 13, 34), (3, 5, 8, 13, 21, 34, 1, 9, 2, 7)])
def test_the_error_of_a_mean_of_few_texts_is_the_known_one(lengths):
    metric = Diversity(resamples=20000, detail="all")
    value = metric(completions=["a " * length for length in lengths])["mean_length"]
    assert value.stderr == pytest.approx(statistics.stdev(lengths) / math.sqrt(len(lengths)), rel=0.02)


def test_texts_that_were_not_drawn_are_not_there():
    result = Diversity(resamples=2000, detail="all")(completions=["one", "two"])
    # half of the draws are both texts, two words that occur once; half are one text twice: none. √2 is √(n / (n - 1))
    assert result["unique-1"].stderr == pytest.approx(math.sqrt(2) * 1.0, rel=0.05)
    assert result["vocab_size-1"].stderr == pytest.approx(math.sqrt(2) * 0.5, rel=0.05)
    assert result["entropy-1"].stderr == pytest.approx(math.sqrt(2) * 0.5, rel=0.05)


def test_draws_without_any_pair_are_left_out():
    # draws without `b c` have no pairs, and a numerator that rounding leaves a little off 0
    result = Diversity(resamples=500, detail="all")(completions=["a", "b c", "d", "a", "d", "e", "d"])
    assert all(math.isfinite(value.stderr) for value in result.values())
    assert result["distinct-2"] == result["distinct-2-nopunct"]
    assert result["distinct-2"].value == 1.0


def test_errors_are_the_same_every_time_and_can_be_left_out():
    texts = [" ".join(words) for words in random_texts(2)]
    assert Diversity()(completions=texts) == Diversity()(completions=texts)
    assert all(value.stderr is not None for value in Diversity(window=10)(completions=texts).values())
    assert all(value.stderr is None for value in Diversity(resamples=0)(completions=texts).values())
    assert all(value.stderr is None for value in Diversity()(completions=texts[:1]).values())


def test_blocks_of_columns_change_nothing(monkeypatch):
    texts = [" ".join(words) for words in random_texts(3)]
    whole = Diversity()(completions=texts)
    monkeypatch.setattr("rl4lms.metrics.diversity._BLOCK", 7)
    parts = Diversity()(completions=texts)
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        assert (parts[key].value, parts[key].stderr) == pytest.approx((value.value, value.stderr), rel=1e-9), key


def test_eight_keys_unless_all_are_wanted():
    texts = ["a b c d e, f", "a b"]
    standard = Diversity(window=2)(completions=texts)
    names = {"distinct-1", "distinct-2", "unique-1", "unique-2", "entropy-1", "entropy-2", "msttr-2", "mean_length"}
    assert set(standard) == names
    everything = Diversity(window=2, detail="all")(completions=texts)
    assert len(everything) == 42
    assert {key: everything[key] for key in names} == standard
