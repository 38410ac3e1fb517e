"""Measures of reward models, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rl4lms.errors import DataError
from rl4lms.stats import calibration, roc_auc
from rl4lms.training.reward_report import of_labels, of_pairs, of_ratings

sklearn = pytest.importorskip("sklearn.metrics")


def each(n: int) -> list[str]:
    """Every row is a group of its own."""
    return [str(i) for i in range(n)]


@pytest.mark.parametrize("seed", range(5))
def test_roc_auc_with_ties(seed):
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 6, 40) / 5, rng.random(40) < 0.4
    assert roc_auc(scores, positive) == pytest.approx(sklearn.roc_auc_score(positive, scores))


def test_roc_auc_needs_both_classes():
    with pytest.raises(DataError, match="needs positives and negatives"):
        roc_auc([0.1, 0.2], [True, True])


def test_calibration_by_hand():
    seen = calibration([0.02, 0.08, 0.55, 1.0], [0, 1, 1, 1])
    assert seen.predicted == pytest.approx((0.05, 0.55, 1.0))
    assert seen.observed == (0.5, 1.0, 1.0)
    assert seen.counts == (2, 1, 1)
    assert seen.error == pytest.approx((2 * 0.45 + 0.45 + 0.0) / 4)
    with pytest.raises(DataError, match="between 0 and 1"):
        calibration([1.5], [1])


def test_two_labels():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(200, 2)), rng.integers(0, 2, 200)
    measured = of_labels(logits, truth, each(200))
    probability = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert measured.accuracy == pytest.approx(sklearn.accuracy_score(truth, logits.argmax(-1)))
    assert measured.accuracy_stderr == pytest.approx(np.sqrt(measured.accuracy * (1 - measured.accuracy) / 199))
    assert measured.auc == pytest.approx(sklearn.roc_auc_score(truth, probability))
    assert measured.calibration_error == pytest.approx(calibration(probability, truth).error)
    assert measured.n == 200


def test_three_labels_are_averaged_one_against_the_rest():
    rng = np.random.default_rng(1)
    logits, truth = rng.normal(size=(300, 3)), rng.integers(0, 3, 300)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert of_labels(logits, truth, each(300)).auc == pytest.approx(
        sklearn.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    )


def test_pairs():
    measured = of_pairs(np.array([2.0, 0.5, -1.0, 0.0]), each(4))
    assert measured.accuracy == pytest.approx(2.5 / 4)
    # each pair in both orders: scores 2, .5, -1, 0 against -2, -.5, 1, 0
    wins = [(a > b) + 0.5 * (a == b) for a in (2.0, 0.5, -1.0, 0.0) for b in (-2.0, -0.5, 1.0, 0.0)]
    assert measured.auc == pytest.approx(np.mean(wins))
    assert sum(count for _, _, count in measured.points) == 8


def test_a_model_that_is_surely_right_is_calibrated():
    assert of_pairs(np.full(50, 40.0), each(50)).calibration_error == pytest.approx(0, abs=1e-9)
    assert of_pairs(np.full(50, 0.0), each(50)).calibration_error == pytest.approx(0)


def test_rows_of_a_group_count_as_one_for_the_error():
    margins = np.array([1.0, -1.0, 1.0, 1.0, -1.0, 1.0])
    alone = of_pairs(margins, each(6))
    assert alone.accuracy_stderr == pytest.approx(np.std([1, 0, 1, 1, 0, 1], ddof=1) / np.sqrt(6))
    repeated = of_pairs(np.repeat(margins, 50), [str(i // 50) for i in range(300)])  # the same six, each seen fifty times
    assert repeated.accuracy_stderr == pytest.approx(alone.accuracy_stderr)
    assert of_pairs(margins, ["one"] * 6).accuracy_stderr is None


def test_ratings():
    predicted, ratings = np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0, 5.0])
    measured = of_ratings(predicted, ratings)
    assert measured.accuracy == pytest.approx(5.5 / 6)  # five pairs in order, one tie
    assert measured.calibration_error == pytest.approx(np.sqrt((0 + 1 + 0 + 1) / 4))
    assert measured.pearson == pytest.approx(np.corrcoef(predicted, ratings)[0, 1])
    assert measured.auc == pytest.approx(sklearn.roc_auc_score(ratings > 2.5, predicted))
    assert of_ratings(np.zeros(4), ratings).pearson is None
