from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from rl4lms.tasks.imdb import corpus, grammar
from rl4lms.tasks.imdb.task import ImdbTask


def test_splits_share_no_review():
    for one, other in combinations(corpus.SPLITS.values(), 2):
        assert not range(max(one.start, other.start), min(one.stop, other.stop))


def test_models_and_prompts_use_different_splits():
    task = ImdbTask()
    specs = [task.models["base"], task.models["judge"], *task.classifiers.values()]
    splits = [spec.data_options["split"] for spec in specs]
    assert sorted([*splits, "train", "validation", "development", "test"]) == sorted(corpus.SPLITS)
    one, other = task.classifiers["sentiment"], task.classifiers["evaluator"]
    assert one.seed != other.seed
    assert one.shape != other.shape
    assert task.models["base"].seed != task.models["judge"].seed


def test_pairs_are_halves_of_both_sentiments():
    pairs = corpus.pairs(split="judge", count=200)
    assert pairs == corpus.pairs(split="judge", count=200)
    assert pairs != corpus.pairs(split="judge", count=200, seed=1)
    golds = [grammar.label(f"{prompt} {rest}") for prompt, rest in pairs]
    assert 60 < sum(gold == 1.0 for gold in golds) < 140
    assert None not in golds
    assert all(grammar.parse(f"{prompt} {rest}") for prompt, rest in pairs)


def test_a_share_of_the_base_text_is_broken():
    texts = [f"{prompt} {rest}" for prompt, rest in corpus.pairs(split="base", count=1000, broken=0.33)]
    derivable = sum(grammar.derivable_share(text, text) == 1.0 for text in texts) / 1000
    assert 0.62 < derivable < 0.75
    words = set(grammar.vocabulary())
    assert {word for text in texts for word in text.split()} <= words


def test_breaking_makes_sentences_underivable_and_keeps_what_the_label_rests_on():
    rng = Random(3)
    lost = turned = 0
    for index in range(500):
        review = grammar.review(0, index)
        broken = corpus.break_text(review.text, rng)
        assert broken.count(".") == review.text.count(".")
        for word in corpus._KEPT & set(review.text.split()):
            assert word in broken.split()
        lost += grammar.derivable_share(broken, broken) < 1.0
        turned += grammar.label(broken) == 1.0 - review.positive
    assert lost > 400
    assert turned < 50  # an earlier sentence of the other polarity is now the last derivable one


def test_labelled_rows_are_reviews_and_sentences():
    rows = corpus.labelled(split="sentiment", count=400)
    assert {label for _, label in rows} == {"positive", "negative"}
    for number, (text, label) in enumerate(rows):
        assert grammar.label(text) == (1.0 if label == "positive" else 0.0)
        assert (text.count(".") == 1) is bool(number % 2)


def test_more_reviews_than_a_split_has():
    with pytest.raises(ValueError, match="100000"):
        corpus.pairs(split="base", count=100_001)
