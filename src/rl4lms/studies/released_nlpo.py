"""NLPO as its authors' code ran it, for the comparison with NLPO as published and for nothing else.

The code released with Ramamurthy et al. (2023) departs from the paper in ways that each change what is optimised. Every
one is an option here, off by default, so that `reports/nlpo-as-released` can say what it does. It has no name among the
algorithms; a recipe names the file: `algorithm: {name: path/to/released_nlpo.py:ReleasedNLPO, stale_mask: true}`.

What needs no option: rollouts cut by `rollout.top_k` whatever the mask says, and a mask of at least a hundred tokens
(`min_tokens_to_keep: 100`), are settings of any recipe.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from rl4lms.algorithms.learner import Learner
from rl4lms.algorithms.nlpo import NLPO
from rl4lms.config.masks import MaskConfig
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import ppo_policy_loss
from rl4lms.errors import ConfigError
from rl4lms.models.families import DecodeState, EncoderDecoderFamily
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens


@dataclass(kw_only=True)
class ReleasedNLPO(NLPO):
    """NLPO with what the released code did otherwise, one option for each.

    Attributes:
        stale_mask: the mask is that of the initial model for the whole run: the copy that was renewed was not the one
            that sampled. `mask_update_every` has no effect then, as it had none.
        full_ratio: ratios are of the full softmax at temperature 1, while tokens are drawn inside the mask, at
            `rollout.temperature` and within `rollout.top_k` and `top_p`.
        mixed_entropy: the entropy bonus is -Σ p̃ log p, with p̃ renormalised over the mask and p not.
        mask_on_policy_cache: encoder-decoders, with a stale mask: the masking model decodes from the policy's encoder
            states, keys and values instead of its own.
        dropped: share of completions, the last ones, that fill no buffer: they are sampled and rewarded, and the KL
            controller counts them, but nothing is learned from them.
    """

    stale_mask: Annotated[bool, Option("take the mask from the initial model, always")] = False
    full_ratio: Annotated[bool, Option("do not renormalise log-probs over what could be drawn")] = False
    mixed_entropy: Annotated[bool, Option("mix renormalised probabilities and full log-probs")] = False
    mask_on_policy_cache: Annotated[bool, Option("let the masking model read the policy's states")] = False
    dropped: Annotated[float, Option("share of completions that are not learned from", ge=0, lt=1)] = 0.0

    @staticmethod
    def check_options(stale_mask: bool, mask_on_policy_cache: bool, mixed_entropy: bool, ent_coef: float) -> None:
        """Refuse options without an effect."""
        if mask_on_policy_cache and not stale_mask:
            raise ValueError("mask_on_policy_cache needs stale_mask: the released code had both")
        if mixed_entropy and ent_coef == 0:
            raise ValueError("mixed_entropy has no effect without ent_coef, the weight of the entropy bonus")

    @property
    def needs_full_logprobs(self) -> bool:
        """For ratios of the full softmax, and for the probability of the mask in the mixed entropy."""
        return self.full_ratio or self.mixed_entropy

    def own_mask(self) -> MaskConfig:
        """Return NLPO's mask, or the same of the initial model, which is the reference."""
        own = super().own_mask()
        return MaskConfig(**own.model_dump() | {"source": "reference", "refresh_every": 10}) if self.stale_mask else own

    def bind(self, learner: Learner) -> None:
        """Take what is trained; the masking model is connected with the policy where it reads its states."""
        super().bind(learner)
        if self.mask_on_policy_cache:
            policy, initial = learner.policy.family, learner.ref_policy and learner.ref_policy.family
            if not isinstance(policy, EncoderDecoderFamily) or not isinstance(initial, EncoderDecoderFamily):
                raise ConfigError("mask_on_policy_cache is of encoder-decoders: others' masks had states of their own")
            learner.ref_policy.family = _OnStatesOf(policy, initial)  # type: ignore[union-attr]

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return PPO's loss, of other log-probs and another entropy where the options say so."""
        assert old.advantages is not None
        if self.mixed_entropy:  # -Σ p̃ log p = H(p̃) - log Z, and log Z = log p - log p̃ of any token inside
            assert new.full is not None and new.entropy is not None
            new = new._replace(entropy=new.entropy + new.behaviour - new.full)
        if not self.full_ratio:
            return super().loss(new, old)
        assert new.full is not None and old.kl is not None and old.ref_logprobs is not None
        old_full = old.kl + old.ref_logprobs
        loss, stats = ppo_policy_loss(new.full, old_full, old.advantages, self.clip_range, old.n_tokens)
        return self.with_entropy(loss, stats, new, old)

    def update(self, experience: Experience, step: int) -> dict[str, float]:
        """Train on the completions that are not dropped."""
        kept = experience.row_mask.clone()
        kept[len(kept) - int(self.dropped * len(kept)) :] = False
        return super().update(replace(experience, row_mask=kept) if self.dropped else experience, step)


class _OnStatesOf(EncoderDecoderFamily):
    """A masking model that decodes from the states of a policy: the policy's are the only ones that are kept, and each
    token's logits are the masking model's on a copy of them.
    """

    def __init__(self, policy: EncoderDecoderFamily, own: EncoderDecoderFamily) -> None:
        self.__dict__.update(own.__dict__)
        self._policy, self._own = policy, own

    def prefill(self, prompt_ids: Tensor, prompt_mask: Tensor, budget: int) -> tuple[DecodeState, Tensor]:
        """Encode with the policy; return its state and the masking model's hidden states."""
        state, _ = self._policy.prefill(prompt_ids, prompt_mask, budget)
        start = self._start(len(prompt_ids), prompt_ids.device)
        assert state.encoder_hidden is not None
        out: Any = self._decode(start, state.encoder_hidden, prompt_mask, self._position_ids(start, 0), use_cache=False)
        return state, out.last_hidden_state[:, -1]

    def step(self, state: DecodeState, token_ids: Tensor) -> Tensor:
        """Feed one token to both models; the masking model's keys and values are forgotten."""
        with torch.no_grad():
            hidden = self._own.step(copy.deepcopy(state), token_ids)
            self._policy.step(state, token_ids)
        return hidden
