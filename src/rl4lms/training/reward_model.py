"""Sequence classifiers as reward models, trained with the HF `Trainer`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rl4lms.errors import ConfigError, DataError, ModelError
from rl4lms.models.loading import load_pretrained, resolve_device
from rl4lms.tasks.files import read_rows
from rl4lms.tasks.rows import read_text
from rl4lms.training.hf_trainer import run_trainer
from rl4lms.training.supervised import save_supervised

_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class ClassifierShape:
    """Size of a small BERT built from a config."""

    hidden_size: int
    layers: int
    heads: int
    max_positions: int


def build_classifier(shape: ClassifierShape, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]) -> PreTrainedModel:
    """A freshly initialised BERT classifier over the tokenizer's vocabulary."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden_size,
        max_position_embeddings=shape.max_positions,
        pad_token_id=tokenizer.pad_token_id,
        # With dropout, a model this small stays on the plateau at chance for most of a short training.
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    return BertForSequenceClassification(config)


def fit_classifier(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    batch_size: int,
    learning_rate: float,
    seed: int,
    steps: int | None = None,
    epochs: float = 1.0,
    max_tokens: int = _MAX_TOKENS,
    group_by_length: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Trains a classifier in place: AdamW, linear decay with 6 % warm-up.

    Args:
        model, tokenizer: a sequence classifier and its tokenizer.
        texts, labels: the data; labels are indices.
        batch_size, learning_rate, seed: the training.
        steps: length; `epochs` where None.
        epochs: passes over the data.
        max_tokens: texts are cut to this length on the right.
        group_by_length: whether texts of similar length share a batch, which saves padding.
        progress: called with (step, of).

    Raises:
        NonFiniteError: the loss became NaN or infinite.
    """
    window = min(max_tokens, model.config.max_position_embeddings)
    encoded = tokenizer(list(texts), truncation=True, max_length=window)["input_ids"]
    rows = [{"input_ids": ids, "labels": label} for ids, label in zip(encoded, labels, strict=True)]
    total = steps or int(np.ceil(len(rows) / batch_size) * epochs)
    try:
        run_trainer(
            "classifier",
            model,
            rows,
            DataCollatorWithPadding(tokenizer),
            device=model.device,
            seed=seed,
            progress=progress,
            max_steps=total,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=int(0.06 * total),
            weight_decay=0.01,
            train_sampling_strategy="group_by_length" if group_by_length else "random",
        )
    finally:
        model.eval()


@torch.no_grad()
def predict(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """Label probabilities, float64 (N, labels)."""
    window = min(_MAX_TOKENS, model.config.max_position_embeddings)
    out = np.zeros((len(texts), model.config.num_labels))
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = tokenizer([texts[i] for i in batch], truncation=True, max_length=window, padding=True, return_tensors="pt")
        out[batch] = model(**inputs.to(model.device)).logits.cpu().double().softmax(-1).numpy()
    return out


@dataclass(frozen=True, slots=True)
class ClassificationData:
    """Texts with labels from a file; see `read_labelled`."""

    texts: list[str]
    labels: list[str]


def read_labelled(path: str, text_column: str = "text", label_column: str = "label") -> ClassificationData:
    """Reads a labelled file: JSONL, JSON, CSV, Parquet, Hub id, or a TSV without header whose last column is the label.

    Raises:
        DataError: a column is missing, or there is only one label.
    """
    texts, labels = [], []
    if path.endswith(".tsv"):
        for number, line in enumerate(read_text(path).rstrip("\r\n").split("\n"), 1):
            text, tab, label = line.rstrip("\r").rpartition("\t")
            if not tab:
                raise DataError(f"{path}:{number}: expected text<TAB>label")
            if (text, label) != (text_column, label_column):  # a header
                texts.append(text)
                labels.append(label)
    else:
        for place, row in read_rows(path):
            for column in (text_column, label_column):
                if row.get(column) is None:
                    raise DataError(f"{place}: no column {column!r}; there are: {', '.join(map(str, row))}")
            texts.append(str(row[text_column]))
            labels.append(str(row[label_column]))
    if len(set(labels)) < 2:
        raise DataError(f"{path}: every row has the label {labels[0] if labels else None!r}; a classifier needs at least two")
    return ClassificationData(texts, labels)


def train_reward_model(
    base: str,
    train: str,
    output: Path,
    *,
    test: str | None = None,
    text_column: str = "text",
    label_column: str = "label",
    label_names: Sequence[str] | None = None,
    epochs: float = 2.0,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    max_tokens: int = 128,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Fine-tunes an encoder or decoder as a sequence classifier and saves it as an HF folder with a model card.

    Args:
        base: Hub id or folder of the pretrained model.
        train, test: labelled data, see `read_labelled`; the test set is only reported.
        output: folder to write; there must be nothing in it.
        text_column, label_column: names of the columns.
        label_names: names to save for the sorted labels of the data, such as `negative positive` for 0 and 1.
        epochs, batch_size, learning_rate, max_tokens, seed, device: the training.
        progress: called with (step, of).

    Returns:
        `accuracy` and `n` on the test set where there is one, and the labels.

    Raises:
        ConfigError: there is something in the output folder, or an option makes no sense.
        DataError, ModelError: data or base model cannot be used.
        NonFiniteError: the loss became NaN or infinite.
    """
    for name, value in (("epochs", epochs), ("learning_rate", learning_rate)):
        if not 0 < value < float("inf"):
            raise ConfigError(f"{name}: should be a number greater than 0, got {value:g}")
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ConfigError(f"{output}: there is something already; name another output folder")
    data = read_labelled(train, text_column, label_column)
    values = sorted(set(data.labels))
    names = list(label_names or values)
    if len(names) != len(values):
        raise DataError(f"{train} has the labels {', '.join(values)}, but {len(names)} label names were given: {', '.join(names)}")
    held = None if test is None else read_labelled(test, text_column, label_column)
    unknown = sorted(set(held.labels) - set(values)) if held is not None else []
    if unknown:
        raise DataError(f"{test}: labels that the training data does not have: {', '.join(unknown)}")
    torch.manual_seed(seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load {base!r} as a classifier: {str(error).splitlines()[0]}") from error
    model, _ = load_pretrained(AutoModelForSequenceClassification, base, f"cannot load {base!r} as a classifier", num_labels=len(values))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.id2label, model.config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    model.to(resolve_device(device))
    options: dict[str, Any] = {"batch_size": batch_size, "learning_rate": learning_rate, "seed": seed, "epochs": epochs}
    options["max_tokens"] = max_tokens
    fit_classifier(model, tokenizer, data.texts, [values.index(v) for v in data.labels], **options, progress=progress)
    result: dict[str, Any] = {"labels": names, "train_rows": len(data.texts)}
    if held is not None:
        truth = np.array([values.index(v) for v in held.labels])
        result |= {"accuracy": float((predict(model, tokenizer, held.texts).argmax(-1) == truth).mean()), "n": len(truth)}
    save_supervised(model, tokenizer, output)
    settings = {"base": base, "train": train, "test": test, **options, "result": result}
    (output / "reward_model.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    (output / "README.md").write_text(_card(settings), encoding="utf-8")
    return result


def _card(settings: dict[str, Any]) -> str:
    result = settings["result"]
    measured = f"Test accuracy {result['accuracy']:.4f} on {result['n']} rows." if "accuracy" in result else "No test set was given."
    options = ", ".join(f"{k} {settings[k]}" for k in ("epochs", "batch_size", "learning_rate", "max_tokens", "seed"))
    return (
        "---\nlibrary_name: transformers\ntags: [rl4lms, reward-model]\n---\n\n# Reward model\n\n"
        f"A sequence classifier (labels: {', '.join(result['labels'])}) fine-tuned with `rl4lms reward train` "
        f"on {result['train_rows']} rows. {measured}\n\nSettings: {options}.\n"
    )
