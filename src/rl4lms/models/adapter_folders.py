"""Adapters as folders in PEFT's format, which models are loaded from: what was trained is merged into its base."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.hub import cached_file

from rl4lms.data import hub
from rl4lms.errors import ModelError
from rl4lms.models.lora import tied_names
from rl4lms.plugins.packages import of_extra

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."
_TOKENIZERS = ("tokenizer_config.json", "tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model", "vocab.txt")
_SAME = 1e-3  # nats: merged and unmerged differ by rounding alone


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A folder, or a repository on the Hub, that holds an adapter and not a model.

    Attributes:
        path: its own.
        base: the model that it was trained on, a folder or a Hub id.
        task_type: PEFT's, such as CAUSAL_LM or SEQ_CLS; None where it was not said.
        revision: of the base.
        weights: its tensors; None where they are only there as a pickle.
    """

    path: str
    base: str
    task_type: str | None
    revision: str | None
    weights: Path | None

    @property
    def tokenizer(self) -> str:
        """Where its tokenizer is: beside it, else beside the base."""
        here = Path(self.path)
        own = not here.is_dir() or any((here / name).is_file() for name in _TOKENIZERS)
        return self.path if own else self.base

    def model(self) -> tuple[str, str | None]:
        """Return path and revision of the model below it; the base may be an adapter as well, as after a second stage.

        Raises:
            ModelError: the adapters name each other.
        """
        seen, last = {self.path}, self
        while (inner := adapter_of(last.base, last.revision)) is not None:
            if inner.path in seen:
                raise ModelError(f"the adapter {self.path!r}: following its bases leads to {inner.path!r} again")
            seen.add(inner.path)
            last = inner
        return last.base, last.revision

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its tensors by name, without PEFT's prefix."""
        if self.weights is None:
            return {name.removeprefix(PEFT_PREFIX): tuple(t.shape) for name, t in _pickled(self.path).items()}
        try:
            with safe_open(self.weights, "pt") as file:
                return {name.removeprefix(PEFT_PREFIX): tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(f"the adapter {self.path!r} cannot be read: {error}") from error

    def labels(self) -> int | None:
        """Return how many outputs the classification head has that came with the adapter; None without one."""
        wide = [shape for name, shape in self.shapes().items() if ".lora_" not in name and len(shape) == 2]
        return min((shape[0] for shape in wide), default=None) if self.task_type == "SEQ_CLS" else None


def adapter_of(path: str, revision: str | None = None) -> AdapterFolder | None:
    """Return the adapter that a path names, None where it names a model.

    Raises:
        ModelError: its `adapter_config.json` cannot be read, or names no base model.
    """
    file = _found(path, ADAPTER_CONFIG, revision)
    if file is None:
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        base = config.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"the adapter {path!r}: adapter_config.json cannot be read: {error}") from error
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"the adapter {path!r}: adapter_config.json names no base model; write the folder or Hub id of the model "
            "that it was trained on as base_model_name_or_path"
        )
    weights = _found(path, ADAPTER_WEIGHTS, revision)
    return AdapterFolder(path, base, config.get("task_type"), config.get("revision"), weights)


def _found(path: str, name: str, revision: str | None) -> Path | None:
    """Return a file of a folder or of a repository on the Hub; None where it is not there, or the Hub is not."""
    if not Path(path).is_dir() and hub.unreachable(path) is not None:
        cached = hub.cached(path, revision)
        if cached is None:
            return None
        path = cached
    if Path(path).is_dir():
        return Path(path) / name if (Path(path) / name).is_file() else None
    quiet = dict.fromkeys(("gated_repo", "missing_entries", "connection_errors"), False)
    try:
        file = cached_file(path, name, revision=revision, **{f"_raise_exceptions_for_{k}": v for k, v in quiet.items()})
    except (OSError, ValueError):  # no name of a repository: whoever loads it says so
        return None
    return None if file is None else Path(file)


def merge_adapter(lm: PreTrainedModel, adapter: AdapterFolder) -> tuple[PreTrainedModel, set[str]]:
    """Merge an adapter into the weights of its base, which should be float32: in lower precision small updates are
    lost.

    Returns:
        The model without any adapter, and the names of its weights that came with the adapter whole (a classification
        head, embeddings of new tokens).

    Raises:
        ModelError: it does not fit this base, cannot be merged, or gives another model once merged.
        MissingExtraError, BrokenPackageError: `peft` is not installed, or cannot be imported.
    """
    # PEFT warns of missing weights and of tied ones, which are errors here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _merged(lm, adapter)


def _merged(lm: PreTrainedModel, adapter: AdapterFolder) -> tuple[PreTrainedModel, set[str]]:
    peft = of_extra("peft")
    what, shapes, plain = f"the adapter {adapter.path!r}", adapter.shapes(), list(lm.state_dict())
    _fit_vocabulary(lm, shapes)
    tied = tied_names(lm)
    try:
        model: Any = peft.PeftModel.from_pretrained(lm, adapter.path)
    except Exception as error:  # PEFT and torch fail in their own ways
        raise ModelError(
            f"{what} does not fit its base {adapter.base!r} ({type(lm).__name__}): {_beginning(error)}"
        ) from error
    expected = {
        name.removeprefix(PEFT_PREFIX) for name in peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    }
    # PEFT may write weights of the base beside those of the adapter, as where embeddings are adapted
    own = {_plain(name) for name in shapes if ".original_module." not in name and ".base_layer." not in name}
    expected = {_plain(name) for name in expected}
    missing, unknown = sorted(expected - own), sorted(own - expected - set(plain))
    if missing or unknown:
        name, how = (missing[0], "lacks") if missing else (unknown[0], "has a weight that the model has no place for,")
        raise ModelError(
            f"{what} does not fit its base {adapter.base!r} ({type(lm).__name__}): it {how} {name}; "
            "was it trained on another model?"
        )
    if not hasattr(model.base_model, "merge_and_unload"):
        kind = model.active_peft_config.peft_type.value
        raise ModelError(f"{what} is of the kind {kind}, which cannot be merged into a model's weights; use LoRA")
    before = _probe(model)
    merged: PreTrainedModel = model.merge_and_unload().requires_grad_(True)  # PEFT froze the base
    apart = dict(merged.named_parameters(remove_duplicate=False))
    tied_still = all(torch.equal(apart[name], apart[names[0]]) for names in tied for name in names)
    if not tied_still or not float((before - _probe(merged)).abs().max()) <= _SAME:
        raise ModelError(
            f"{what} gives another model once it is merged into the weights of {adapter.base!r}: it adapts a weight "
            "that stands in two places, such as an output layer that is tied to the embeddings, in one of them only; "
            "name the merged model of whoever trained it"
        )
    return merged, {name for name in own if ".lora_" not in name}


def merged_copy(model: Any) -> PreTrainedModel:
    """Return a model object as it is, or, where PEFT's adapters are on it, a copy with them merged, in float32.

    Raises:
        ModelError: they cannot be merged, or give another model once they are.
    """
    if not hasattr(model, "peft_config"):
        return model
    what = f"model: the adapters of this {type(model).__name__}"
    own = copy.deepcopy(model).float().eval()
    if not hasattr(own, "merge_and_unload"):
        raise ModelError(f"{what} cannot be merged into its weights; merge them, or give another model")
    before = _probe(own)
    merged: PreTrainedModel = own.merge_and_unload()
    if not float((before - _probe(merged)).abs().max()) <= _SAME:
        raise ModelError(f"{what} give another model once they are merged, as where one of two tied weights is adapted")
    return merged


def _plain(name: str) -> str:
    return name.replace(".modules_to_save", "")


def _fit_vocabulary(lm: PreTrainedModel, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give the base as many embeddings as the adapter has, which may have been trained with new tokens."""
    embeddings = lm.get_input_embeddings()
    name = next(name for name, module in lm.named_modules() if module is embeddings)
    rows = [
        shape[-1] if "lora_embedding_A" in key else shape[0]
        for key, shape in shapes.items()
        if f".{key}".endswith((f".{name}.weight", f".{name}.base_layer.weight")) or f"{name}.lora_embedding_A" in key
    ]
    if rows and rows[0] != embeddings.weight.shape[0]:
        lm.resize_token_embeddings(rows[0], mean_resizing=False)


@torch.no_grad()
def _probe(model: Any) -> Tensor:
    """Return log-probs of a model's outputs for a few tokens, by its plain forward."""
    config = model.config
    eos = config.eos_token_id if isinstance(config.eos_token_id, int) else 0  # BART's classifiers read it
    ids = torch.tensor([[*range(5, 17), eos]], device=next(model.parameters()).device)
    more = {"decoder_input_ids": ids} if config.is_encoder_decoder and "Classification" not in str(type(model)) else {}
    logits: Tensor = model(input_ids=ids, **more).logits
    return logits.float().log_softmax(-1) if logits.shape[-1] > 1 else logits.float()


def _pickled(path: str) -> dict[str, Tensor]:
    """Read weights that are there as a pickle; torch refuses whatever is not a plain tensor."""
    peft = of_extra("peft")
    try:
        weights: dict[str, Tensor] = peft.utils.load_peft_weights(path, device="cpu")
    except Exception as error:  # not there, or not readable, in many ways
        raise ModelError(f"the adapter {path!r} cannot be read: {_beginning(error)}") from error
    return weights


def _beginning(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__  # torch names the weight in its second line
