"""What texts are padded with, where a tokenizer has no pad token, or one that its model does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from rl4lms.errors import ModelError
from rl4lms.metrics.classifier import Classifier
from rl4lms.supervised.reward_model import train_reward_model

_WORDS = ("a", "b", "c", "d", "e")
_TEXTS = ["a b c d e", "a", "b a", "c b a", "e d"]


def decoder(folder: Path, *, pad: int | None = None, **special: str) -> Path:
    """A decoder that classifies, with a tokenizer of `a` (0) to `e` (4) and three further tokens."""
    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate([*_WORDS, "<one>", "<two>", "<three>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<three>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special).save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = LlamaConfig(vocab_size=8, **shape, num_labels=1, pad_token_id=pad, initializer_range=0.5)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def last_token_logits(folder: Path) -> list[float]:
    """Of each text by itself, without padding: read off at its last token."""
    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    ids = [[_WORDS.index(word) for word in text.split()] for text in _TEXTS]
    with torch.no_grad():
        return [model.score(model.model(torch.tensor([row])).last_hidden_state)[0, -1, 0].item() for row in ids]


@pytest.mark.parametrize(
    ("pad", "special"),
    [
        (5, {"pad_token": "<one>"}),
        (None, {"pad_token": "<one>"}),
        (None, {"eos_token": "<two>"}),
        (None, {"bos_token": "<two>"}),
        (None, {"mask_token": "<two>"}),
        (6, {}),  # only the model's config says it
        (6, {"pad_token": "<one>", "eos_token": "<one>"}),  # the two disagree: the model looks for its own
        (None, {"pad_token": "<added>", "eos_token": "<two>"}),  # beyond the model's vocabulary
    ],
)
def test_every_text_is_read_at_its_end(tmp_path: Path, pad: int | None, special: dict[str, str]) -> None:
    folder = decoder(tmp_path, pad=pad, **special)
    scorer = Classifier(model=str(folder), output="logit", include_prompt=False, device="cpu")
    values = scorer(prompts=[""] * len(_TEXTS), completions=_TEXTS)["classifier"]
    assert values == pytest.approx(last_token_logits(folder), abs=1e-5)


def test_nothing_to_pad_with_is_said_when_the_model_is_loaded(tmp_path: Path) -> None:
    folder = decoder(tmp_path / "model", unk_token="<three>")
    message = "its tokenizer has no pad token that the model knows.*set `pad_token` in its tokenizer_config.json"
    with pytest.raises(ModelError, match=message):
        Classifier(model=str(folder), output="logit", include_prompt=False, device="cpu")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": text, "rating": float(i)}) + "\n" for i, text in enumerate(_TEXTS)))
    with pytest.raises(ModelError, match=message):
        train_reward_model(str(folder), str(data), tmp_path / "out", device="cpu")


def test_a_reward_model_of_a_base_without_pad_and_eos_is_trained_and_used(tmp_path: Path) -> None:
    folder = decoder(tmp_path / "model", bos_token="<two>")
    data = tmp_path / "rows.jsonl"
    lines = [{"text": text, "rating": float(text.endswith("a"))} for text in _TEXTS * 20]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = {"epochs": 30, "learning_rate": 1e-2, "device": "cpu", "holdout": 0.0}
    train_reward_model(str(folder), str(data), tmp_path / "out", **options)
    scorer = Classifier(model=str(tmp_path / "out"), output="logit", include_prompt=False, device="cpu")
    values = scorer(prompts=[""] * len(_TEXTS), completions=_TEXTS)["classifier"]
    assert values == pytest.approx(last_token_logits(tmp_path / "out"), abs=1e-5)
    assert values == pytest.approx([0.0, 1.0, 1.0, 1.0, 0.0], abs=0.3)
