"""What the KL of a policy in closed form is taken from: the policy itself, as it was, or another one.

Each is given to `Policy.forward` as `anchor`. `Policy.as_anchor` of another policy is the third.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from rl4lms.core.logprobs import Anchor
from rl4lms.models.policy import AnchorAt, Policy


def itself(policy: Policy) -> AnchorAt:
    """Take the KL of a behaviour policy from itself as a constant: it is 0, its gradient too, and its second derivative
    is the Fisher information.
    """
    return lambda batch, hidden: Anchor(policy._head, hidden.detach(), behaviour=True)


class Snapshot:
    """The behaviour policy as it was when this was made, at the price of its trained weights.

    Args:
        policy: the policy.
        parameters: those that may change; the weights of the rest are its own.
    """

    def __init__(self, policy: Policy, parameters: Sequence[nn.Parameter]) -> None:
        self.policy, self.parameters = policy, parameters
        self.weights = [p.detach().clone() for p in parameters]

    def __call__(self, batch: tuple[Tensor, ...], hidden: Tensor) -> Anchor:
        """Return the old policy at a batch; see `Policy.forward`."""
        with torch.no_grad(), self._back():
            return Anchor(self._head, self.policy.family.hidden(*batch), behaviour=True)

    def restore(self, plus: Sequence[Tensor] | None = None) -> None:
        """Make the policy what it was, or move its parameters away from there by the given amounts."""
        with torch.no_grad():
            for i, (p, weight) in enumerate(zip(self.parameters, self.weights, strict=True)):
                p.copy_(weight if plus is None else weight + plus[i])

    def _head(self, hidden: Tensor) -> Tensor:
        with self._back():
            return self.policy.family.head(hidden)

    @contextlib.contextmanager
    def _back(self) -> Iterator[None]:
        """Run with the old weights, which are handed over, not copied."""
        now = [p.data for p in self.parameters]
        dtype = self.policy.autocast
        # autocast keeps weights that it has cast, and would give those of now for the old ones
        uncached = torch.autocast(self.policy.device.type, dtype=dtype, enabled=dtype is not None, cache_enabled=False)
        try:
            for p, weight in zip(self.parameters, self.weights, strict=True):
                p.data = weight
            with self.policy.running(), uncached:
                yield
        finally:
            for p, weight in zip(self.parameters, now, strict=True):
                p.data = weight
