"""Log-probabilities of chosen tokens, without ever keeping a tensor over the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rl4lms.core import token_masks

# Logits of at most this many elements exist at a time: 64 MiB in float32.
CHUNK_ELEMENTS = 1 << 24


@dataclass(slots=True)
class TokenLogprobs:
    """What one pass over N tokens yields, each float32 (N,).

    Attributes:
        behaviour: log-prob of the token under the behaviour policy (temperature, and renormalised over its token mask).
        full: log-prob under the full softmax at temperature 1.
        entropy: of the behaviour policy, in nats.
        kept_mass: probability that the tempered full softmax gives to the token mask; 1 without a mask.
    """

    behaviour: Tensor
    full: Tensor
    entropy: Tensor
    kept_mass: Tensor


def token_logprobs(logits: Tensor, token_ids: Tensor, temperature: float = 1.0, allowed: Tensor | None = None) -> TokenLogprobs:
    """Log-probs of `token_ids` (N,) under `logits` (N, V).

    With z = logits / temperature and A the allowed tokens, the behaviour policy is
    log pi~(a) = z_a - log sum_{b in A} exp z_b for a in A and -inf outside (NLPO, Ramamurthy et al., 2023, equation of the masked policy).

    Args:
        logits: (N, V), any float type; computed in float32.
        token_ids: (N,) int64.
        temperature: positive.
        allowed: (N, V) bool or None for the whole vocabulary.
    """
    logits = logits.float()
    chosen = logits.gather(-1, token_ids[:, None])[:, 0]
    log_z = logits.logsumexp(-1)
    full = chosen - log_z
    if temperature == 1 and allowed is None:
        return TokenLogprobs(full, full, _entropy(logits, log_z, None), torch.ones_like(full))
    # The same operations in the same order as above: with an all-ones mask even the gradients agree to the last bit.
    tempered = logits / temperature if temperature != 1 else logits
    masked = tempered if allowed is None else tempered.masked_fill(~allowed, -torch.inf)
    chosen = masked.gather(-1, token_ids[:, None])[:, 0]
    log_z = masked.logsumexp(-1)
    behaviour = chosen - log_z
    entropy = _entropy(masked, log_z, allowed)
    kept = torch.ones_like(full) if allowed is None else (log_z - tempered.logsumexp(-1)).exp()
    return TokenLogprobs(behaviour, full, entropy, kept)


def _entropy(logits: Tensor, log_z: Tensor, allowed: Tensor | None) -> Tensor:
    """Entropy (N,) of softmax(logits): log Z - sum of p * logit over what is allowed (0 * -inf would be NaN elsewhere)."""
    probs = (logits - log_z[:, None]).exp()
    return log_z - (probs * (logits if allowed is None else logits.masked_fill(~allowed, 0.0))).sum(-1)


def chunked_token_logprobs(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    token_ids: Tensor,
    vocab_size: int,
    temperature: float = 1.0,
    packed_mask: Tensor | None = None,
) -> TokenLogprobs:
    """`token_logprobs` of a head applied to hidden states, chunk by chunk.

    When gradients are on and there are several chunks, their logits are recomputed in the backward pass: memory holds one at a time.

    Args:
        head: maps (n, d) to logits (n, V).
        hidden: (N, d).
        token_ids: (N,).
        vocab_size: V, to size the chunks.
        temperature: positive.
        packed_mask: (N, ceil(V / 8)) uint8 or None.
    """
    rows = max(1, CHUNK_ELEMENTS // vocab_size)

    def run(h: Tensor, ids: Tensor, packed: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        logits = head(h)
        allowed = None if packed is None else token_masks.unpack(packed, logits.shape[-1])
        out = token_logprobs(logits, ids, temperature, allowed)
        return out.behaviour, out.full, out.entropy, out.kept_mass

    parts, recompute = [], torch.is_grad_enabled() and len(token_ids) > rows
    for start in range(0, max(len(token_ids), 1), rows):
        piece = slice(start, start + rows)
        packed = None if packed_mask is None else packed_mask[piece]
        args = (hidden[piece], token_ids[piece], packed)
        parts.append(checkpoint(run, *args, use_reentrant=False) if recompute else run(*args))
    return TokenLogprobs(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
