"""Sets of tokens a policy may choose: built, packed eight to a byte, unpacked.

A `token_mask` is boolean with the vocabulary last; True means the token may be drawn. Truncation never leaves it empty.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = 8
# Added to a logit, it makes the probability 0. Finite: -inf times 0 would be NaN, and its exponential takes ten times as long.
LOG_ZERO = -1e30
_GATHER = 0x0102040810204080
# Of the histogram that nuclei are found with: 32 factors of two below the most probable token.
_BUCKETS = 4096


_FLAGS = ((torch.arange(256)[:, None] >> torch.arange(_BITS)) & 1).to(torch.bool)
_PENALTIES = torch.where(_FLAGS, 0.0, LOG_ZERO)


def pack(mask: Tensor) -> Tensor:
    """Packs a boolean mask (..., V) into uint8 (..., ceil(V / 8)); bit i of byte j is token 8 j + i."""
    padded = torch.nn.functional.pad(mask, (0, -mask.shape[-1] % _BITS)).contiguous()
    eight = padded.view(torch.int64)  # eight flags at a time, one per byte
    # The multiplication moves flag i to bit 56 + i; no two of the products meet.
    return ((eight * _GATHER) >> 56).to(torch.uint8)


def unpack(packed: Tensor, vocab_size: int) -> Tensor:
    """Inverse of `pack`: uint8 (..., ceil(V / 8)) to bool (..., V)."""
    return _look_up(packed, vocab_size, _FLAGS)


def penalty(packed: Tensor, vocab_size: int) -> Tensor:
    """What a packed mask (..., ceil(V / 8)) adds to logits: float32 (..., V), 0 for its tokens and `LOG_ZERO` for the others."""
    return _look_up(packed, vocab_size, _PENALTIES)


def _look_up(packed: Tensor, vocab_size: int, table: Tensor) -> Tensor:
    """Eight tokens at a time: the row of `table` (256, 8) that belongs to each byte."""
    rows = table.to(packed.device).index_select(0, packed.flatten().to(torch.int64))
    return rows.view(*packed.shape[:-1], -1)[..., :vocab_size]


def size(packed: Tensor) -> Tensor:
    """Number of tokens in each packed mask (..., ceil(V / 8)); int64 (...)."""
    return torch.stack([(packed >> i) & 1 for i in range(_BITS)]).sum(0, dtype=torch.int64).sum(-1)


def allow_all(logits: Tensor) -> Tensor:
    """The mask that allows every token, of the shape of `logits`."""
    return torch.ones_like(logits, dtype=torch.bool)


def top_p_mask(logits: Tensor, top_p: float, min_tokens_to_keep: int = 1, allowed: Tensor | None = None) -> Tensor:
    """The smallest set of most probable tokens that holds probability >= `top_p` (Holtzman et al., 2020).

    NLPO's V_p(s) is this set under the masking policy (Ramamurthy et al., 2023, section 4). The most probable token always belongs to it.
    Ties are broken by the order of a descending sort.

    Args:
        logits: (N, V) unnormalised.
        top_p: in (0, 1]; from 1 on every allowed token is kept, set explicitly rather than by a cumulative sum that rounding could cut.
        min_tokens_to_keep: at least this many tokens are kept, where that many are allowed.
        allowed: (N, V) bool; tokens outside have probability 0 and are never kept. Default: all.

    Returns:
        (N, V) bool.

    Raises:
        ValueError: `top_p` is not positive.
    """
    if top_p <= 0:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    if top_p >= 1:
        return allow_all(logits) if allowed is None else allowed.clone()
    probs = (logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)).float().softmax(-1)
    # A histogram finds the one bucket in which the mass passes top_p; its few tokens are sorted, the vocabulary never is. The upper bits
    # of a positive float order it, 128 buckets to a factor of two.
    bits = probs.view(torch.int32)
    bucket = ((bits.amax(-1, keepdim=True) - bits) >> 16).clamp_(max=_BUCKETS - 1).to(torch.int64)
    mass = torch.zeros(len(probs), _BUCKETS, device=probs.device).scatter_add_(1, bucket, probs)
    cumulative = mass.cumsum(-1)
    edge = (cumulative < top_p).sum(-1, keepdim=True).clamp_(max=_BUCKETS - 1)
    keep = bucket < edge
    _keep_within(keep, bucket == edge, probs, (cumulative - mass).gather(1, edge), top_p)
    if min_tokens_to_keep > 1:
        keep.scatter_(-1, probs.topk(min(min_tokens_to_keep, probs.shape[-1]), dim=-1).indices, True)
    return keep if allowed is None else keep & allowed


def _keep_within(keep: Tensor, candidates: Tensor, probs: Tensor, before: Tensor, top_p: float) -> None:
    """Adds to `keep` the most probable of the candidates, all (N, V), until the mass, `before` (N, 1) to begin with, reaches `top_p`."""
    row, token = candidates.nonzero(as_tuple=True)
    count = torch.bincount(row, minlength=len(probs))
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    p = probs.new_full((len(probs), int(count.max())), -1.0)
    tokens = torch.zeros(p.shape, dtype=torch.int64, device=row.device)
    p[row, place], tokens[row, place] = probs[row, token], token
    p, order = p.sort(dim=-1, descending=True, stable=True)
    inside = (before + p.cumsum(-1) - p < top_p) & (p >= 0)
    row, place = inside.nonzero(as_tuple=True)
    keep[row, tokens.gather(1, order)[row, place]] = True


def top_k_mask(logits: Tensor, top_k: int, allowed: Tensor | None = None) -> Tensor:
    """The `top_k` most probable of the allowed tokens (all of them if fewer); `logits` (N, V), result (N, V) bool."""
    if allowed is None:
        allowed = allow_all(logits)
    index = logits.masked_fill(~allowed, -torch.inf).topk(min(top_k, logits.shape[-1]), dim=-1).indices
    return torch.zeros_like(allowed).scatter(-1, index, True) & allowed
