"""Numbers that GEM-metrics publishes for its test sentences (GEM-benchmark/GEM-metrics, MIT: `tests/test_ngram.py`,
`tests/test_chrf.py`, and the sentences of `tests/inputs.py`).
"""

from __future__ import annotations

import pytest

from rl4lms.metrics.diversity import Diversity
from rl4lms.metrics.sacre import Chrf

PREDICTIONS = [
    "Alimentum is a non family-friendly restaurant near Burger King in the city centre.",
    "Alimentum is located in the city centre. It is not family-friendly.",
    "Or Orleans has a home.",
]
REFERENCES = [
    ("Alimentum is not family-friendly, and is near the Burger King in the city centre.",),
    ("There is a place in the city centre, Alimentum, that is not family-friendly.",),
    ("There is a house in New Orleans.",),
]
# The references backwards, without punctuation: `reversed_predictions.json`.
REVERSED = [
    "ertnec ytic eht ni gniK regruB eht raen si dna yldneirf ylimaf ton si mutnemilA",
    "yldneirf ylimaf ton si taht mutnemilA ertnec ytic eht ni ecalp si erehT",
    "snaelrO weN ni esuoh si erehT",
]
BASIC = {
    "total_length": 33,
    "mean_length": 11.0,
    "std_length": 3.559026084010437,
    "median_length": 13.0,
    "min_length": 6,
    "max_length": 14,
    "distinct-1": 0.6363636363636364,
    "vocab_size-1": 21,
    "unique-1": 12,
    "entropy-1": 4.233639952626228,
    "distinct-2": 0.8333333333333334,
    "vocab_size-2": 25,
    "unique-2": 20,
    "entropy-2": 4.573557262275186,
    "cond_entropy-2": 0.22099272632218087,
    "distinct-3": 0.8888888888888888,
    "vocab_size-3": 24,
    "unique-3": 21,
    "entropy-3": 4.532665279941249,
    "cond_entropy-3": -0.04089198233393895,
    "total_length-nopunct": 29,
    "mean_length-nopunct": 9.666666666666666,
    "std_length-nopunct": 3.39934634239519,
    "median_length-nopunct": 11.0,
    "min_length-nopunct": 5,
    "max_length-nopunct": 13,
    "distinct-1-nopunct": 0.6896551724137931,
    "vocab_size-1-nopunct": 20,
    "unique-1-nopunct": 12,
    "entropy-1-nopunct": 4.21126073643228,
    "distinct-2-nopunct": 0.8461538461538461,
    "vocab_size-2-nopunct": 22,
    "unique-2-nopunct": 18,
    "entropy-2-nopunct": 4.392747410448783,
    "cond_entropy-2-nopunct": 0.1791851654044227,
    "distinct-3-nopunct": 0.9130434782608695,
    "vocab_size-3-nopunct": 21,
    "unique-3-nopunct": 19,
    "entropy-3-nopunct": 4.349648912578752,
    "cond_entropy-3-nopunct": -0.04644297947538351,
}
MIXED = {
    "total_length": 9,
    "mean_length": 3.0,
    "std_length": 4.242640687119285,
    "median_length": 0.0,
    "min_length": 0,
    "max_length": 9,
    "distinct-1": 0.5555555555555556,
    "vocab_size-1": 5,
    "unique-1": 3,
    "entropy-1": 2.113283334294875,
    "distinct-2": 0.75,
    "vocab_size-2": 6,
    "unique-2": 5,
    "entropy-2": 2.4056390622295662,
    "cond_entropy-2": 0.42443593632812127,
    "distinct-3": 1.0,
    "vocab_size-3": 7,
    "unique-3": 7,
    "entropy-3": 2.807354922057604,
    "cond_entropy-3": 0.486624565223814,
}

REPEATED = {
    "total_length": 7,
    "std_length": 0.0,
    "distinct-1": 0.14285714285714285,
    "unique-1": 0,
    "entropy-1": 0.0,
    "distinct-2": 0.16666666666666666,
    "cond_entropy-2": 0.0,
    "distinct-3": 0.2,
    "vocab_size-3": 1,
    "entropy-3": 0.0,
    "cond_entropy-3": 0.0,
}


@pytest.mark.parametrize(
    ("texts", "published"),
    [
        (PREDICTIONS, BASIC),
        (["", "token number one token number two token number three", ""], MIXED),
        (["token " * 6 + "token"], REPEATED),
    ],
    ids=["basic", "mixed", "repeated"],
)
def test_diversity(texts, published):
    """Our names: what GEM calls `mean_pred_length` is `mean_length`, and so on."""
    values = {key: value.value for key, value in Diversity(detail="all", window=100)(completions=texts).items()}
    assert {key: values[key] for key in published} == pytest.approx(published, abs=1e-12)


def test_forty_keys():
    assert len(BASIC) == 40


@pytest.mark.parametrize(
    ("word_order", "smoothed", "published"), [(0, False, 63.61553), (1, True, 63.40982), (2, True, 60.0482)]
)
def test_chrf(word_order, smoothed, published):
    """GEM's class smooths all three; its published chrF, alone of them, is the number without smoothing."""
    metric = Chrf(word_order=word_order, eps_smoothing=smoothed)
    key = "chrf" + "+" * word_order
    assert metric(PREDICTIONS, REFERENCES)[key].value == pytest.approx(published, abs=5e-6)
    assert f"eff:{'no' if smoothed else 'yes'}" in metric.signature[key]
