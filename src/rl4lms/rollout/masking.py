"""The mask of a run: whose probabilities choose the tokens that rollouts may draw, by which rule, and since when."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rl4lms.config.masks import MaskConfig
from rl4lms.core import token_masks
from rl4lms.errors import ConfigError
from rl4lms.models.build import Models, copy_policy_weights
from rl4lms.models.generate import MaskRule
from rl4lms.types import Rollout

_RULES: dict[str, Callable[..., Tensor]] = {
    "top_p": token_masks.top_p_mask,
    "top_k": token_masks.top_k_mask,
    "min_p": token_masks.min_p_mask,
}


class Masking:
    """Token masks of rollouts, from a source that may be renewed.

    Args:
        config: returns source, rule and refreshes; asked before every rollout, since an algorithm may change all but
            the source.
        models: of the run; a lagged source is their `mask_policy`.
    """

    def __init__(self, config: Callable[[], MaskConfig], models: Models) -> None:
        self._config, self.models = config, models

    @property
    def rule(self) -> MaskRule:
        """What the next rollout is sampled in; it reads the source's present weights."""
        config = self._config()
        options: dict[str, Any] = {config.rule: getattr(config, config.rule)}
        if config.rule != "top_k":
            options["min_tokens_to_keep"] = config.min_tokens_to_keep
        if config.source == "lagged" and self.models.mask_policy is None:
            raise ConfigError("mask.source became lagged during the run, which has no copy of the policy for it")
        source = {"policy": None, "lagged": self.models.mask_policy, "reference": self.models.ref_policy}
        return MaskRule(source[config.source], functools.partial(_RULES[config.rule], **options))

    def after_update(self, step: int, rollout: Rollout) -> dict[str, float]:
        """Renew a lagged source in every `refresh_every`-th iteration, counted from 0; return what the mask was like,
        for the log.
        """
        assert rollout.token_mask is not None
        config = self._config()
        sizes = token_masks.size(rollout.token_mask[rollout.completion_mask]).float()
        numbers = {"mask_size": float(sizes.mean()), "mask_size_median": float(sizes.median())}
        if config.source == "lagged":
            refreshed = config.refresh_every is not None and (step + 1) % config.refresh_every == 0
            if refreshed:
                assert self.models.mask_policy is not None
                with torch.no_grad():
                    copy_policy_weights(self.models.policy, self.models.mask_policy)
            numbers["mask_refreshed"] = float(refreshed)
        return numbers
