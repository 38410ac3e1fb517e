from __future__ import annotations

import hashlib
import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from rl4lms.rewards import build as build_reward
from rl4lms.tasks.imdb import grammar
from rl4lms.tasks.imdb.table import TABLE
from rl4lms.tasks.imdb.task import ImdbTask

REVIEWS = [grammar.review(0, index) for index in range(2000)]


def test_reviews_are_a_function_of_seed_and_index():
    assert [grammar.review(0, index) for index in (5, 3, 3)] == [REVIEWS[5], REVIEWS[3], REVIEWS[3]]
    assert grammar.review(1, 5) != REVIEWS[5]
    assert len({review.text for review in REVIEWS}) == len(REVIEWS)


def test_the_language_belongs_to_the_version_of_the_task():
    """Results name the version: whoever changes the rules raises `ImdbTask.version` and pins the new digest."""
    digest = hashlib.sha256("\n".join(review.text for review in REVIEWS[:200]).encode()).hexdigest()[:16]
    assert (ImdbTask.version, digest) == (1, "d5535632fcf2261d")


def test_form_of_the_reviews():
    for review in REVIEWS:
        words = review.text.split()
        assert 20 <= len(words) <= 45
        assert 2 <= words.count(".") <= 4
        assert words[-1] == "."
        assert all(re.fullmatch(r"[a-z]+|[.,]", word) for word in words)
    assert 0.46 < sum(review.positive for review in REVIEWS) / len(REVIEWS) < 0.54


def test_vocabulary():
    words = grammar.vocabulary()
    assert 400 <= len(words) <= 700
    assert words == sorted(set(words))
    assert {word for review in REVIEWS for word in review.text.split()} <= set(words)


def test_every_review_parses_to_its_label():
    for review in REVIEWS:
        parse = grammar.parse(review.text)
        assert parse is not None
        assert parse.positive is review.positive
        assert grammar.label(review.text) == float(review.positive)
        last = next(polarity for polarity in reversed(parse.polarities) if polarity)
        assert (last > 0) is review.positive
        assert grammar.derivable_share(review.text, review.text) == 1.0


def test_no_sentence_has_two_labels():
    rng = Random(0)
    symbols = ("TURN<pos>", "TURN<neg>", "PLOT", "ASIDE")
    for number in range(2000):
        own = symbols[number % 4]
        words = TABLE.write(own, rng)
        assert [symbol for symbol in symbols if TABLE.accepts(symbol, words)] == [own], " ".join(words)


# Written by hand: what the sentences mean, not what the table says.
@pytest.mark.parametrize(
    ("sentence", "gold"),
    [
        ("the plot was superb .", 1.0),
        ("the plot was not superb .", 0.0),
        ("the plot was never boring .", 1.0),
        ("these jokes are far from funny .", 0.0),
        ("although the plot was dull , the acting was superb .", 1.0),
        ("although the acting was superb , the plot was dull .", 0.0),
        ("the acting was superb , but the plot was dull .", 0.0),
        ("although the plot was dull , the acting was superb , and overall i loved it .", 1.0),
        ("the acting was superb even though the plot was dull .", 1.0),
        ("despite the clever script , i did not enjoy it .", 0.0),
        ("critics called it a masterpiece , but i hated it .", 0.0),
        ("i expected a disaster , but the music delighted me .", 1.0),
        ("this film was hardly a masterpiece .", 0.0),
        ("the dialogue had no charm .", 0.0),
        ("the dialogue had no nonsense .", 1.0),
        ("the actors failed to impress us .", 0.0),
        ("my wife loves it .", 1.0),
        ("my friends do not love it .", 0.0),
        ("i would gladly recommend it to anyone .", 1.0),
        ("i would never recommend it to anyone .", 0.0),
        ("the story follows a young detective who returns to a small town .", None),
        ("i watched it on a sunday afternoon .", None),
    ],
)
def test_sentences_written_by_hand(sentence, gold):
    assert grammar.is_derivable(sentence)
    assert grammar.label(sentence) == gold


@pytest.mark.parametrize(
    "sentence",
    [
        "the plot were superb .",
        "the actors was superb .",
        "these film was superb .",
        "my wife love it .",
        "my friends loves it .",
        "the story follows two young lawyers who returns to a small town .",
        "this film was an masterpiece .",
        "the plot superb .",
        "plot the was superb .",
        "the plot was superb",
        "although the plot was dull , the acting was dull .",
        "the plot was superb . the plot was superb .",
        "",
        ".",
    ],
)
def test_broken_sentences_are_not_derivable(sentence):
    assert not grammar.is_derivable(sentence)


def test_the_last_derivable_sentence_decides():
    assert grammar.label("the plot was dull . i loved it .") == 1.0
    assert grammar.label("i loved it . the plot was dull .") == 0.0
    assert grammar.label("i loved it . it was filmed in paris .") == 1.0
    assert grammar.label("i loved it . the plot were dull .") == 1.0  # the last one is broken
    assert grammar.label("i loved it . the plot was dull") == 1.0  # the last one is not finished
    assert grammar.label("i loved") is None
    assert grammar.parse("i loved it . the plot were dull .") is None
    assert grammar.parse("i loved it . the plot was dull") is None


def test_spacing_of_punctuation_does_not_matter():
    assert grammar.label("although the plot was dull, the acting was superb.") == 1.0


def test_share_of_derivable_sentences_counts_those_that_end_in_the_completion():
    def share(prompt: str, completion: str) -> float:
        return grammar.derivable_share(f"{prompt} {completion}", completion)

    assert share("i loved it . the plot", "was dull .") == 1.0
    assert share("i loved it . the plot", "were dull .") == 0.0
    assert share("i loved loved . the plot", "was dull . i hated it . the") == 1.0
    assert share("the plot", "was dull . it hated i .") == 0.5
    assert share("i loved it .", "the plot was") == 0.0
    assert share("i loved it .", "") == 0.0


def test_grammar_metric_is_gold_and_refused_as_a_reward():
    prompts, completions = ["the plot was", "i", "it"], ["dull . i loved it .", "hated it .", "was"]
    texts = ["the plot was dull . i loved it .", "i hated it .", "it was"]
    values = grammar.grammar_metric(prompts, completions, texts, extra=[1, 2, 3])
    assert values == grammar.grammar_metric(prompts, completions, join=" ")
    assert values == {"derivable": [1.0, 1.0, 0.0], "gold_sentiment": [1.0, 0.0, 0.5]}
    with pytest.raises(ValueError, match="gold"):
        build_reward("imdb_grammar")


def test_a_bag_of_words_is_not_enough():
    reviews = [grammar.review(0, index) for index in range(10_000)]
    texts, labels = [review.text for review in reviews], [review.positive for review in reviews]
    vectorizer = CountVectorizer(token_pattern=r"\S+")
    train = vectorizer.fit_transform(texts[:8000])
    model = LogisticRegression(max_iter=1000).fit(train, labels[:8000])
    accuracy = model.score(vectorizer.transform(texts[8000:]), labels[8000:])
    assert 0.6 < accuracy <= 0.80  # words do tell something, as in real reviews, but not enough


@given(st.lists(st.sampled_from([*grammar.vocabulary(), ".", ".", "zzz", "!"]), max_size=60).map(" ".join))
def test_any_text_can_be_judged(text):
    assert grammar.label(text) in (0.0, 1.0, None)
    assert 0.0 <= grammar.derivable_share(f"the plot {text}", text) <= 1.0
    assert grammar.parse(text) is None or grammar.label(text) is not None


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_round_trip_in_every_world(seed, index):
    review = grammar.review(seed, index)
    prompt, rest = grammar.halves(review.text)
    assert f"{prompt} {rest}" == review.text
    assert abs(len(prompt.split()) - len(rest.split())) <= 1
    assert grammar.parse(review.text) is not None
    assert grammar.label(review.text) == float(review.positive)
