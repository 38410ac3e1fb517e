"""LoRA adapters (`peft`): one set of frozen base weights carries the policy, the value function and NLPO's mask policy.

The base without any adapter is the model that RL starts from, hence the reference.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from transformers import PreTrainedModel

from rl4lms.config.model import LoraConfig
from rl4lms.errors import MissingExtraError


def add_adapters(lm: PreTrainedModel, config: LoraConfig, names: list[str]) -> None:
    """Puts LoRA adapters on `lm` in place. The base weights are frozen; adapters start as the identity."""
    try:
        from peft import LoraConfig as PeftLoraConfig
        from peft import inject_adapter_in_model
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError as error:
        raise MissingExtraError("peft", "peft") from error
    lm.requires_grad_(False)
    for name in names:
        peft_config = PeftLoraConfig(r=config.r, lora_alpha=config.alpha, target_modules=config.target_modules, lora_dropout=0.0)
        inject_adapter_in_model(peft_config, lm, adapter_name=name)
    lm.lora_layers = [module for module in lm.modules() if isinstance(module, BaseTunerLayer)]
    for parameter_name, parameter in lm.named_parameters():
        parameter.requires_grad_(any(f".{name}." in parameter_name for name in names if name != "mask"))
    lm.eval()


@contextlib.contextmanager
def use_adapter(lm: PreTrainedModel, adapter: str | None) -> Iterator[None]:
    """Activates one adapter of `lm`, or none of them, and restores what was active.

    The public setters of `peft` also move `requires_grad` along, which belongs to the optimiser and not to a forward pass.
    """
    layers = lm.lora_layers
    before = [(layer._active_adapter, layer._disable_adapters) for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters = adapter is None
            if adapter is not None:
                layer._active_adapter = [adapter]
        yield
    finally:
        for layer, (active, disabled) in zip(layers, before, strict=True):
            layer._active_adapter, layer._disable_adapters = active, disabled
