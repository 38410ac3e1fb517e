"""Small local models for tests of metrics that run one, and what must hold for all of these metrics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, PreTrainedTokenizerFast

WORDS = [f"w{number}" for number in range(30)]
SHAPE = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "initializer_range": 0.7,
}
#: What a broken decoder may write.
ODD = [
    "",
    " \n\t",
    "...",
    "\u200b",
    "\ud800",
    "\udfff\ud83d w1",
    "e\u0301 👩\u200d👩\u200d👧 العربية 中文字",
    "w1 " * 100,
]


def bert_tokenizer(words: list[str] = WORDS) -> PreTrainedTokenizerFast:
    """Words between white space, put between [CLS] and [SEP]."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*marks, *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names)


def saved_bert(
    folder: Path, model_class: Any, seed: int = 0, **options: Any
) -> tuple[str, Any, PreTrainedTokenizerFast]:
    """A random model with weights so large that every word matters; its folder, the model, the tokenizer."""
    torch.manual_seed(seed)
    tokenizer = bert_tokenizer()
    model = model_class(BertConfig(vocab_size=len(tokenizer), **{"num_hidden_layers": 2, **SHAPE, **options})).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder), model, tokenizer


def values_of(
    metric: Any, completions: list[str], references: list[tuple[str, ...]], **columns: Any
) -> dict[str, list[float]]:
    """The metric of these rows; the prompt is the first reference."""
    prompts = [texts[0] if texts else "" for texts in references]
    values: dict[str, list[float]] = metric(prompts=prompts, completions=completions, references=references, **columns)
    return values


def check_rows_do_not_see_each_other(
    metrics: list[Any], completions: list[str], references: list[tuple[str, ...]], **columns: Any
) -> None:
    """The same values for all rows together, backwards and one by one, by metrics with other batch sizes."""
    together = values_of(metrics[0], completions, references, **columns)
    for metric in metrics:
        backwards = values_of(
            metric, completions[::-1], references[::-1], **{name: column[::-1] for name, column in columns.items()}
        )
        for key, values in together.items():
            assert backwards[key][::-1] == pytest.approx(values, abs=1e-5)
            for row, value in enumerate(values):
                own = {name: [column[row]] for name, column in columns.items()}
                assert values_of(metric, [completions[row]], [references[row]], **own)[key] == pytest.approx(
                    [value], abs=1e-5
                )


def check_any_text_has_a_finite_value(metric: Any, **columns: Any) -> None:
    """Odd texts against odd texts and against an ordinary one."""
    for text in [*ODD, "w1 w2 w3 w4"]:
        rows = {name: column * (len(ODD) + 1) for name, column in columns.items()}
        for values in values_of(metric, [*ODD, "w1 w2 w3 w4"], [(text,)] * (len(ODD) + 1), **rows).values():
            assert all(math.isfinite(value) for value in values)
