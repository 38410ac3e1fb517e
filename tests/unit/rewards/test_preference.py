from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from rl4lms.errors import ConfigError, DataError, ModelError
from rl4lms.rewards import build, score
from tests.unit.metrics.words import word_tokenizer
from tests.unit.rewards.words import batch

WORDS = ["good", "bad", *(f"w{number}" for number in range(20))]
TEXTS = ("w1 w2 w3 w4", "w5", "w6 w7")
PROMPTS = ["w8 w9", "w10", "w11 w12 w13"]


def saved(folder, model, tokenizer):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_bradley_terry_is_the_one_output(tmp_path, kind):
    torch.manual_seed(0)
    tokenizer = word_tokenizer(WORDS)
    size = {
        "vocab_size": len(tokenizer),
        "num_labels": 1,
        "initializer_range": 0.7,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind == "encoder":
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        model = BertForSequenceClassification(BertConfig(**size, **shape)).eval()
    else:
        model = GPT2ForSequenceClassification(GPT2Config(**size, n_embd=16, n_layer=2, n_head=2)).eval()
    folder = saved(tmp_path, model, tokenizer)
    for include_prompt in (True, False):
        texts = [f"{prompt} {text}" if include_prompt else text for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
        with torch.no_grad():
            expected = [
                float(model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits[0, 0]) for text in texts
            ]
        assert len({round(value, 3) for value in expected}) == 3
        reward = build(
            {"name": "preference", "model": folder, "include_prompt": include_prompt, "device": "cpu", "batch_size": 2}
        )
        rows = batch(*TEXTS, prompts=PROMPTS)
        assert score(reward, **rows, texts=texts).scores == pytest.approx(expected, abs=1e-5)
        if include_prompt:
            with pytest.raises(DataError, match="preference reads prompt and completion as one text, and row 1 has"):
                score(reward, **rows)
            reward.join = " "
        assert score(reward, **rows).scores == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = word_tokenizer(WORDS)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    model = T5ForConditionalGeneration(config).eval()
    return saved(tmp_path_factory.mktemp("t5"), model, tokenizer), model, tokenizer


def test_good_against_bad_at_the_first_step(t5):
    folder, model, tokenizer = t5
    reward = build(
        {
            "name": "preference",
            "model": folder,
            "form": "good_bad",
            "include_prompt": False,
            "device": "cpu",
            "batch_size": 2,
        }
    )
    good, bad = tokenizer.convert_tokens_to_ids(["good", "bad"])
    expected = []
    for text in TEXTS:
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([tokenizer(text)["input_ids"]]), decoder_input_ids=torch.tensor([[0]])
            ).logits[0, 0]
        expected.append(float(torch.sigmoid(logits[good] - logits[bad])))
    assert len({round(value, 3) for value in expected}) == 3
    assert score(reward, **batch(*TEXTS)).scores == pytest.approx(expected, abs=1e-5)


def test_answers_must_differ(t5):
    with pytest.raises(ConfigError, match="'w1' and 'w1 w2' begin with the same token"):
        build({"name": "preference", "model": t5[0], "form": "good_bad", "good": "w1", "bad": "w1 w2"})


def test_models_of_another_form_are_refused(tmp_path, t5):
    tokenizer = word_tokenizer(WORDS)
    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": len(tokenizer),
    }
    three = saved(tmp_path / "three", BertForSequenceClassification(BertConfig(**shape, num_labels=3)), tokenizer)
    with pytest.raises(ConfigError, match="has 3 outputs and not one; use the reward `classifier` with a `label`"):
        build({"name": "preference", "model": three})
    headless = saved(tmp_path / "headless", BertModel(BertConfig(**shape)), tokenizer)
    with pytest.raises(
        ModelError, match=r"is no whole preference model: its weights lack classifier\.bias, classifier\.weight"
    ):
        build({"name": "preference", "model": headless})
