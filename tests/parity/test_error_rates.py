"""Word and character error rate against numbers of jiwer and GEM-metrics, and against nltk's edit distance."""

from __future__ import annotations

import random

import pytest
from nltk.metrics.distance import edit_distance

from rl4lms.metrics.error_rates import Cer, Wer, edits
from rl4lms.metrics.local_recall import LocalRecall
from rl4lms.metrics.ptb import treebank_words
from tests.parity.test_gem import PREDICTIONS, REFERENCES, REVERSED

# jiwer 4.0.0: jiwer.wer(references, texts), jiwer.cer(references, texts)
JIWER = [
    (["hello world"], ["hello duck"], 0.5, 0.45454545454545453),
    (["i can spell", "i hope"], ["i kan cpell", "i hop"], 0.6, 0.17647058823529413),
    (["hello world how are you"], ["hello how are you doing today"], 0.6, 0.7391304347826086),
]


@pytest.mark.parametrize(("references", "texts", "wer", "cer"), JIWER)
def test_numbers_of_jiwer(references, texts, wer, cer):
    assert Wer()(texts, references)["wer"].value == pytest.approx(wer, abs=1e-12)
    assert Cer()(texts, references)["cer"].value == pytest.approx(cer, abs=1e-12)


def test_jiwer_itself():
    jiwer = pytest.importorskip("jiwer")
    rng = random.Random(1)
    texts, gold = (
        [" ".join(rng.choices(["a", "bc", "d", "é", "日本"], k=rng.randrange(1, 9))) for _ in range(200)]
        for _ in range(2)
    )
    assert Wer()(texts, gold)["wer"].value == pytest.approx(jiwer.wer(gold, texts), abs=1e-12)
    assert Cer()(texts, gold)["cer"].value == pytest.approx(jiwer.cer(gold, texts), abs=1e-12)
    assert Wer()(texts, gold)["sentence_wer"] == pytest.approx(list(map(jiwer.wer, gold, texts)), abs=1e-12)


def test_edits_are_nltks():
    rng = random.Random(0)
    for _ in range(400):
        one, other = ("".join(rng.choices("abc", k=rng.randrange(0, 90))) for _ in range(2))
        assert edits(one, other) == edits(other, one) == edit_distance(one, other)


def words(text: str) -> str:
    """As GEM prepares them: lower-cased, without punctuation."""
    return " ".join(word.lower() for word in treebank_words(text) if word.isalnum() or len(word) > 1)


@pytest.mark.parametrize(
    ("texts", "wer", "recall"),
    [
        (PREDICTIONS, 58.05861, 0.6451612903225806),
        ([texts[0] for texts in REFERENCES], 0.0, 1.0),
        (REVERSED, 102.38095, 0.0),
        (["", "", ""], 100.0, 0.0),
    ],
    ids=["basic", "identical", "reversed", "empty"],
)
def test_gem(texts, wer, recall):
    """GEM's WER is the mean over texts, in per cent; its local recall with one reference has one level."""
    values = Wer()(list(map(words, texts)), [(words(gold),) for (gold,) in REFERENCES])["sentence_wer"]
    assert 100 * sum(values) / 3 == pytest.approx(wer, abs=5e-6)
    found = LocalRecall()(completions=texts, references=REFERENCES)
    assert found["local_recall-1"].value == pytest.approx(recall, abs=1e-12)
    assert set(found) == {"local_recall-1", "sentence_local_recall-1"}
