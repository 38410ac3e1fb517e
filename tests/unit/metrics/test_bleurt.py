from __future__ import annotations

import pytest
import torch
from transformers import BertForSequenceClassification, BertModel

from rl4lms.errors import ConfigError, DataError, MissingPartError, ModelError
from rl4lms.metrics import build
from rl4lms.rewards import build as build_reward
from tests.unit.metrics.encoders import (
    check_any_text_has_a_finite_value,
    check_rows_do_not_see_each_other,
    saved_bert,
    values_of,
)

COMPLETIONS = ["w0 w1 w2", "w3 w4 w5 w6", "w9", ""]
REFERENCES = [("w0 w2 w1",), ("w3 w8", "w4 w5 w6"), ("w10 w11 w12", "w9 w13", "w14"), ("w21 w22",)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return saved_bert(tmp_path_factory.mktemp("bleurt"), BertForSequenceClassification, num_labels=1)


def bleurt(folder, **options):
    return build({"name": "bleurt", "model": folder, "device": "cpu", **options})


def test_the_output_for_the_best_pair_of_reference_and_text(bert):
    folder, model, _ = bert
    expected = []
    for text, texts in zip(COMPLETIONS, REFERENCES, strict=True):
        outputs = []
        for reference in texts:  # [CLS] reference [SEP] text [SEP], and which of the two a token belongs to
            words = [[int(word[1:]) + 4 for word in side.split()] for side in (reference, text)]
            ids = [2, *words[0], 3, *words[1], 3]
            kinds = [0] * (len(words[0]) + 2) + [1] * (len(words[1]) + 1)
            outputs.append(model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([kinds])).logits.item())
        expected.append(max(outputs))
    assert values_of(bleurt(folder), COMPLETIONS, REFERENCES) == {"bleurt": pytest.approx(expected, abs=1e-5)}
    assert build_reward({"name": "bleurt", "model": folder, "device": "cpu"})(
        prompts=[""] * 4, completions=COMPLETIONS, references=REFERENCES
    ) == pytest.approx(expected, abs=1e-5)


def test_rows_do_not_see_each_other(bert):
    check_rows_do_not_see_each_other([bleurt(bert[0], batch_size=size) for size in (64, 2)], COMPLETIONS, REFERENCES)


def test_another_reference_never_lowers_the_score(bert):
    before = values_of(bleurt(bert[0]), COMPLETIONS, REFERENCES)["bleurt"]
    for another in ("w0", "w4 w6 w9", ""):
        after = values_of(bleurt(bert[0]), COMPLETIONS, [(*texts, another) for texts in REFERENCES])["bleurt"]
        assert all(more >= few - 1e-5 for few, more in zip(before, after, strict=True))


def test_any_text_has_a_finite_value(bert):
    check_any_text_has_a_finite_value(bleurt(bert[0]))


def test_rows_need_references(bert):
    with pytest.raises(DataError, match="row 1 has none"):
        values_of(bleurt(bert[0]), ["w1"], [()])


def test_checkpoints_that_are_none(tmp_path):
    with pytest.raises(
        MissingPartError, match="the BLEURT checkpoint 'nobody/has-this', which bleurt needs, is missing"
    ):
        bleurt("nobody/has-this")
    saved_bert(tmp_path / "three", BertForSequenceClassification, num_labels=3)
    with pytest.raises(ConfigError, match="3 outputs, and not one"):
        bleurt(str(tmp_path / "three"))
    saved_bert(tmp_path / "encoder", BertModel, num_labels=1)
    with pytest.raises(
        ModelError, match=r"no whole BLEURT checkpoint: its weights lack classifier\.bias, classifier\.weight"
    ):
        bleurt(str(tmp_path / "encoder"))
