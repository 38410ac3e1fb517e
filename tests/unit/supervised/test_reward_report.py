"""Measures of reward models, against scikit-learn and by hand."""

from __future__ import annotations

import time
import tracemalloc
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rl4lms.config.reader import read_text
from rl4lms.errors import DataError, NonFiniteError
from rl4lms.metrics.classifier import label_index
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import options_model, reward_options_model, written
from rl4lms.plugins.registry import rewards
from rl4lms.stats import calibration, roc_auc
from rl4lms.supervised.reward_report import (
    as_json,
    of_labels,
    of_pairs,
    of_ratings,
    reward_model_card,
    usage,
    write_plots,
)

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
    # The same six, each seen fifty times
    repeated = of_pairs(np.repeat(margins, 50), [str(i // 50) for i in range(300)])
    assert repeated.accuracy_stderr == pytest.approx(alone.accuracy_stderr)
    assert of_pairs(margins, ["one"] * 6).accuracy_stderr is None


def test_ratings():
    predicted, ratings = np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0, 5.0])
    measured = of_ratings(predicted, ratings)
    assert measured.accuracy == pytest.approx(5.5 / 6)  # five pairs in order, one tie
    assert measured.calibration_error == pytest.approx(np.sqrt((0 + 1 + 0 + 1) / 4))
    assert measured.pearson == pytest.approx(np.corrcoef(predicted, ratings)[0, 1])
    assert measured.auc == pytest.approx(sklearn.roc_auc_score(ratings > 2.5, predicted))
    assert measured.spearman == pytest.approx(np.corrcoef([1, 2.5, 2.5, 4], [1, 3, 2, 4])[0, 1])  # of ranks
    assert of_ratings(np.zeros(4), ratings).pearson is None
    # A resample of rows is likely to have one rating only
    few = of_ratings(np.arange(40.0), np.array([5.0] + [1.0] * 39))
    assert few.pearson == pytest.approx(np.corrcoef(np.arange(40), [5] + [1] * 39)[0, 1])


@pytest.mark.parametrize("seed", range(8))
def test_pairs_of_ratings_are_counted_as_one_by_one(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    predicted, ratings = rng.integers(0, 1 + seed, n).astype(float), rng.integers(0, 5, n).astype(float)
    ratings[0] = 9.0  # two differ
    points = []
    for one, other in combinations(range(n), 2):
        if ratings[one] != ratings[other]:
            better, worse = (one, other) if ratings[one] > ratings[other] else (other, one)
            points.append(
                1.0 if predicted[better] > predicted[worse] else 0.5 if predicted[better] == predicted[worse] else 0.0
            )
    assert of_ratings(predicted, ratings).accuracy == pytest.approx(sum(points) / len(points), abs=1e-12)


def test_predictions_that_are_no_numbers_are_told():
    with pytest.raises(NonFiniteError, match="the reward model predicts NaN or infinity"):
        of_ratings(np.array([1.0, np.nan, 2.0]), np.array([1.0, 2.0, 3.0]))


def test_many_ratings_take_little_time_and_memory():
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 6, 30_000).astype(float)
    tracemalloc.start()
    began = time.perf_counter()
    measured = of_ratings(ratings + rng.normal(size=30_000), ratings)
    seconds, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.85 < measured.accuracy < 0.95
    assert seconds < 10
    assert peak < 50e6  # one matrix of all pairs has 900 million entries


def test_what_held_out_data_do_not_define_is_said_and_not_formatted(tmp_path):
    same = of_ratings(np.array([1.0, 2.0, 3.0]), np.full(3, 4.0))
    assert np.isnan(same.accuracy)
    result = {"train_rows": 30, **as_json(same), "curve": [{"rows": 3, "accuracy": None, "auc": None}] * 2}
    settings = dict.fromkeys(("base", "train", "epochs", "batch_size", "learning_rate", "max_tokens", "seed"), "x")
    settings |= {"kind": "ratings", "held_out": "h", "use": "u", "include_prompt": False, "result": result}
    plots = write_plots(tmp_path, "ratings", same, result["curve"])
    assert plots == ["calibration.png"]
    text = reward_model_card(settings, plots)
    assert "| accuracy | not defined |" in text
    assert "| 3 | not defined | not defined |" in text
    assert "trained on texts without prompts" in text


LABELS = [
    "1",
    "0",
    "no",
    "null",
    "1e5",
    "a: b",
    "x, y",
    "}",
    '"',
    "\\",
    "it's",
    "# x",
    " padded ",
    "ä €",
    "\x85",
    "\u2028",
    "\x7f",
    "😀",
    "a\tb\n",
]


@pytest.mark.parametrize("label", LABELS)
def test_the_line_to_copy_names_the_label(label):
    read = read_text(usage(Path("m"), ["other", label], True), "line")[0]["reward"]
    options = written(reward_options_model("classifier").model_validate(Component.model_validate(read).options))
    assert options["label"] == label
    model_config = SimpleNamespace(id2label={0: "other", 1: label})
    assert label_index(model_config, "m", options["label"]) == 1
    assert options["include_prompt"]


@pytest.mark.parametrize(
    "path", ["models/good", "a, b/c: d", "7", "null", "it's {here}", "#x", "a\u2028b", "C:\\models", "x #y", "-"]
)
def test_the_line_to_copy_names_the_folder_and_the_prompts(path):
    read = read_text(usage(Path(path), [], False), "line")[0]["reward"]
    options = written(options_model(rewards, "preference").model_validate(Component.model_validate(read).options))
    assert Path(options["model"]) == Path(path)
    assert not options["include_prompt"]


def test_a_line_that_needs_no_quotes_has_none():
    assert usage(Path("models/good"), [], True) == "reward: {name: preference, model: models/good}"
