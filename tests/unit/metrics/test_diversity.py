from __future__ import annotations

import math
import random

import pytest

from rl4lms.metrics.diversity import Diversity


def slow(texts: list[list[str]], n: int) -> dict[str, float]:
    """Distinct, unique and entropy by counting every n-gram against every other one."""
    grams = [tuple(words[start : start + n]) for words in texts for start in range(len(words) - n + 1)]
    different: list[tuple[str, ...]] = []
    for gram in grams:
        if gram not in different:
            different.append(gram)
    entropy = 0.0
    for gram in different:
        probability = grams.count(gram) / len(grams)
        entropy += probability * math.log(1 / probability, 2)
    return {
        f"distinct-{n}": len(different) / len(grams),
        f"unique-{n}": sum(grams.count(gram) == 1 for gram in different),
        f"entropy-{n}": entropy,
    }


def test_against_the_slow_version():
    rng = random.Random(0)
    texts = [[rng.choice("abcdefgh") for _ in range(rng.randrange(1, 40))] for _ in range(20)]
    values = Diversity(window=10)(completions=[" ".join(words) for words in texts])
    expected = slow(texts, 1) | slow(texts, 2)
    for key, value in expected.items():
        assert values[key] == pytest.approx(value, abs=1e-9), key
    running = [word for words in texts for word in words]
    ratios = []
    while len(running) >= 10:
        ratios.append(len(set(running[:10])) / 10)
        running = running[10:]
    assert values["msttr-10"] == pytest.approx(sum(ratios) / len(ratios))
    assert values["mean_length"] == pytest.approx(sum(map(len, texts)) / 20)


def test_worked_by_hand():
    values = Diversity()(completions=["A b a b.", "c"])
    # words: a b a b . c; bigrams: ab ba ab b.
    assert values == {
        "distinct-1": pytest.approx(4 / 6),
        "unique-1": 2,
        "entropy-1": pytest.approx(2 / 3 * math.log2(3) + 1 / 3 * math.log2(6)),
        "distinct-2": 0.75,
        "unique-2": 2,
        "entropy-2": pytest.approx(1.5),
        "mean_length": 3,
    }  # and no MSTTR: there are fewer than 100 words


def test_what_cannot_be_computed_is_left_out():
    assert Diversity()(completions=["", ""]) == {"mean_length": 0.0}
    assert "distinct-2" not in Diversity()(completions=["one", "two"])


def test_repetition_is_less_diverse():
    same, varied = (Diversity(window=8)(completions=texts) for texts in (["a a a a a a a a"], ["a b c d e f g h"]))
    for key in ("distinct-1", "distinct-2", "entropy-1", "entropy-2", "msttr-8", "unique-1"):
        assert same[key] < varied[key]
        assert Diversity(window=8).higher_is_better[key]
