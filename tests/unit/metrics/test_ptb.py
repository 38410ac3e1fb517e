from __future__ import annotations

import random
import time

import pytest
from nltk.tokenize.destructive import NLTKWordTokenizer

from rl4lms.metrics.ptb import ptb_words, treebank_words


@pytest.mark.parametrize(
    ("text", "words"),
    [  # what the Java program and coco-caption's list of punctuation make of these texts
        ("The man's dog didn't bark, although it can't see!", "the man 's dog did n't bark although it ca n't see"),
        (
            "Mr. Smith paid $3.50 (or 1,000 yen) at 10:30 a.m. in the U.S. yesterday...",
            "mr. smith paid $ 3.50 -lrb- or 1,000 yen -rrb- at 10:30 a.m. in the u.s. yesterday",
        ),
        (
            '"Well-known" players—they\'re from St. Louis--won 28-year-old O\'Neal\'s cup; "yes": he cannot.',
            "well-known players they 're from st. louis won 28-year-old o'neal 's cup yes he can not",
        ),
        ("I'm gonna go to no. 5, and/or the café.", "i 'm gon na go to no. 5 and/or the café"),
        ("He said no. Tom & Jerry", "he said no tom & jerry"),
    ],
)
def test_words_of_captioning(text, words):
    assert " ".join(ptb_words(text)) == words


def test_only_punctuation_is_nothing():
    for text in ("", " ", ".", "?", "!", "...", "“”", "''", "- -- —", "\n"):
        assert ptb_words(text) == (), text


@pytest.mark.parametrize("tokenize", [ptb_words, treebank_words])
def test_odd_characters(tokenize):
    for text in ("e\u0301te\u0301", "日本語", "שלום", "\ud800", "🙂", "İ", "a\u00ad\u200bb", "\x00"):
        assert tokenize(text), ascii(text)
        assert tokenize(f"the {text} is")[0] == "the"


@pytest.mark.parametrize("tokenize", [ptb_words, treebank_words])
@pytest.mark.parametrize("piece", ["a", "+", "a.", "'", "n't", "1,", "-", "a@", ". A", "#", "&amp;"])
def test_long_runs_take_no_time(tokenize, piece):
    started = time.process_time()
    tokenize(piece * 8000)
    assert time.process_time() - started < 2


def test_sentences_of_running_text():
    words = treebank_words(
        'He said no. Mr. Smith of the U.S. Army, J. Doe\'s friend, went (home.) "So?" 3 p.m. passed.'
    )
    assert (
        " ".join(words)
        == "He said no . Mr. Smith of the U.S. Army , J. Doe 's friend , went ( home . ) `` So ? '' 3 p.m. passed ."
    )
    assert " ".join(treebank_words("He walks.\nShe runs. it stays")) == "He walks . She runs. it stays"


def test_one_sentence_as_nltk():
    """The quick way for plain sentences gives what nltk's tokenizer gives."""
    rng = random.Random(0)
    pieces = [
        "dog",
        "Dog's",
        "don't",
        "cannot",
        "can't",
        "we've",
        "I'm",
        "'tis",
        "n't",
        "it't",
        "well-known",
        "3,5",
        "3",
        ",",
        ", ",
        "a,b",
    ]
    pieces += [
        " .",
        ";",
        '"so"',
        "(x)",
        "gonna",
        "o'clock",
        "rock'n'roll",
        "x--y",
        "café",
        "U.S",
        "",
        "l'll",
        "ain't",
        "He'd",
        "\t",
        "the.",
        "a_b",
    ]
    tokenizer = NLTKWordTokenizer()
    for _ in range(3000):
        sentence = " ".join(rng.choice(pieces) for _ in range(rng.randrange(1, 8))) + rng.choice(
            ["", ".", " .", "!", "..."]
        )
        sentence = sentence.replace("the. ", "the ")  # no sentence ends but the last
        assert treebank_words(sentence) == tokenizer.tokenize(sentence.strip()), sentence
