"""From an experience to new weights: minibatches, passes, accumulation, checks, clipping, the optimiser step; once for
all algorithms.

With several processes each holds the same experience and takes its share of every minibatch; gradients and statistics
are summed, so that every process decides alike and ends with the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from rl4lms import distributed
from rl4lms.algorithms.checks import check_advantages, checked
from rl4lms.algorithms.optimizer import Schedule, build_optimizer
from rl4lms.config.algorithms import OptimizerConfig
from rl4lms.core.advantages import last_values, masked_mean
from rl4lms.core.kl import k3
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import explained_variance
from rl4lms.core.sampling import STREAMS, permutation
from rl4lms.errors import ConfigError, NonFiniteError
from rl4lms.models.policy import Policy
from rl4lms.rollout.engine import groups, run_pass
from rl4lms.types import Experience, Rollout, Tokens


class Objective(Protocol):
    """What the learner asks of an algorithm; see `algorithms.base.Algorithm`."""

    n_epochs: int
    minibatch_size: int
    needs_value: ClassVar[bool]
    whole_sequences: ClassVar[bool]

    @property
    def target_kl(self) -> float | None: ...
    @property
    def needs_entropy(self) -> bool: ...
    @property
    def needs_full_logprobs(self) -> bool: ...
    @property
    def needs_exact_kl(self) -> bool: ...
    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]: ...
    def value_loss(self, values: Tensor, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]: ...


class Learner:
    """Trains a policy in place.

    Args:
        policy: with its value function, where the algorithm has one.
        config: optimiser, clipping, micro-batches, learning rates.
        iterations: of the run, for schedules.
        temperature: of the behaviour policy.
        seed: of the minibatch order.
        ref_policy: the reference, for losses with the KL from it over the vocabulary.
    """

    def __init__(
        self,
        policy: Policy,
        config: OptimizerConfig,
        *,
        iterations: int = 1,
        temperature: float = 1.0,
        seed: int = 0,
        ref_policy: Policy | None = None,
    ) -> None:
        self.policy, self.config, self.temperature, self.seed = policy, config, temperature, seed
        self.ref_policy = ref_policy
        self.optimizer = build_optimizer(policy, config)
        self.schedule = Schedule(self.optimizer, config, iterations)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        distributed.same_weights(policy)

    @torch.no_grad()
    def started_values(self, experience: Experience) -> Tensor:
        """Return the values (B, T); a value function that is still the zero it begins as starts where nothing is a
        surprise on average.

        That is the mean reward of the last tokens: for one reward per completion the mean return. From zero, the first
        advantages would be the returns, and of a constant reward later tokens would get more than earlier ones (lambda
        < 1): a reward that says nothing would shorten texts or lengthen them. The mean of the returns of all tokens
        would do the same to a reward per token, by its last ones.
        """
        e, head = experience, self.policy.value_head
        assert e.values is not None and head is not None
        if not any(bool(parameter.any()) for parameter in head.parameters()):
            head.linear.bias.fill_(masked_mean(last_values(e.rewards, e.mask), e.mask.any(-1)))
            e.values = head.linear.bias * e.mask
        return e.values

    def update(self, objective: Objective, experience: Experience, step: int) -> dict[str, float]:
        """Run `n_epochs` over shuffled minibatches of completions; return statistics, each averaged over the
        minibatches that have it.

        Raises:
            NonFiniteError: a loss or gradient is not finite, or the first log-probs are not those of the rollout's
                pass. No step was taken.
        """
        rows = experience.row_mask.nonzero()[:, 0]
        if len(rows) == 0:
            return {"updates": 0.0}
        check_advantages(objective, experience)
        found: dict[str, list[float]] = {}
        updates, stopped, first_ratio_error = 0, False, 0.0
        for minibatch in self._minibatches(objective, experience.rollout, rows, step):
            stats, ratio_error = self.accumulate(objective, experience, minibatch)
            mean_ratio_error = stats.pop("ratio_error")
            if updates == 0:
                first_ratio_error = ratio_error
                self._check_first_ratio(mean_ratio_error, ratio_error)
            stopped = objective.target_kl is not None and stats["approx_kl"] > 1.5 * objective.target_kl
            if not stopped:
                stats["grad_norm"] = self._optimizer_step(stats["loss"], minibatch)
                updates += 1
            for name, value in stats.items():
                found.setdefault(name, []).append(value)
            if stopped:
                break
        self.optimizer.zero_grad(set_to_none=True)
        means = {name: sum(values) / len(values) for name, values in found.items()}
        if experience.values is not None and experience.returns is not None:
            means["explained_variance"] = explained_variance(experience.values, experience.returns, experience.mask)
        return means | {"updates": float(updates), "early_stop": float(stopped), "first_ratio_error": first_ratio_error}

    def _minibatches(self, objective: Objective, rollout: Rollout, rows: Tensor, step: int) -> Iterator[Tensor]:
        """Return rows (m,) of each optimiser step; a last one of a single row joins the one before.

        Completions of one prompt are in one minibatch where they fit, so that a pass sees their prompt once.
        """
        size, n = objective.minibatch_size, rollout.together(rows)
        n = n if size % n == 0 else 1
        for epoch in range(objective.n_epochs):
            order = permutation(len(rows) // n, self.seed, STREAMS["update"], step, epoch).to(rows.device)
            pieces = list(rows.view(-1, n)[order].flatten().split(size))
            if size > 1 and len(pieces) > 1 and len(pieces[-1]) == 1:
                pieces[-2:] = [torch.cat(pieces[-2:])]
            yield from pieces

    def fit_values(self, objective: Objective, experience: Experience, step: int) -> dict[str, float]:
        """Train the value function alone, `n_epochs` over shuffled minibatches of completions; it must have weights of
        its own. Returns averages of the statistics, and how many steps there were.

        Raises:
            NonFiniteError: as in `update`.
        """
        found: list[dict[str, float]] = []
        for minibatch in self._minibatches(objective, experience.rollout, experience.row_mask.nonzero()[:, 0], step):
            found.append(self.accumulate(objective, experience, minibatch, policy=False)[0])
            found[-1]["grad_norm"] = self._optimizer_step(found[-1]["loss"], minibatch)
        self.optimizer.zero_grad(set_to_none=True)
        means = {name: sum(stats[name] for stats in found) / len(found) for name in found[0]}
        return means | {"updates": float(len(found))}

    def policy_gradient(self, objective: Objective, experience: Experience) -> dict[str, float]:
        """Leave the gradient of the loss over the whole iteration in the parameters, and take no step; return
        statistics.

        Raises:
            NonFiniteError: as in `update`.
        """
        check_advantages(objective, experience)
        rows = experience.row_mask.nonzero()[:, 0]
        stats, ratio_error = self.accumulate(objective, experience, rows, values=False)
        self._check_first_ratio(stats.pop("ratio_error"), ratio_error)
        return stats | {"first_ratio_error": ratio_error}

    def micro_batches(self, e: Experience, rows: Tensor) -> list[Tensor]:
        """Divide this process's share of some rows into what one pass holds, rows of similar length together."""
        share = distributed.share_of(rows.view(-1, e.rollout.together(rows))).flatten()
        return groups(e.rollout, share, self.config.micro_batch_size or len(share))

    def accumulate(
        self, objective: Objective, e: Experience, minibatch: Tensor, *, policy: bool = True, values: bool = True
    ) -> tuple[dict[str, float], float]:
        """Add up the gradients of one minibatch, in micro-batches of similar length; the result does not depend on how
        it is cut. `policy` and `values` say of which of the two losses, where there are both.

        Returns:
            Statistics, and the largest difference of a ratio of new to old probabilities from 1.
        """
        self.optimizer.zero_grad(set_to_none=True)
        sums, values = _Sums(self.policy.device), values and objective.needs_value
        wanted = [{"logprobs": policy, "values": values}]
        if policy and values and not self.policy.shares_trunk:  # two models, one after the other
            wanted = [{"logprobs": True, "values": False}, {"logprobs": False, "values": True}]
        for outputs in wanted:
            for rows in self.micro_batches(e, minibatch):
                self._pass(objective, e, rows, minibatch, sums, **outputs).backward()
        distributed.sum_gradients(self.parameters)
        return sums.over_processes()

    def _pass(
        self, objective: Objective, e: Experience, rows: Tensor, minibatch: Tensor, sums: _Sums, **outputs: bool
    ) -> Tensor:
        """Run the model over some rows; return the loss of its `logprobs`, its `values`, or both."""
        old = Tokens.of(e, rows, minibatch)

        def loss(new: TokenLogprobs, piece: slice) -> Tensor:
            part = old.part(piece)
            value, stats = checked("loss", objective, objective.loss(new, part))
            log_ratio = new.behaviour.detach() - part.logprobs
            # The tokens were drawn from the old policy, so the estimate is of KL(old || new).
            error = log_ratio.exp().sub(1).abs()
            own = {"approx_kl": k3(-log_ratio).sum() / part.n_tokens, "ratio_error": error.sum() / part.n_tokens}
            sums.add({**own, **stats, "loss": value})
            sums.largest(error)
            return value

        wanted: dict[str, Any] = {"full": objective.needs_full_logprobs, "entropy": objective.needs_entropy}
        wanted |= {"whole": objective.whole_sequences, **outputs}
        if objective.needs_exact_kl:
            assert self.ref_policy is not None
            wanted["anchor"] = self.ref_policy.as_anchor
        out = run_pass(self.policy, e.rollout, rows, temperature=self.temperature, loss=loss, **wanted)
        losses = [] if out.loss is None else [out.loss]
        if out.values is not None:
            value, stats = checked("value_loss", objective, objective.value_loss(out.values[e.mask[rows]], old))
            sums.add({**stats, "loss": value})
            losses.append(value)
        return torch.stack(losses).sum()

    def _check_first_ratio(self, mean: float, largest: float) -> None:
        if off := self.policy.disagreement(mean, largest):
            reason = "sampling and training differ; run `rl4lms doctor`"
            reason = "weights or log-probs are not finite" if math.isnan(mean) else reason
            raise NonFiniteError(f"the first ratio of new to old probabilities differs from 1 by {off}: {reason}")

    def _optimizer_step(self, loss: float, minibatch: Tensor) -> float:
        norm = float(get_total_norm(p.grad for p in self.parameters if p.grad is not None))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            message = f"the loss is {loss} and the gradient norm {norm}; no optimiser step was taken"
            raise NonFiniteError(message, rows=minibatch.tolist())
        if norm > self.config.max_grad_norm:
            clip_grads_with_norm_(self.parameters, self.config.max_grad_norm, torch.tensor(norm))
        self.optimizer.step()
        return norm


class _Sums:
    """Statistics of one minibatch, added up over its passes and processes."""

    def __init__(self, device: torch.device) -> None:
        self._values: dict[str, Tensor] = {}
        self._largest = torch.zeros((), device=device)

    def add(self, stats: Mapping[str, Any]) -> None:
        for name, value in stats.items():
            value = torch.as_tensor(value, dtype=torch.float32, device=self._largest.device).detach()
            self._values[name] = self._values[name] + value if name in self._values else value

    def largest(self, values: Tensor) -> None:
        if len(values):
            self._largest = torch.stack([self._largest, values.max()]).max()  # keeps a NaN

    def over_processes(self) -> tuple[dict[str, float], float]:
        names = list(self._values)
        numbers = torch.stack([self._largest, *(self._values[name] for name in names)]).tolist()
        found = distributed.gather({"largest": numbers[0], "sums": dict(zip(names, numbers[1:], strict=True))})
        parts = [process["sums"] for process in found if process["sums"]]  # one without rows has none
        if any(set(part) != set(parts[0]) for part in parts):
            raise ConfigError(f"the statistics of a loss differ between processes; here: {', '.join(sorted(names))}")
        largest = torch.tensor([process["largest"] for process in found]).max()  # keeps a NaN
        return {name: sum(part[name] for part in parts) for name in parts[0]}, float(largest)
