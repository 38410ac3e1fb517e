"""A few tokens on which two ways of having the same model are compared."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from rl4lms.core.padding import pad
from rl4lms.models.loading import position_windows
from rl4lms.models.policy import Policy
from rl4lms.models.precision import in_float32

# Nats, in float32. Adapters and merged weights, two devices or two kernels differ by less; two models by more.
LARGEST_ROUNDING = 1e-3
_PROMPTS, _COMPLETION = (11, 4), 8


def probe_batch(policy: Policy) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return two rows as `Policy.forward` takes them: tokens from all over the vocabulary, prompts of two lengths."""
    vocab_size = min(policy.tokens.vocab_size, policy.lm.get_input_embeddings().weight.shape[0])
    windows = [window for window in position_windows(policy.lm) if window is not None]
    # Primes make the steps, so that no two of the few ids are equal in vocabularies of usual sizes.
    ids = [[(7919 * (31 * row + i + 1)) % vocab_size for i in range(n + _COMPLETION)] for row, n in enumerate(_PROMPTS)]
    room = min([*windows, _PROMPTS[0] + _COMPLETION]) - _COMPLETION
    prompts = [row[: max(1, min(n, room))] for row, n in zip(ids, _PROMPTS, strict=True)]
    completions = torch.tensor([row[-max(1, min(_COMPLETION, room + _COMPLETION - 1)) :] for row in ids])
    batch = (*pad(prompts, policy.tokens.pad, policy.family.padding_side), completions, completions >= 0)
    return tuple(x.to(policy.device) for x in batch)  # type: ignore[return-value]


@torch.no_grad()
def probe_logprobs(policy: Policy) -> Tensor:
    """Return the full log-probs (2, T) of the probe's completions, computed in float32 whatever the precision of the
    policy.
    """
    with exactly(policy):
        out = policy(*probe_batch(policy), entropy=False).full_logprobs
    assert out is not None
    return out


@contextlib.contextmanager
def exactly(policy: Policy) -> Iterator[None]:
    """Compute in float32 and without autocast for a while."""
    autocast = policy.autocast
    try:
        policy.autocast = None
        with in_float32(policy.lm):
            yield
    finally:
        policy.autocast = autocast
