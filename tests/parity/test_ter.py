"""Edits of TER equal sacrebleu's, one by one: its search for shifts, its limits, and the band of its edit distance."""

from __future__ import annotations

import gzip
import json
import random
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import TER
from sacrebleu.metrics.lib_ter import translation_edit_rate

from rl4lms.metrics.sacre import Ter
from rl4lms.metrics.ter import MAX_SHIFT_DISTANCE, Reference, count_edits

WORDS = st.sampled_from([1, 2, 3, 6, 20, 300]).flatmap(lambda n: st.integers(0, n - 1).map(str))
SHORT, LONG = st.lists(WORDS, max_size=12), st.lists(WORDS, min_size=25, max_size=140)


def check(pairs: list[tuple[list[str], list[str]]]) -> None:
    ours = count_edits([(text, Reference(tuple(reference))) for text, reference in pairs])
    assert ours == [translation_edit_rate(text, reference)[0] for text, reference in pairs]


def moved(rng: random.Random, words: list[str], moves: int) -> list[str]:
    """The words with some runs of them elsewhere, as a reordering translation would have it."""
    for _ in range(moves):
        first, size = rng.randrange(len(words)), rng.randrange(1, 9)
        run, rest = words[first : first + size], words[:first] + words[first + size :]
        place = rng.randrange(len(rest) + 1)
        words = rest[:place] + run + rest[place:]
    return words


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(SHORT, SHORT), max_size=6))
def test_short_texts(pairs):
    check(pairs)


@settings(deadline=None, max_examples=6)
@given(st.lists(st.tuples(LONG, LONG), min_size=1, max_size=2))
@pytest.mark.slow
def test_long_texts(pairs):
    check(pairs)


@settings(deadline=None, max_examples=40)
@given(st.tuples(SHORT, LONG), st.booleans())
def test_very_different_lengths(pair, exchange):
    # the band around the diagonal is wider, and cuts off the best path
    check([pair[::-1] if exchange else pair])


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from([5, 24, 26, 63, 64, 65, 90]), st.integers(1, 5))
@pytest.mark.slow
def test_moved_runs(seed, size, moves):
    rng = random.Random(seed)
    words = [str(rng.randrange(3 * size)) for _ in range(size)]
    text = moved(rng, words, moves)
    check([(text, words), (text[rng.randrange(size) :], words), (text, words[: rng.randrange(size)])])


def test_by_hand():
    def edits(text: str, reference: str) -> int:
        return count_edits([(text.split(), Reference(tuple(reference.split())))])[0]

    assert edits("a b c d", "a b c d") == 0
    assert edits("c d a b", "a b c d") == 1  # one shift instead of four edits
    assert edits("d a b x", "a b c d") == 2  # shift d, then replace x
    assert edits("", "a b") == 2
    assert edits("a b c", "") == 3
    far = " ".join(f"w{n}" for n in range(MAX_SHIFT_DISTANCE))
    assert edits(f"z {far}", f"{far} z") == 1
    assert edits(f"z {far} w", f"{far} w z") == 2  # one place too far for a shift


def test_the_limit_of_tried_shifts_is_reached():
    rng = random.Random(1)
    pairs = [([rng.choice("ab") for _ in range(45)], [rng.choice("ab") for _ in range(45)])]
    check(pairs)
    without_limit = [sum(1 for word in text for other in reference if word == other) for text, reference in pairs]
    assert min(without_limit) > 900  # far more than 1,000 shifts with those of several words


def test_several_references_and_the_corpus():
    rng = random.Random(2)

    def text() -> str:
        return " ".join(rng.choice(["a", "B", "c,", "d.", "e"]) for _ in range(rng.randrange(16)))

    texts, references = [text() for _ in range(60)], [(text(), text(), text()) for _ in range(60)]
    theirs = TER()
    ours = Ter()(texts, references)
    assert ours["sentence_ter"] == [
        theirs.sentence_score(hyp, list(row)).score for hyp, row in zip(texts, references, strict=True)
    ]
    assert ours["ter"].value == theirs.corpus_score(texts, list(zip(*references, strict=True))).score


@pytest.mark.parametrize(
    ("count", "options"),
    [(40, {}), (25, {"normalized": True, "no_punct": True, "asian_support": True}), (25, {"case_sensitive": True})],
)
def test_real_pairs(test_data, count, options):
    captions, summaries = (
        test_data / "multi30k" / "test_2016_flickr.de.gz",
        test_data / "dialogsum" / "dialogsum.test.jsonl",
    )
    for file in (captions, summaries):
        if not file.is_file():
            pytest.skip(f"{file} is not there")
    lines = gzip.decompress(captions.read_bytes()).decode().splitlines()[: count + 1]
    rows = [json.loads(line) for line in summaries.read_text(encoding="utf-8").splitlines()[:count]]
    pairs = [(text, (other,)) for text, other in pairwise(lines)] + [
        (r["summary1"], (r["summary2"], r["summary3"])) for r in rows
    ]
    theirs = TER(**options)
    ours = Ter(**options)([text for text, _ in pairs], [texts for _, texts in pairs])
    assert ours["sentence_ter"] == [theirs.sentence_score(text, list(texts)).score for text, texts in pairs]


def test_no_batch_of_texts_takes_seconds():
    rng = random.Random(3)
    pairs = [
        ([rng.choice("abcdefghij") for _ in range(48)], Reference(tuple(rng.choice("abcdefghij") for _ in range(48))))
        for _ in range(64)
    ]
    start = time.process_time()
    count_edits(pairs)
    assert time.process_time() - start < 2  # 0.15 s where it was written; sacrebleu needs 38 s
