"""The adapters against published numbers and against sacrebleu's public methods.

The adapters call methods with a leading underscore; if a version of sacrebleu changes them, this is what fails.
"""

from __future__ import annotations

import json
import random

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from rl4lms.metrics.sacre import Chrf, SacreBleu, Ter

PAIRS = {
    "bleu": (SacreBleu(), BLEU(), BLEU(effective_order=True)),
    "bleu intl add-k": (
        SacreBleu(tokenize="intl", smoothing="add-k", lowercase=True),
        BLEU(tokenize="intl", smooth_method="add-k", lowercase=True),
        BLEU(tokenize="intl", smooth_method="add-k", lowercase=True, effective_order=True),
    ),
    "chrf": (Chrf(), CHRF(), CHRF()),
    "chrf++": (Chrf(word_order=2, beta=3), CHRF(word_order=2, beta=3), CHRF(word_order=2, beta=3)),
    "ter": (Ter(), TER(), TER()),
    "ter normalised": (
        Ter(normalized=True, case_sensitive=True),
        TER(normalized=True, case_sensitive=True),
        TER(normalized=True, case_sensitive=True),
    ),
}


@pytest.mark.parametrize(("tokenize", "expected"), [("13a", 48.530827), ("none", 49.1919566)])
def test_published_numbers(test_data, tokenize, expected):
    file = test_data / "metric_refs" / "expected_values.json"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    vector = json.loads(file.read_text(encoding="utf-8"))["sacrebleu published test vector"]
    value = SacreBleu(tokenize=tokenize)(vector["hyps"], list(zip(*vector["refs"], strict=True)))["sacrebleu"].value
    assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_real_captions_with_one_to_four_references(test_data, name):
    file = test_data / "commongen" / "commongen.dev.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    rows = [json.loads(line)["scene"] for line in file.read_text(encoding="utf-8").splitlines()[:80]]
    check(name, [texts[0] for texts in rows], [tuple(texts[1 : 2 + number % 3]) for number, texts in enumerate(rows)])


@pytest.mark.parametrize("name", PAIRS)
def test_random_texts(name):
    rng = random.Random(0)
    words = ["a", "b.", "(c", "D", "3-4", "日本", "état", "🙂", "&amp;", "  ", "\n"]

    def text() -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randrange(12)))

    check(name, [text() for _ in range(120)], [tuple(text() for _ in range(rng.randrange(1, 4))) for _ in range(120)])


def check(name, completions, references) -> None:
    metric, package, single = PAIRS[name]
    values = metric(completions, references)
    key = metric.reward_key
    most = max(map(len, references))
    streams = [[texts[place] if place < len(texts) else None for texts in references] for place in range(most)]
    score = package.corpus_score(completions, streams)
    assert values[key.removeprefix("sentence_")].value == pytest.approx(score.score, abs=1e-9)
    expected = [
        single.sentence_score(completion, list(texts)).score
        for completion, texts in zip(completions, references, strict=True)
    ]
    assert values[key] == pytest.approx(expected, abs=1e-9)
    assert len({round(value, 3) for value in expected}) > 10
    signature = metric.signature[key.removeprefix("sentence_")]
    assert signature == f"{score.name}|{package.get_signature()}"


def test_error_is_that_of_sacrebleus_own_bootstrap(test_data):
    file = test_data / "commongen" / "commongen.dev.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    rows = [json.loads(line)["scene"] for line in file.read_text(encoding="utf-8").splitlines()[:300]]
    completions, references = [texts[0] for texts in rows], [(texts[1],) for texts in rows]
    score = BLEU().corpus_score(completions, [[texts[0] for texts in references]], n_bootstrap=1000)
    half_width = score._ci  # of its 95 % interval
    assert 1.96 * SacreBleu()(completions, references)["sacrebleu"].stderr == pytest.approx(half_width, rel=0.2)
