"""Proximal policy optimisation (Schulman et al., 2017) on whole completions, with the ratio of the behaviour policy.

Sampling truncation is part of the policy: old and new log-probs are renormalised over the token mask that the rollout recorded, so the
first ratio is 1 whatever the sampling settings.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rl4lms import distributed
from rl4lms.algorithms.base import Learner
from rl4lms.config.algorithms import PPOConfig
from rl4lms.core.advantages import gae, whiten
from rl4lms.core.losses import explained_variance, ppo_policy_loss, value_loss
from rl4lms.core.sampling import STREAMS, permutation
from rl4lms.errors import NonFiniteError
from rl4lms.models.generate import MaskRule
from rl4lms.rollout.engine import run_pass
from rl4lms.types import Experience

# The first ratio differs from 1 by float rounding between batch shapes only; more means that sampling and training disagree.
_RATIO_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}


class PPO:
    """Clipped surrogate, optionally clipped value loss, entropy bonus."""

    needs_value: ClassVar[bool] = True
    needs_mask_policy: ClassVar[bool] = False

    def __init__(self, config: PPOConfig, learner: Learner) -> None:
        self.config = config
        self.learner = learner
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
        rows = e.row_mask.nonzero()[:, 0]
        if len(rows) == 0:
            return {"updates": 0.0}
        sums: dict[str, float] = {}
        updates, stopped, first_ratio_error = 0, False, 0.0
        for epoch in range(c.n_epochs):
            order = permutation(len(rows), self.learner.seed, STREAMS["update"], step, epoch).to(rows.device)
            for minibatch in rows[order].split(c.minibatch_size):
                stats = self._accumulate(e, minibatch)
                ratio_error = stats.pop("ratio_error")
                if updates == 0:
                    self._check_first_ratio(ratio_error)
                    first_ratio_error = ratio_error
                stopped = c.target_kl is not None and stats["approx_kl"] > 1.5 * c.target_kl
                if not stopped:
                    stats["grad_norm"] = self._optimizer_step()
                    updates += 1
                for name, value in stats.items():
                    sums[name] = sums.get(name, 0.0) + value
                sums["minibatches"] = sums.get("minibatches", 0.0) + 1
                if stopped:
                    break
            if stopped:
                break
        self.learner.optimizer.zero_grad(set_to_none=True)
        means = {name: value / sums["minibatches"] for name, value in sums.items() if name != "minibatches"}
        variance = explained_variance(e.values, e.returns, e.mask)
        once = {"explained_variance": variance, "updates": float(updates), "early_stop": float(stopped)}
        return {**means, **once, "first_ratio_error": first_ratio_error}

    def _accumulate(self, e: Experience, minibatch: Tensor) -> dict[str, float]:
        """Gradients of one minibatch, micro-batch by micro-batch; the result does not depend on how it is cut."""
        c, learner = self.config, self.learner
        assert e.advantages is not None and e.values is not None and e.returns is not None
        count = distributed.all_sum(e.mask[minibatch].sum()).clamp(min=1)
        sums: dict[str, Tensor] = {}
        learner.optimizer.zero_grad(set_to_none=True)
        for rows in minibatch.split(learner.settings.micro_batch_size or len(minibatch)):
            mask, old = e.mask[rows], e.logprobs[rows]
            out = run_pass(learner.policy, e.rollout, rows, temperature=learner.temperature, values=True)
            assert out.logprobs is not None and out.values is not None and out.entropy is not None
            policy_loss, stats = ppo_policy_loss(out.logprobs, old, e.advantages[rows], mask, c.clip_range, count)
            v_loss = value_loss(out.values, e.returns[rows], mask, count, e.values[rows], c.clip_range_vf)
            entropy = (out.entropy * mask).sum() / count
            loss = policy_loss + c.vf_coef * v_loss
            if c.ent_coef:  # with a weight of 0 its backward pass would be wasted
                loss = loss - c.ent_coef * entropy
            loss.backward()
            stats = {name: value / count for name, value in stats.items()}
            stats |= {"policy_loss": policy_loss, "value_loss": v_loss, "entropy": entropy, "loss": loss}
            for name, value in stats.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
            error = torch.where(mask, (out.logprobs.detach() - old).exp() - 1, 0.0).abs().max()
            sums["ratio_error"] = torch.maximum(sums.get("ratio_error", error), error)
        return dict(zip(sums, torch.stack([v.float() for v in sums.values()]).tolist(), strict=True))

    def _check_first_ratio(self, error: float) -> None:
        policy = self.learner.policy
        if not error <= _RATIO_TOLERANCE[policy.autocast or policy.lm.dtype]:
            raise NonFiniteError(
                f"the first ratio of new to old probabilities differs from 1 by {error:.3g}. "
                "Sampling and training see different policies; run `rl4lms doctor` on this recipe."
            )

    def _optimizer_step(self) -> float:
        settings = self.learner.settings
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, settings.max_grad_norm))
        if not torch.isfinite(torch.tensor(norm)):
            raise NonFiniteError(f"the gradient norm is {norm}; no optimiser step was taken")
        self.learner.optimizer.step()
        return norm
