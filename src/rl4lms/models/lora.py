"""LoRA adapters (`peft`): one set of frozen base weights carries the policy, the value function and a masking policy.

The base without any adapter is the model that RL starts from, hence the reference.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from rl4lms.config.model import LoraConfig
from rl4lms.errors import ModelError
from rl4lms.plugins.packages import of_extra


def add_adapters(lm: PreTrainedModel, config: LoraConfig, names: list[str]) -> None:
    """Put LoRA adapters on `lm` in place. The base weights are frozen; adapters start as the identity."""
    peft = of_extra("peft")
    lm.requires_grad_(False)
    for name in names:
        peft_config = peft.LoraConfig(
            r=config.r, lora_alpha=config.alpha, target_modules=config.target_modules, lora_dropout=0.0
        )
        try:
            with warnings.catch_warnings():
                # Several adapters on one model, and GPT-2's transposed layers, are meant here; tied layers are refused
                warnings.filterwarnings(
                    "ignore", message="Already found a `peft_config`|fan_in_fan_out is set to|Model has `tie_word"
                )
                peft.inject_adapter_in_model(peft_config, lm, adapter_name=name)
        except ValueError as error:
            raise ModelError(
                f"model.lora.target_modules: {config.target_modules!r} matches no layer: {error}"
            ) from error
    _refuse_tied(lm)
    lm.lora_layers = [module for module in lm.modules() if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer)]
    for parameter_name, parameter in lm.named_parameters():
        trained = any(belongs_to(parameter_name, name) for name in names if name != "mask")
        parameter.requires_grad_(trained)
        if trained and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()  # adapters of a low-precision base would lose small updates
    lm.eval()


def _refuse_tied(lm: PreTrainedModel) -> None:
    """Refuse adapters on a weight that stands in two places: merged into one, the saved model would be another."""
    for names in tied_names(lm):
        names = [name for name in names if ".lora_" not in name]
        adapted = [name for name in names if ".base_layer." in name]
        if adapted:
            first, other = adapted[0].replace(".base_layer", ""), next(n for n in names if n != adapted[0])
            raise ModelError(
                f"model.lora.target_modules: {first} is tied to {other.replace('.base_layer', '')}, and an adapter "
                "would be in one of the two places only; leave it out"
            )


def tied_names(lm: PreTrainedModel) -> list[list[str]]:
    """Return the names of every weight that stands in several places."""
    places: dict[int, list[str]] = {}
    for name, parameter in lm.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(name)
    return [names for names in places.values() if len(names) > 1]


def belongs_to(parameter_name: str, adapter: str) -> bool:
    """Return whether a parameter is part of an adapter: `….lora_A.<adapter>.weight`. (BERT has modules that are called
    `value`.)
    """
    return re.search(rf"\.lora_\w+\.{re.escape(adapter)}(\.|$)", parameter_name) is not None


def renamed(parameter_name: str, adapter: str, other: str) -> str:
    """Return the name of the same parameter in another adapter; those of embeddings end in the adapter's name."""
    return re.sub(rf"(\.lora_\w+)\.{re.escape(adapter)}(?=\.|$)", rf"\1.{other}", parameter_name)


def use_adapter(lm: PreTrainedModel, adapter: str | None) -> contextlib.AbstractContextManager[None]:
    """Activate one adapter of `lm`, or none of them, and restore what was active.

    The public setters of `peft` also move `requires_grad` along, which belongs to the optimiser and not to a forward
    pass.
    """
    return _Switched(
        lm.lora_layers,
        [(layer._active_adapter if adapter is None else [adapter], adapter is None) for layer in lm.lora_layers],
    )


def recompute_contexts(
    module: nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """Return the contexts of a checkpointed module's forward pass and of its recomputation, which needs the adapters
    active now.
    """
    layers: list[Any] = [layer for layer in module.modules() if hasattr(layer, "_disable_adapters")]
    return contextlib.nullcontext(), _Switched(layers, _states(layers))


class _Switched:
    """Layers with other adapters active. It can be entered any number of times: for a second derivative a checkpointed
    module is computed more than once.
    """

    def __init__(self, layers: Sequence[Any], states: Sequence[tuple[Any, bool]]) -> None:
        self._layers, self._states = layers, states
        self._before: list[list[tuple[Any, bool]]] = []

    def __enter__(self) -> None:
        self._before.append(_states(self._layers))
        self._switch(self._states)

    def __exit__(self, *_: object) -> None:
        self._switch(self._before.pop())

    def _switch(self, states: Sequence[tuple[Any, bool]]) -> None:
        for layer, (active, disabled) in zip(self._layers, states, strict=True):
            layer._active_adapter, layer._disable_adapters = active, disabled


def _states(layers: Sequence[Any]) -> list[tuple[Any, bool]]:
    """Return which adapters are active in each layer, and whether they are off."""
    return [(layer._active_adapter, layer._disable_adapters) for layer in layers]
