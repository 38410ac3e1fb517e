"""Trust region policy optimisation (Schulman et al., 2015, arXiv 1502.05477): one step an iteration, along the natural
gradient, as long as the KL from the policy that sampled allows.

The KL is that of the behaviour policies (temperature, truncation and mask included) over the whole vocabulary, averaged
over the completion tokens. The value function is fitted to the returns afterwards, by `optimizer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from rl4lms import distributed
from rl4lms.algorithms.base import ActorCritic
from rl4lms.algorithms.learner import Learner
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import explained_variance
from rl4lms.core.trust_region import add_fisher_product, conjugate_gradient, flat_gradients, longest_step, split_like
from rl4lms.errors import NonFiniteError
from rl4lms.models.anchors import Snapshot, itself
from rl4lms.models.policy import AnchorAt
from rl4lms.plugins.options import Option
from rl4lms.rollout.engine import run_pass
from rl4lms.types import Experience, Pass, Tokens


@dataclass(kw_only=True)
class TRPO(ActorCritic):
    """A natural gradient step within a KL bound, and regressions of the value function."""

    own_step: ClassVar[bool] = True
    second_derivatives: ClassVar[bool] = True

    n_epochs: Annotated[int, Option("passes of the value function's regression", ge=1)] = 10
    minibatch_size: Annotated[int, Option("completions per step of that regression", ge=1)] = 64
    target_kl: Annotated[float, Option("bound of the KL of a step, nats per token; never exceeded", gt=0)] = 0.01
    cg_steps: Annotated[int, Option("conjugate gradient steps; each is a pass and two backward passes", ge=1)] = 10
    cg_damping: Annotated[float, Option("times the identity, added to the Fisher matrix", ge=0)] = 0.1
    fisher_every: Annotated[int, Option("the Fisher matrix is that of every n-th completion", ge=1)] = 1
    line_search_steps: Annotated[int, Option("shorter and shorter steps that are tried", ge=1)] = 10
    line_search_shrink: Annotated[float, Option("how much of a step the next one is", gt=0, lt=1)] = 0.8

    def bind(self, learner: Learner) -> None:
        """Take the weights that are stepped."""
        super().bind(learner)
        groups = learner.optimizer.param_groups
        self._parameters = [p for group in groups if group["name"] == "policy" for p in group["params"]]

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the surrogate, the advantage times the ratio, and the entropy bonus, negated."""
        assert old.advantages is not None
        loss = -((new.behaviour - old.logprobs).exp() * old.advantages).sum() / old.n_tokens
        return self.with_entropy(loss, {}, new, old)

    def update(self, experience: Experience, step: int) -> dict[str, float]:
        """Take the step, then fit the value function."""
        e, learner = experience, self.learner
        rows = e.row_mask.nonzero()[:, 0]
        if len(rows) == 0:
            return {"updates": 0.0}
        stats = learner.policy_gradient(self, e)
        gradient = -flat_gradients(self._parameters)
        if not bool(gradient.isfinite().all()):
            raise NonFiniteError("the gradient is not finite; no step was taken", rows=rows.tolist())
        seen = rows[:: self.fisher_every]
        direction = conjugate_gradient(lambda v: self._fisher_product(e, seen, v), gradient, self.cg_steps)
        length = longest_step(direction, self._fisher_product(e, seen, direction), self.target_kl)
        before, fraction, kl = Snapshot(learner.policy, self._parameters), 1.0, 0.0
        best = self._measured(e, rows, before)[0]
        for tried in range(self.line_search_steps if length > 0 else 0):
            fraction = self.line_search_shrink**tried
            before.restore(split_like(fraction * length * direction, self._parameters))
            gained, kl = self._measured(e, rows, before)
            if math.isfinite(gained) and gained > best and kl <= self.target_kl:
                break
        else:
            before.restore()
            fraction = kl = 0.0
        fitted = learner.fit_values(self, e, step)
        assert e.values is not None and e.returns is not None
        stats |= {"value_loss": fitted["value_loss"], "grad_norm": float(gradient.norm()), "updates": fitted["updates"]}
        stats |= {"step_fraction": fraction, "step_kl": kl, "approx_kl": kl}
        return stats | {"explained_variance": explained_variance(e.values, e.returns, e.mask)}

    def _fisher_product(self, e: Experience, rows: Tensor, v: Tensor) -> Tensor:
        """Multiply the Fisher matrix of some completions, damped, by a vector."""
        learner, anchor = self.learner, itself(self.learner.policy)
        learner.optimizer.zero_grad(set_to_none=True)
        for batch in learner.micro_batches(e, rows):
            with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
                kl = self._pass(e, batch, anchor).kl
                assert kl is not None
                add_fisher_product(kl.sum() / e.mask[rows].sum(), self._parameters, v)
        distributed.sum_gradients(self._parameters)
        return flat_gradients(self._parameters) + self.cg_damping * v

    @torch.no_grad()
    def _measured(self, e: Experience, rows: Tensor, before: Snapshot) -> tuple[float, float]:
        """Return the surrogate of the policy as it is now, and its KL from the one before."""
        found = torch.zeros(2, device=rows.device)
        for batch in self.learner.micro_batches(e, rows):
            out, old, mask = self._pass(e, batch, before, self.needs_entropy), Tokens.of(e, batch, rows), e.mask[batch]
            assert out.logprobs is not None and out.kl is not None
            new = TokenLogprobs(out.logprobs[mask], entropy=None if out.entropy is None else out.entropy[mask])
            found += torch.stack([-self.loss(new, old)[0], out.kl[mask].sum() / old.n_tokens])
        gained, kl = torch.stack(distributed.gather(found.cpu())).sum(0).tolist()
        return gained, kl

    def _pass(self, e: Experience, rows: Tensor, anchor: AnchorAt, entropy: bool = False) -> Pass:
        how: dict[str, Any] = {"temperature": self.learner.temperature, "full": False, "entropy": entropy}
        return run_pass(self.learner.policy, e.rollout, rows, anchor=anchor, **how)
