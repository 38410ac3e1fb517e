"""Language models as policies of Stable-Baselines3: its PPO and A2C, and TRPO and MaskablePPO of `sb3_contrib`, train
them on `TextGenEnv` one token at a time.

The distribution is that of the library's own log-prob pass, so ratios mean the same. What differs is the way: a rollout
of Stable-Baselines3 knows states, not completions, so every token costs passes over all tokens before it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerBase

from rl4lms.config.model import ModelConfig
from rl4lms.core.padding import Side
from rl4lms.errors import ModelError
from rl4lms.integrations.gym import model_config, text_gens
from rl4lms.mdp import step_all
from rl4lms.models.build import build_models, policy_parameters, value_parameters
from rl4lms.models.loading import check_window, load_lm
from rl4lms.models.policy import Policy
from rl4lms.models.saving import save_adapter, save_model
from rl4lms.plugins.packages import of_extra
from rl4lms.runs.storage import replacing

_common = of_extra("stable_baselines3").common
_ActorCritic: Any = _common.policies.ActorCriticPolicy
_MaskableActorCritic: Any = of_extra("sb3_contrib").common.maskable.policies.MaskableActorCriticPolicy
_VecEnv: Any = _common.vec_env.DummyVecEnv
_Callback: Any = _common.callbacks.BaseCallback

_KEYS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
_CARD = """---
library_name: transformers
---

Trained with reinforcement learning by [rl4lms](https://pypi.org/project/rl4lms) and
[Stable-Baselines3](https://stable-baselines3.readthedocs.io).
"""


class LanguageModel(nn.Module):
    """A language model, causal or encoder-decoder, with a value function, where policies of Stable-Baselines3 have
    features, two networks and an output layer.

    Dropout is off, as everywhere in the library. `parameters` are those that are trained, without frozen ones.

    Args:
        observation_space, action_space: of `TextGenEnv`.
        lr_schedule: gives the learning rate.
        model: a Hub id, a folder, or the block `model` of a recipe, which says how the value function, adapters and
            precision are set up. It is read again whenever the policy is loaded.
        temperature: of the behaviour policy, positive.
        use_sde: must be False; it is of continuous actions.
        optimizer_class, optimizer_kwargs: as for any policy of Stable-Baselines3.

    Raises:
        ConfigError: the block cannot be read, or prompts and completions do not fit the model.
        ModelError: the model cannot be read, or the spaces are not those of `TextGenEnv` with this model.
        ValueError: the temperature is not positive.
    """

    # what the constructors of Stable-Baselines3 set
    observation_space: Any
    action_space: Any
    action_dist: Any
    optimizer_class: Any
    optimizer_kwargs: Any
    _dummy_schedule: Any

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Any,
        model: str | Path | Mapping[str, Any] | ModelConfig,
        *,
        temperature: float = 1.0,
        use_sde: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if use_sde:
            raise ValueError("use_sde is for continuous actions; tokens are none")
        self.model_config, self.temperature = model_config(model), temperature  # read by `_build`, inside `__init__`
        options = {"optimizer_class": optimizer_class, "optimizer_kwargs": optimizer_kwargs}
        super().__init__(observation_space, action_space, lr_schedule, **options)

    def _build(self, lr_schedule: Any) -> None:
        """Make the networks and the optimizer; called by the constructor of Stable-Baselines3."""
        box = self.observation_space
        if not isinstance(box, spaces.Dict) or set(box) != set(_KEYS):
            raise ModelError(f"{type(self).__name__} reads the observations of TextGenEnv: {', '.join(_KEYS)}")
        models = build_models(self.model_config, torch.device("cpu"))
        self.policy: Policy = models.policy
        self.tokenizer: PreTrainedTokenizerBase = models.tokenizer
        if self.action_space.n != self.policy.tokens.vocab_size:
            raise ModelError(
                f"{self.model_config.path} has {self.policy.tokens.vocab_size} tokens and the environment "
                f"{self.action_space.n} actions: they are of different models"
            )
        check_window(self.policy.lm, *(spaces.flatdim(box[key]) for key in ("prompt_ids", "completion_ids")))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def named_parameters(self, prefix: str = "", *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained. Names have `value` in them where, and only where, they are of the value function: so
        TRPO of sb3_contrib tells them apart, and BERT has layers of that name.
        """
        start = f"{prefix}." if prefix else ""
        for name, parameter in policy_parameters(self.policy):
            yield f"{start}lm.{name.replace('value', 'v')}", parameter
        for name, parameter in value_parameters(self.policy):
            yield f"{start}value.{name}", parameter

    def train(self, mode: bool = True) -> LanguageModel:
        """Stay in eval mode: with dropout the first ratio would not be 1."""
        return super().train(False)

    def forward(
        self, obs: dict[str, Tensor], deterministic: bool = False, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions (B,), values (B, 1) and log-probs (B,) of what follows each observation."""
        logits, values = self._next(obs, values=True)
        distribution = self._distribution(logits, action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, values[:, None], distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: dict[str, Tensor], actions: Tensor, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return values (B, 1), log-probs (B,) of the actions (B,) and entropies (B,), in nats."""
        logits, values = self._next(obs, values=True)
        distribution = self._distribution(logits, action_masks)
        return values[:, None], distribution.log_prob(actions.long().flatten()), distribution.entropy()

    def get_distribution(self, obs: dict[str, Tensor], action_masks: Any = None) -> Any:
        """Return the behaviour policy's distribution. TRPO takes second derivatives of it, which fused attention does
        not have: where gradients are on, attention is plain.

        Raises:
            ModelError: gradients are on, with gradient checkpointing: activations would be computed again fused.
        """
        if torch.is_grad_enabled() and self.model_config.gradient_checkpointing:
            raise ModelError(
                "model.gradient_checkpointing: TRPO's second derivatives cannot go through it; set it false"
            )
        plain = sdpa_kernel(SDPBackend.MATH) if torch.is_grad_enabled() else contextlib.nullcontext()
        with plain:
            return self._distribution(self._next(obs)[0], action_masks)

    def predict_values(self, obs: dict[str, Tensor]) -> Tensor:
        """Return the values (B, 1) of observations."""
        return self._next(obs, logits=False, values=True)[1][:, None]

    @torch.no_grad()
    def log_ratio(self, obs: dict[str, Tensor], actions: Tensor, ref_policy: Policy) -> Tensor:
        """Return log π(a|s) − log π₀(a|s), (B,), of the full softmax at temperature 1: the KL term of the library.

        Args:
            obs: B observations.
            actions: (B,).
            ref_policy: π₀, from `reference`.
        """
        batch = self._batch(obs)
        here, there = (
            logits.log_softmax(-1).gather(1, actions[:, None])[:, 0]
            for logits, _ in (one.next_token(*batch) for one in (self.policy, ref_policy))
            if logits is not None
        )
        return here - there

    def reference(self) -> Policy:
        """Return the model that RL starts from, frozen: with adapters the policy's own base, else read again."""
        if self.policy.adapter is not None:
            return Policy(self.policy.lm, self.policy.tokens, None, self.policy.autocast)
        lm = load_lm(self.model_config, self.policy.device).requires_grad_(False)
        return Policy(lm, self.policy.tokens, None, self.policy.autocast)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the language model and its tokenizer as an HF folder that `AutoModel...from_pretrained` loads; adapters
        are merged into it. The value function is no part of it.

        Raises:
            ModelError: the folder, loaded again, is not the model that was trained.
        """
        Path(folder).absolute().parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(folder).absolute()) as target:
            save_model(self.policy, self.tokenizer, target, _CARD)

    def save_adapter(self, folder: str | Path) -> None:
        """Save the LoRA adapter alone, in PEFT's format.

        Raises:
            ModelError: there is none.
        """
        if self.policy.adapter is None:
            raise ModelError("this policy has no adapter, all its weights are trained: call save_pretrained")
        Path(folder).absolute().parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(folder).absolute()) as target:
            save_adapter(self.policy, self.tokenizer, target, self.model_config.path)

    def _next(self, obs: dict[str, Tensor], **wanted: Any) -> tuple[Any, Any]:
        return self.policy.next_token(*self._batch(obs), **wanted)

    def _batch(self, obs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return prompts and completions as the policy takes them, no wider than the longest."""
        prompts = _packed(obs["prompt_ids"], obs["prompt_mask"], self.policy.family.padding_side)
        return (*prompts, *_packed(obs["completion_ids"], obs["completion_mask"], "right"))

    def _distribution(self, logits: Tensor, action_masks: Any) -> Any:
        distribution = self.action_dist.proba_distribution(action_logits=logits / self.temperature)
        if action_masks is not None:
            distribution.apply_masking(action_masks)
        return distribution

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,  # of no use to who loads the policy alone
            "model": self.model_config.model_dump(mode="json", exclude_unset=True),
            "temperature": self.temperature,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


class LMActorCriticPolicy(LanguageModel, _ActorCritic):
    """A language model for PPO, A2C and TRPO; arguments and errors are those of `LanguageModel`."""


class MaskableLMActorCriticPolicy(LanguageModel, _MaskableActorCritic):
    """A language model for MaskablePPO, which draws among the tokens that `TextGenEnv.action_masks` allows; arguments
    and errors are those of `LanguageModel`.
    """


class TextGenVecEnv(_VecEnv):
    """Episodes side by side for Stable-Baselines3, with one call of the reward for all of them.

    Args:
        model, data, reward, options: as for `rl4lms.integrations.gym.text_gen`.
        num_envs: how many.

    Raises:
        ConfigError, DataError, ModelError: as `text_gen`.
    """

    def __init__(self, model: Any, data: Any, reward: Any, *, num_envs: int = 1, **options: Any) -> None:
        made = text_gens(num_envs, model, data, reward, **options)
        super().__init__([lambda env=env: env for env in made])

    def step_wait(self) -> Any:
        """Append the tokens of `step_async`."""
        for i, step in enumerate(step_all(self.envs, self.actions)):
            observation, self.buf_rews[i], terminated, truncated, info = step
            self.buf_dones[i] = terminated or truncated
            self.buf_infos[i] = info | {"TimeLimit.truncated": truncated and not terminated}
            if self.buf_dones[i]:
                self.buf_infos[i]["terminal_observation"] = observation
                observation, self.reset_infos[i] = self.envs[i].reset()
            self._save_obs(i, observation)
        return self._obs_from_buf(), np.copy(self.buf_rews), np.copy(self.buf_dones), [*self.buf_infos]


class KLPenalty(_Callback):
    """Takes `kl_coef` × (log π − log π₀) off every reward before it is stored, as the library's own training does: the
    full softmax of both at temperature 1, π₀ the model that RL starts from.

    The mean of the log-ratio is logged as `rollout/kl`; the rewards that a `Monitor` logs are the task's.

    Args:
        kl_coef: weight of the KL term.
        verbose: as for any callback.

    Raises:
        ModelError: the policy is no language model.
    """

    def __init__(self, kl_coef: float, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.kl_coef = kl_coef
        self._ref_policy: tuple[Any, Policy] | None = None

    def _init_callback(self) -> None:
        policy = self.model.policy
        if not isinstance(policy, LanguageModel):
            raise ModelError(f"KLPenalty needs a policy that is a language model, and this is {type(policy).__name__}")
        if self._ref_policy is None or self._ref_policy[0] is not policy:
            self._ref_policy = policy, policy.reference()

    def _on_step(self) -> bool:
        assert self._ref_policy is not None
        policy, ref_policy = self._ref_policy
        actions = torch.as_tensor(self.locals["actions"], device=policy.device).flatten()
        kl = policy.log_ratio(self.locals["obs_tensor"], actions, ref_policy).cpu().numpy()
        rewards = self.locals["rewards"]
        rewards -= self.kl_coef * kl  # in place: it is this array that goes into the buffer
        self.logger.record_mean("rollout/kl", float(kl.mean()))
        return True


def _packed(ids: Tensor, mask: Tensor, side: Side) -> tuple[Tensor, Tensor]:
    """Return rows of ids (B, L) and their bool mask, padded on one side, no wider than the longest."""
    order = mask.long().argsort(dim=1, stable=True, descending=side == "right")
    width = max(1, int(mask.sum(1).max()))
    columns = slice(width) if side == "right" else slice(mask.shape[1] - width, None)
    return ids.gather(1, order)[:, columns].long(), mask.gather(1, order)[:, columns].bool()
