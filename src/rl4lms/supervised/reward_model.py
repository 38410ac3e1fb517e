"""Reward models: classifiers, regressions on ratings, Bradley-Terry models of preferences; trained with the HF
`Trainer`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
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
from rl4lms.metrics.runner import chat_renderer, give_padding, positions
from rl4lms.models.frame import Frame
from rl4lms.models.loading import load_pretrained, resolve_device, tokenizer_folder
from rl4lms.models.saving import save_classifier
from rl4lms.runs.outputs import check_folder
from rl4lms.runs.storage import replacing
from rl4lms.supervised.reward_data import (
    Kind,
    Labelled,
    Preferences,
    Rated,
    RewardData,
    fraction,
    read,
    split,
)
from rl4lms.supervised.reward_report import (
    Measures,
    as_json,
    of_labels,
    of_pairs,
    of_ratings,
    reward_model_card,
    usage,
    write_plots,
)
from rl4lms.supervised.reward_rows import COLUMNS, Columns, Render

_MAX_TOKENS = 512
_HOLDOUT = 0.1
_FEWEST_TO_SPLIT = 20  # rows; with fewer, what is held out would say nothing


@dataclass(frozen=True, slots=True)
class ClassifierShape:
    """Size of a small BERT built from a config."""

    hidden_size: int
    layers: int
    heads: int
    max_positions: int


def build_classifier(
    shape: ClassifierShape, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]
) -> PreTrainedModel:
    """Return a freshly initialised BERT classifier over the tokenizer's vocabulary."""
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
    labels: Sequence[float],
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
    """Train a classifier in place: AdamW, linear decay with 6 % warm-up.

    Args:
        model, tokenizer: a sequence classifier and its tokenizer.
        texts, labels: the data; labels are indices, or numbers where the model has one output (then the loss is the
            squared error).
        batch_size, learning_rate, seed: the training.
        steps: length; `epochs` where None.
        epochs: passes over the data.
        max_tokens: texts are cut to this length.
        group_by_length: whether texts of similar length share a batch, which saves padding.
        progress: called with (step, of).

    Raises:
        NonFiniteError: the loss became NaN or infinite.
    """
    from rl4lms.supervised.trainer import run_trainer, without_loss  # a second, which only training takes

    encoded = _encoded(tokenizer, texts, _window(model, max_tokens), "texts for the classifier")
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
            progress=without_loss(progress),
            **_schedule(total, batch_size, learning_rate),
            train_sampling_strategy="group_by_length" if group_by_length else "random",
        )
    finally:
        model.eval()


def _schedule(steps: int, batch_size: int, learning_rate: float) -> dict[str, Any]:
    """AdamW, linear decay with 6 % warm-up, as arguments of the `Trainer`."""
    return {
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": int(0.06 * steps),
        "weight_decay": 0.01,
    }


class _PairLoss(nn.Module):
    """-log σ(r_chosen - r_rejected), the negative log-likelihood of Bradley and Terry's model; chosen rows come
    first.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """(2b, T) tokens of b chosen texts and then of b rejected ones -> the mean loss."""
        chosen, rejected = self.model(input_ids=input_ids, attention_mask=attention_mask).logits[:, 0].float().chunk(2)
        return {"loss": -nn.functional.logsigmoid(chosen - rejected).mean()}


def fit_preferences(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Preferences,
    *,
    batch_size: int,
    learning_rate: float,
    seed: int,
    epochs: float = 1.0,
    max_tokens: int = _MAX_TOKENS,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Train a sequence classifier with one output on pairs, in place; arguments and errors as in `fit_classifier`."""
    from rl4lms.supervised.trainer import run_trainer, without_loss

    window = _window(model, max_tokens)
    chosen, rejected = (
        _encoded(tokenizer, texts, window, f"{name} texts")
        for name, texts in (("chosen", pairs.chosen), ("rejected", pairs.rejected))
    )
    rows = [{"input_ids": one, "rejected_ids": other} for one, other in zip(chosen, rejected, strict=True)]
    total = int(np.ceil(len(rows) / batch_size) * epochs)

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        texts = [row["input_ids"] for row in batch] + [row["rejected_ids"] for row in batch]
        padded = tokenizer.pad({"input_ids": texts}, return_tensors="pt")
        return {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"]}

    try:
        run_trainer(
            "preference model",
            _PairLoss(model),
            rows,
            collate,
            device=model.device,
            seed=seed,
            progress=without_loss(progress),
            model_accepts_loss_kwargs=False,
            **_schedule(total, batch_size, learning_rate),
            train_sampling_strategy="group_by_length",
            remove_unused_columns=False,
        )
    finally:
        model.eval()


@torch.no_grad()
def logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    batch_size: int = 64,
    max_tokens: int = _MAX_TOKENS,
) -> NDArray[np.float64]:
    """Return outputs for each text, (N, labels)."""
    encoded = _encoded(tokenizer, texts, _window(model, max_tokens), None)
    out = np.zeros((len(texts), model.config.num_labels))
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt").to(model.device)
        values = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        out[batch] = values.cpu().double().numpy()
    return out


def train_reward_model(
    base: str,
    train: str,
    output: Path,
    *,
    test: str | None = None,
    kind: Kind | None = None,
    columns: Columns = COLUMNS,
    label_names: Sequence[str] | None = None,
    min_gap: float | None = None,
    holdout: float | None = None,
    curve: Sequence[float] = (),
    epochs: float = 2.0,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    max_tokens: int = 128,
    truncation_side: Literal["left", "right"] = "left",
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Fine-tunes an encoder or decoder as a reward model and saves it as an HF folder with a model card, plots and
    numbers.

    Labels make a classifier, ratings a regression model with one output, preferences a Bradley-Terry model with one
    output.

    Args:
        base: Hub id or folder of the pretrained model.
        train, test: data, see `rl4lms.supervised.reward_data.read`; the test set is only reported.
        output: folder to write; there must be nothing in it.
        kind: what the rows are; their columns say it where None.
        columns: their names, and what stands between prompt and text.
        label_names: names to save for the sorted labels of the data, such as `negative positive` for 0 and 1.
        min_gap: ratings become preferences: all pairs within a group whose mean ratings differ by at least this.
        holdout: share of the training data that is held out to be reported where there is no test set, in whole groups;
            0: none; a tenth where None.
        curve: shares of the training data, in (0, 1), to train further models on for the learning curve. They are not
            kept.
        epochs, batch_size, learning_rate, max_tokens, truncation_side, seed, device: the training.
        progress: called with (step, of), over all models.

    Returns:
        What `reward_model.json` has under `result`: `train_rows`, the measures of
        `rl4lms.supervised.reward_report.Measures` where there is held-out data (else a `note` where there are too few
        rows), `labels` of a classifier, and `curve`.

    Raises:
        ConfigError: there is something in the output folder, it cannot be written, or an option makes no sense.
        DataError, ModelError: data or base model cannot be used.
        NonFiniteError: the loss became NaN or infinite.
    """
    if test is not None and holdout is not None:
        raise ConfigError(
            f"holdout: {holdout:g}, but the held-out data are those of {test}; leave out holdout or the test data"
        )
    holdout = _HOLDOUT if holdout is None else holdout
    _check_options(epochs=epochs, learning_rate=learning_rate, min_gap=min_gap, holdout=holdout, curve=curve)
    check_folder(output)  # now, and not after the training
    template = lambda: chat_renderer(_tokenizer(base, f"cannot load {base!r}", truncation_side))  # noqa: E731
    data, held, held_out = _divided(train, test, kind, columns, min_gap, holdout, seed, template)
    if columns.group is not None and isinstance(data, Rated) and not curve and (held is None or test is not None):
        raise ConfigError(
            f"group_column {columns.group!r} is not used: groups of ratings matter where a part of them is held out, "
            "for the curve, and with min_gap; leave it out"
        )
    names, values = _labels(data, held, train, test, label_names)
    if curve and held is None:
        raise ConfigError(
            f"curve: nothing is held out to draw it with; name a test file, or give {_FEWEST_TO_SPLIT} rows and a "
            f"holdout"
        )
    options: dict[str, Any] = {"batch_size": batch_size, "learning_rate": learning_rate, "seed": seed, "epochs": epochs}
    options["max_tokens"] = max_tokens
    parts = [(share, fraction(data, share, seed)) for share in sorted(curve)] + [(1.0, data)]
    steps = [max(1, int(np.ceil(len(part) / batch_size) * epochs)) for _, part in parts]
    points: list[dict[str, Any]] = []
    for number, (share, part) in enumerate(parts):
        model, tokenizer = _load(base, names, _kind(data), truncation_side, seed, device)
        if data.chat:
            model.config.rl4lms_chat = True  # what `preference` and `classifier` render conversations for
        _check_reads(model, tokenizer, data, base, max_tokens)
        _fit(model, tokenizer, part, values, options, _shifted(progress, sum(steps[:number]), sum(steps)))
        measured = None if held is None else _measured(model, tokenizer, held, values, max_tokens)
        if measured is not None:
            points.append(
                {
                    "share": share,
                    "rows": len(part),
                    **{k: v for k, v in as_json(measured).items() if k != "calibration"},
                }
            )
    result: dict[str, Any] = {"labels": names} if names else {}
    result |= {"train_rows": len(data), **(as_json(measured) if measured is not None else {})}
    result |= {"curve": points} if curve else {}
    result |= {"note": f"nothing was held out: fewer than {_FEWEST_TO_SPLIT} rows"} if held is None and holdout else {}
    settings = {"base": base, "kind": _kind(data), "train": train, "test": test, "held_out": held_out, **options}
    settings |= {"truncation_side": truncation_side, "min_gap": min_gap, "include_prompt": data.has_prompt}
    settings |= {"join": columns.join} if data.has_prompt else {}
    settings |= {"use": usage(output, names, data.has_prompt), "result": result}
    with replacing(output) as folder:
        save_classifier(model, tokenizer, folder)
    # only now: whatever goes wrong with the report, the model is there
    (output / "reward_model.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    plots = write_plots(output, _kind(data), measured, points)
    (output / "README.md").write_text(reward_model_card(settings, plots), encoding="utf-8")
    return result


def _divided(
    train: str,
    test: str | None,
    kind: Kind | None,
    columns: Columns,
    min_gap: float | None,
    holdout: float,
    seed: int,
    template: Callable[[], Render | None],
) -> tuple[RewardData, RewardData | None, str | None]:
    """Training data, held-out data, and what these are in words; None where nothing is held out."""
    data = read(train, kind, columns, template=template)
    held = None if test is None else read(test, _kind(data), columns, split="test", template=template)
    if held is not None and held.chat != data.chat:
        raise DataError(f"{test}: conversations are in one of {train} and {test} alone; give both alike")
    held_out = test
    if held is None and holdout and len(data) >= _FEWEST_TO_SPLIT:
        data, held = split(data, holdout, seed)
        held_out = f"{len(held)} of {len(data) + len(held)} rows of the training file, in whole groups"
    if min_gap is not None:
        data, held = (
            _pairs(data, min_gap, train),
            None if held is None else _pairs(held, min_gap, f"held out ({held_out})"),
        )
    return data, held, held_out


def _check_options(
    *, epochs: float, learning_rate: float, min_gap: float | None, holdout: float, curve: Sequence[float]
) -> None:
    for name, value in (("epochs", epochs), ("learning_rate", learning_rate), ("min_gap", min_gap)):
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{name}: should be a number greater than 0, got {value:g}")
    if not 0 <= holdout < 1:
        raise ConfigError(f"holdout: should be a share from 0 to below 1, got {holdout:g}")
    for share in curve:
        if not 0 < share < 1:
            raise ConfigError(f"curve: shares of the training data lie between 0 and 1, got {share:g}")


def _kind(data: RewardData) -> Kind:
    return "labels" if isinstance(data, Labelled) else "ratings" if isinstance(data, Rated) else "preferences"


def _pairs(data: RewardData, min_gap: float, what: str) -> Preferences:
    if not isinstance(data, Rated):
        raise ConfigError(f"min_gap: makes pairs of ratings, and the data are {_kind(data)}")
    try:
        return data.pairs(min_gap)
    except DataError as error:
        raise DataError(f"{what}: {error}") from error


def _labels(
    data: RewardData, held: RewardData | None, train: str, test: str | None, label_names: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Return names and values of the labels, nothing where there are none."""
    if not isinstance(data, Labelled):
        if label_names:
            raise ConfigError(f"label_names: the data are {_kind(data)}, which have no labels")
        return [], []
    assert held is None or isinstance(held, Labelled)
    values = sorted(set(data.labels))
    names = list(label_names or values)
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise ConfigError(f"label_names: names should differ, and none be empty, got {', '.join(map(repr, names))}")
    if len(names) != len(values):
        raise DataError(
            f"{train} has the labels {', '.join(values)}, but {len(names)} label names were given: {', '.join(names)}"
        )
    unknown = sorted(set(held.labels) - set(values)) if held is not None else []
    if unknown:
        # of a test file: what is held out of the training file leaves every label there
        raise DataError(f"{test}: labels that the training data does not have: {', '.join(unknown)}")
    return names, values


def _load(
    base: str, names: Sequence[str], kind: Kind, truncation_side: str, seed: int, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the base model with a fresh head, the same for the same seed."""
    torch.manual_seed(seed)
    failure = f"cannot load {base!r} as a {'classifier' if kind == 'labels' else 'reward model'}"
    tokenizer = _tokenizer(base, failure, truncation_side)
    model, _ = load_pretrained(AutoModelForSequenceClassification, base, failure, num_labels=len(names) or 1)
    give_padding(model, tokenizer, failure)
    tokenizer.padding_side = "right"
    if names:
        model.config.id2label, model.config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    else:
        model.config.problem_type = "regression"
    model.to(resolve_device(device))
    return model, tokenizer


@torch.no_grad()
def _check_reads(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: RewardData, base: str, max_tokens: int
) -> None:
    """Refuse a model that does not read the text: its output stays when a token in the middle changes.

    BERT as a decoder (`is_decoder: true`) is one: it is classified by its first token, which then sees no other. It
    would learn how frequent the labels are, and give every completion the same reward.
    """
    texts = data.chosen + data.rejected if isinstance(data, Preferences) else data.texts
    rows = _encoded(tokenizer, texts[:64], _window(model, max_tokens), None)
    special = set(tokenizer.all_special_ids)
    words = sorted({token for row in rows for token in row} - special)
    row = max(rows, key=len)
    inside = [at for at in range(1, len(row) - 1) if row[at] not in special]
    if len(words) < 2 or not inside:
        return  # texts of one token, or of one word
    at = inside[len(inside) // 2]
    changed = [*row[:at], words[0] if row[at] != words[0] else words[-1], *row[at + 1 :]]
    try:
        one, other = model(input_ids=torch.tensor([row, changed], device=model.device)).logits.float()
    except (ValueError, IndexError) as error:  # transformers 5.10 raises the one, 5.23 the other
        raise ModelError(
            f"{base!r} cannot classify what its tokenizer makes of the texts: {error}; BART and T5 are read at their "
            "last eos, so the tokenizer must append one"
        ) from error
    if torch.equal(one, other):
        causal = getattr(model.config, "is_decoder", False) and not model.config.is_encoder_decoder
        why = "its config says is_decoder: true, so the first token, by which it classifies, sees no other; " * causal
        raise ModelError(f"{base!r} gives texts that differ in the middle the same output: {why}name another base")


def _tokenizer(base: str, failure: str, truncation_side: str) -> PreTrainedTokenizerBase:
    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            tokenizer_folder(base, failure), truncation_side=truncation_side, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{failure}: {str(error).splitlines()[0]}") from error
    return found


def _fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: RewardData,
    values: Sequence[str],
    options: dict[str, Any],
    progress: Callable[[int, int], None] | None,
) -> None:
    if isinstance(data, Preferences):
        fit_preferences(model, tokenizer, data, **options, progress=progress)
    elif isinstance(data, Rated):
        fit_classifier(model, tokenizer, data.texts, data.ratings, **options, progress=progress)
    else:
        fit_classifier(
            model, tokenizer, data.texts, [values.index(label) for label in data.labels], **options, progress=progress
        )


def _measured(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: RewardData, values: Sequence[str], max_tokens: int
) -> Measures:
    if isinstance(data, Preferences):
        both = logits(model, tokenizer, data.chosen + data.rejected, max_tokens=max_tokens)[:, 0]
        return of_pairs(both[: len(data)] - both[len(data) :], data.groups)
    out = logits(model, tokenizer, data.texts, max_tokens=max_tokens)
    if isinstance(data, Rated):
        return of_ratings(out[:, 0], np.array(data.ratings))
    return of_labels(out, np.array([values.index(label) for label in data.labels]), data.groups)


def _shifted(progress: Callable[[int, int], None] | None, done: int, of: int) -> Callable[[int, int], None] | None:
    """Progress of one of several trainings."""
    return None if progress is None else lambda step, _: progress(done + step, of)


def _window(model: PreTrainedModel, max_tokens: int) -> int:
    return min(max_tokens, positions(model.config))


def _encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], window: int, what: str | None
) -> list[list[int]]:
    """Token ids, special tokens included, once where a text brings them; `what` names the texts in the note on that."""
    frame = Frame(tokenizer, what)
    return [frame.once(row)[0] for row in tokenizer(list(texts), truncation=True, max_length=window)["input_ids"]]
