"""Proximal policy optimisation (Schulman et al., 2017) on whole completions, with the ratio of the behaviour policy.

Sampling truncation is part of the policy: old and new log-probs are renormalised over the token mask that the rollout recorded, so the
first ratio is 1 whatever the sampling settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from rl4lms import distributed
from rl4lms.algorithms.base import Learner
from rl4lms.config.algorithms import PPOConfig
from rl4lms.core.advantages import gae, whiten
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import explained_variance, ppo_policy_loss, value_loss
from rl4lms.core.sampling import STREAMS, permutation
from rl4lms.errors import NonFiniteError
from rl4lms.models.generate import MaskRule
from rl4lms.rollout.engine import groups, run_pass
from rl4lms.types import Experience

# The first ratio differs from 1 by float rounding between batch shapes only; more means that sampling and training disagree.
_RATIO_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}


class PPO:
    """Clipped surrogate, optionally clipped value loss, entropy bonus."""

    needs_value: ClassVar[bool] = True
    needs_mask_policy: ClassVar[bool] = False

    def __init__(self, config: PPOConfig, learner: Learner) -> None:
        self.config, self.learner = config, learner
        self.parameters = [p for group in learner.optimizer.param_groups for p in group["params"]]

    def mask_rule(self) -> MaskRule | None:
        """PPO samples without a mask."""
        return None

    def advantages(self, experience: Experience) -> None:
        """GAE, whitened over the iteration's completion tokens."""
        c, e = self.config, experience
        assert e.values is not None
        e.advantages, e.returns = gae(e.rewards, e.values, e.mask, c.gamma, c.gae_lambda)
        if c.whiten_advantages:
            e.advantages = whiten(e.advantages, e.mask)

    def update(self, experience: Experience, step: int) -> dict[str, float]:
        """`n_epochs` passes over shuffled minibatches of completions."""
        e, c = experience, self.config
        assert e.values is not None and e.returns is not None
        if len(rows := e.row_mask.nonzero()[:, 0]) == 0:
            return {"updates": 0.0}
        sums: dict[str, float] = {"minibatches": 0.0}
        updates, stopped, first_ratio_error = 0, False, 0.0
        for minibatch in self._minibatches(rows, step):
            stats = self._accumulate(e, minibatch)
            ratio_error = stats.pop("ratio_error")
            if updates == 0:
                self._check_first_ratio(ratio_error)
                first_ratio_error = ratio_error
            stopped = c.target_kl is not None and stats["approx_kl"] > 1.5 * c.target_kl
            if not stopped:
                stats["grad_norm"] = self._optimizer_step(stats["loss"], minibatch)
                updates += 1
            for name, value in {**stats, "minibatches": 1.0}.items():
                sums[name] = sums.get(name, 0.0) + value
            if stopped:
                break
        self.learner.optimizer.zero_grad(set_to_none=True)
        count, variance = sums.pop("minibatches"), explained_variance(e.values, e.returns, e.mask)
        once = {"explained_variance": variance, "updates": float(updates), "early_stop": float(stopped)}
        return {name: value / count for name, value in sums.items()} | once | {"first_ratio_error": first_ratio_error}

    def _minibatches(self, rows: Tensor, step: int) -> Iterator[Tensor]:
        for epoch in range(self.config.n_epochs):
            order = permutation(len(rows), self.learner.seed, STREAMS["update"], step, epoch).to(rows.device)
            yield from rows[order].split(self.config.minibatch_size)

    def _accumulate(self, e: Experience, minibatch: Tensor) -> dict[str, float]:
        """Gradients of one minibatch, in micro-batches of similar length; the result does not depend on how it is cut."""
        learner = self.learner
        count = distributed.all_sum(e.mask[minibatch].sum()).clamp(min=1)
        sums: dict[str, Tensor] = {}
        learner.optimizer.zero_grad(set_to_none=True)
        for rows in groups(e.rollout, minibatch, learner.settings.micro_batch_size or len(minibatch)):
            losses = PPOLosses(self.config, e, rows, count, sums)
            run_pass(learner.policy, e.rollout, rows, temperature=learner.temperature, values=True, losses=losses)
        return dict(zip(sums, torch.stack([v.float() for v in sums.values()]).tolist(), strict=True))

    def _check_first_ratio(self, error: float) -> None:
        policy = self.learner.policy
        if not error <= _RATIO_TOLERANCE[policy.autocast or policy.lm.dtype]:
            reason = "weights or log-probs are not finite" if math.isnan(error) else "sampling and training differ; run `rl4lms doctor`"
            raise NonFiniteError(f"the first ratio of new to old probabilities differs from 1 by {error:.3g}: {reason}")

    def _optimizer_step(self, loss: float, minibatch: Tensor) -> float:
        norm = float(get_total_norm(p.grad for p in self.parameters if p.grad is not None))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            message = f"the loss is {loss} and the gradient norm {norm}; no optimiser step was taken"
            raise NonFiniteError(message, rows=minibatch.tolist())
        if norm > self.learner.settings.max_grad_norm:
            clip_grads_with_norm_(self.parameters, self.learner.settings.max_grad_norm, torch.tensor(norm))
        self.learner.optimizer.step()
        return norm


class PPOLosses:
    """PPO's losses over the completion tokens of some `rows` (b,): called by the log-prob pass, which backpropagates them.

    `count` is the number of tokens of the whole minibatch; statistics are added to `sums` in place.
    """

    def __init__(self, config: PPOConfig, experience: Experience, rows: Tensor, count: Tensor, sums: dict[str, Tensor]) -> None:
        self.config, self.count, self.sums = config, count, sums
        self.entropy = config.ent_coef != 0  # with a weight of 0 its passes over the vocabulary would be wasted
        e, mask = experience, experience.mask[rows]
        assert e.advantages is not None and e.values is not None and e.returns is not None
        self.old_logprobs, self.advantages = e.logprobs[rows][mask], e.advantages[rows][mask]
        self.old_values, self.returns = e.values[rows][mask], e.returns[rows][mask]

    def policy(self, tokens: TokenLogprobs, part: slice) -> Tensor:
        """Clipped surrogate and entropy bonus of some of the tokens."""
        old = self.old_logprobs[part]
        policy_loss, stats = ppo_policy_loss(tokens.behaviour, old, self.advantages[part], self.config.clip_range, self.count)
        self._add(policy_loss=policy_loss, **{name: value / self.count for name, value in stats.items()})
        error = (tokens.behaviour.detach() - old).exp().sub(1).abs()
        self.sums["ratio_error"] = torch.cat([error, self.sums.get("ratio_error", error.new_zeros(()))[None]]).max()
        if tokens.entropy is None:
            return self._add(loss=policy_loss)
        entropy = tokens.entropy.sum() / self.count
        return self._add(entropy=entropy, loss=policy_loss - self.config.ent_coef * entropy)

    def value(self, values: Tensor) -> Tensor:
        """Weighted squared error of all the tokens' values."""
        loss = value_loss(values, self.returns, self.count, self.old_values, self.config.clip_range_vf)
        return self._add(value_loss=loss, loss=self.config.vf_coef * loss)

    def _add(self, **values: Tensor) -> Tensor:
        """Adds to the statistics; returns the last value as it is."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach()
        return value
