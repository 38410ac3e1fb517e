"""Drawing tokens as a pure function of counters, so that texts do not depend on batch size, order, world size or
restarts.

A token is drawn by an exponential race: argmax_i p_i / e_i with e_i ~ Exp(1) has distribution p (the Gumbel-max trick,
Maddison et al., 2014). The noise e_i is a hash of (seed, stream, step, draw, position, token id). Unlike an inverse
CDF, the race is not moved by the last-digit differences between batch shapes unless two tokens are almost tied.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

STREAMS = {"train": 0, "evaluation": 1, "data": 2, "update": 3}
_U64 = (1 << 64) - 1
# Noise is made for this many elements at a time: about what stays in a core's cache (twice as fast as in one piece at a
# vocabulary of 50k).
_CHUNK_ELEMENTS = 1 << 18


def _mix64(x: int) -> int:
    """SplitMix64 (Steele et al., 2014) on a Python integer."""
    x = (x + 0x9E3779B97F4A7C15) & _U64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _U64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _U64
    return x ^ (x >> 31)


def derive_key(*counters: int) -> int:
    """Return one 63-bit key from any number of integer counters; different counters give unrelated keys."""
    key = 0
    for counter in counters:
        key = _mix64(key ^ (counter & _U64))
    return key >> 1


def permutation(n: int, *counters: int) -> Tensor:
    """Return a permutation of range(n), int64 (n,), that is a pure function of the counters."""
    generator = torch.Generator().manual_seed(derive_key(*counters))
    return torch.randperm(n, generator=generator)


@lru_cache(maxsize=4)
def _epoch_order(size: int, seed: int, epoch: int) -> list[int]:
    return permutation(size, seed, STREAMS["data"], epoch).tolist()


def prompt_indices(size: int, seed: int, step: int, n: int) -> list[int]:
    """Return indices into a data set of `size` rows for iteration `step`: epochs of seeded permutations, laid end to
    end.

    A pure function of its arguments, so that there is no sampler state to save.
    """
    places = range(step * n, (step + 1) * n)
    return [_epoch_order(size, seed, place // size)[place % size] for place in places]


def _mix32(x: Tensor) -> Tensor:
    """Return a 32-bit integer finaliser (the constants of C. Wellons' lowbias32), in place on int32; shifts are made
    logical by masking.
    """
    x ^= (x >> 16) & 0xFFFF
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= -0x7B935975  # 0x846CA68B as a signed integer
    x ^= (x >> 16) & 0xFFFF
    return x


def draw_keys(seed: int, stream: int, step: int, draws: Tensor) -> Tensor:
    """Return one key per row, int64 (B,), from the draw indices (B,); indices are global over the iteration and over
    ranks.
    """
    base = derive_key(seed, stream, step)
    return torch.tensor([derive_key(base, int(d)) for d in draws.tolist()], dtype=torch.int64, device=draws.device)


def exponential_noise(keys: Tensor, position: int, vocab_size: int) -> Tensor:
    """Exponential variates for every row and token, float32 (B, V), from keys (B,) and the token's position in the
    completion.

    The smallest values are resolved to 2^-31, so tokens of probability above about 1e-9 are drawn with their own
    probability.
    """
    device = keys.device
    halves = torch.stack([keys & 0x7FFFFFFF, keys >> 31]).to(torch.int32)
    row = _mix32(halves[0] + (position + 1) * 0x3C6EF35F % 0x7FFFFFFF) ^ halves[1]
    token = _mix32(torch.arange(vocab_size, dtype=torch.int32, device=device) * 0x61C88647)
    bits = _mix32(row[:, None] ^ token[None, :])
    uniform = (bits & 0x7FFFFFFF).to(torch.float32).add_(0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_()


def draw(logits: Tensor, keys: Tensor, position: int) -> Tensor:
    """Draw one token per row from softmax(logits): argmax_i of (logits_i - max logits) - log e_i.

    The largest logit is taken off first, exactly for those near it: to logits of 1e6 float32 would add the noise in
    steps of 0.06, and equal sums would all go to the first token.

    Args:
        logits: float32 (B, V); `token_masks.LOG_ZERO` and -inf are never drawn where another token can be.
        keys: (B,) from `draw_keys`.
        position: of the token in its completion.

    Returns:
        int64 (B,).
    """
    vocab_size = logits.shape[-1]
    rows = max(1, _CHUNK_ELEMENTS // vocab_size)
    drawn = []
    for start in range(0, len(keys), rows):
        noise = exponential_noise(keys[start : start + rows], position, vocab_size)
        z = logits[start : start + rows]
        drawn.append((z - z.amax(-1, keepdim=True)).sub_(noise.log_()).argmax(-1))
    return torch.cat(drawn)
