"""Sets of tokens a policy may choose: built, packed eight to a byte, unpacked.

A `token_mask` is boolean with the vocabulary last; True means the token may be drawn. Truncation never leaves it empty.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BITS = 8
# Added to a logit, it makes the probability 0. Finite: -inf times 0 would be NaN, and its exponential takes ten times
# as long.
LOG_ZERO = -1e30
_GATHER = 0x0102040810204080
# Of the histogram that nuclei are found with, a power of two: 22 nats below the most probable token.
_BUCKETS, _BUCKETS_PER_NAT = 4096, 185.0
# Its exponential, 1e-304, adds nothing to that of the most probable token; those that are 0 take many times as long.
_LEAST = -700.0
# Nuclei are found for this many elements at a time: what stays in a core's cache, or what another device holds at once.
_CHUNK_ELEMENTS, _MOST_ELEMENTS = {"cpu": 1 << 18}, 1 << 22

_FLAGS = ((torch.arange(256)[:, None] >> torch.arange(_BITS)) & 1).to(torch.bool)
_PENALTIES = torch.where(_FLAGS, 0.0, LOG_ZERO)


def pack(mask: Tensor) -> Tensor:
    """Pack a boolean mask (..., V) into uint8 (..., ceil(V / 8)); bit i of byte j is token 8 j + i."""
    padded = torch.nn.functional.pad(mask, (0, -mask.shape[-1] % _BITS)).contiguous()
    eight = padded.view(torch.int64)  # eight flags at a time, one per byte
    # The multiplication moves flag i to bit 56 + i; no two of the products meet.
    return ((eight * _GATHER) >> 56).to(torch.uint8)


def unpack(packed: Tensor, vocab_size: int) -> Tensor:
    """Inverse of `pack`: uint8 (..., ceil(V / 8)) to bool (..., V)."""
    return _look_up(packed, vocab_size, _FLAGS)


def penalty(packed: Tensor, vocab_size: int) -> Tensor:
    """Return what a packed mask (..., ceil(V / 8)) adds to logits: float32 (..., V), 0 for its tokens and `LOG_ZERO`
    for the others.
    """
    return _look_up(packed, vocab_size, _PENALTIES)


def _look_up(packed: Tensor, vocab_size: int, table: Tensor) -> Tensor:
    """Eight tokens at a time: the row of `table` (256, 8) that belongs to each byte."""
    rows = table.to(packed.device).index_select(0, packed.flatten().to(torch.int64))
    return rows.view(*packed.shape[:-1], packed.shape[-1] * _BITS)[..., :vocab_size]


def size(packed: Tensor) -> Tensor:
    """Return number of tokens in each packed mask (..., ceil(V / 8)); int64 (...)."""
    return torch.stack([(packed >> i) & 1 for i in range(_BITS)]).sum(0, dtype=torch.int64).sum(-1)


def allow_all(logits: Tensor) -> Tensor:
    """Return the mask that allows every token, of the shape of `logits`."""
    return torch.ones_like(logits, dtype=torch.bool)


def top_p_mask(logits: Tensor, top_p: float, min_tokens_to_keep: int = 1, allowed: Tensor | None = None) -> Tensor:
    """Find the smallest set of most probable tokens that holds probability >= `top_p` (Holtzman et al., 2020).

    NLPO's V_p(s) is this set under the masking policy (Ramamurthy et al., 2023, section 4). Tokens are ranked by their
    float32 logits, which do not underflow as probabilities do; equal ones keep the order of the vocabulary.
    Probabilities are added up in float64 (float32 on MPS): in float32 a flat nucleus of 100,000 tokens may be one or
    two short.

    Args:
        logits: (N, V) unnormalised; `LOG_ZERO` and -inf have probability 0.
        top_p: in (0, 1]; from 1 on every allowed token is kept, set explicitly, not by a sum that rounding may cut.
        min_tokens_to_keep: at least this many tokens are kept, or all that are allowed if those are fewer.
        allowed: (N, V) bool; tokens outside have probability 0 and are never kept. Default: all.

    Returns:
        (N, V) bool. The most probable allowed token is always in it; where logits are NaN it is not defined, but holds
        an allowed token.

    Raises:
        ValueError: `top_p` is not positive.
    """
    if not top_p > 0:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    if top_p >= 1:
        return allow_all(logits) if allowed is None else allowed.clone()
    keep = torch.empty(logits.shape, dtype=torch.bool, device=logits.device)
    rows = max(1, _CHUNK_ELEMENTS.get(logits.device.type, _MOST_ELEMENTS) // logits.shape[-1])
    for start in range(0, len(logits), rows):
        part = slice(start, start + rows)
        keep[part] = _nucleus(logits[part], top_p, min_tokens_to_keep, None if allowed is None else allowed[part])
    return keep


def _nucleus(logits: Tensor, top_p: float, min_tokens_to_keep: int, allowed: Tensor | None) -> Tensor:
    """Find the nuclei of some rows, as `top_p_mask` does.

    A histogram over the distance to the largest logit finds the one bucket in which the mass passes `top_p`; its few
    tokens are sorted, the vocabulary never is.
    """
    z = logits.float()
    if allowed is not None:
        z = torch.where(allowed, z, -torch.inf)
    top = z.amax(-1, keepdim=True)
    # NaN becomes the most negative integer, or 0: the bits that are left of either are those of bucket 0.
    bucket = (top - z).mul_(_BUCKETS_PER_NAT).clamp_(max=_BUCKETS - 1).to(torch.int32).bitwise_and_(_BUCKETS - 1)
    kind = torch.float32 if z.device.type == "mps" else torch.float64  # MPS has no float64
    mass = z.to(kind, copy=True).sub_(top).clamp_(min=_LEAST).exp_()
    held = torch.zeros(len(z), _BUCKETS, dtype=kind, device=z.device).scatter_add_(1, bucket.to(torch.int64), mass)
    cumulative = held.cumsum(-1)
    enough = top_p * cumulative[:, -1:]
    edge = (cumulative < enough).sum(-1, keepdim=True).clamp_(max=_BUCKETS - 1)
    # 1 above the edge, 0 in it, -1 below: made into flags, bytes take a third of the time of two comparisons.
    side = (edge.to(torch.int32) - bucket).clamp_(-1, 1).to(torch.int8)
    keep = side.clamp(min=0).to(torch.bool)
    _keep_within(keep, ~side.to(torch.bool), z, mass, (cumulative - held).gather(1, edge), enough)
    if allowed is not None:
        keep &= allowed
    least = max(1, min_tokens_to_keep)
    short = (keep.sum(-1, dtype=torch.int32) < least).nonzero()[:, 0]
    if len(short):
        keep[short] = top_k_mask(z[short], least, None if allowed is None else allowed[short])
    return keep


def _keep_within(keep: Tensor, candidates: Tensor, z: Tensor, mass: Tensor, before: Tensor, enough: Tensor) -> None:
    """Add to `keep` those candidates of largest logit that are needed for enough mass.

    Args:
        keep, candidates: (N, V) bool; the former is changed.
        z, mass: (N, V) logits and unnormalised probabilities.
        before, enough: (N, 1) mass that is kept already, and that is wanted.
    """
    row, token = _true(candidates)
    count = torch.bincount(row, minlength=len(z))
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    ranked = z.new_full((len(z), int(count.max())), -torch.inf)  # what pads a row comes last in it: the sort is stable
    tokens = torch.zeros(ranked.shape, dtype=torch.int64, device=row.device)
    ranked[row, place], tokens[row, place] = z[row, token], token
    tokens = tokens.gather(1, ranked.sort(dim=-1, descending=True, stable=True).indices)
    reached = torch.cat([before, before + mass.gather(1, tokens).cumsum(-1)[:, :-1]], dim=1)
    inside = (reached < enough) & (torch.arange(tokens.shape[1], device=row.device) < count[:, None])
    row, place = inside.nonzero(as_tuple=True)
    keep[row, tokens[row, place]] = True


def _true(flags: Tensor) -> tuple[Tensor, Tensor]:
    """Find rows and columns of the True entries of (N, V), in order; fast where they are few, by eights."""
    eight = torch.nn.functional.pad(flags.flatten(), (0, -flags.numel() % 8)).view(-1, 8)
    group = eight.view(torch.int64).nonzero()[:, 0]
    within = eight[group].nonzero()
    place = 8 * group[within[:, 0]] + within[:, 1]
    return place // flags.shape[1], place % flags.shape[1]


def min_p_mask(logits: Tensor, min_p: float, min_tokens_to_keep: int = 1, allowed: Tensor | None = None) -> Tensor:
    """Find the tokens that are at least `min_p` times as probable as the most probable allowed one (Nguyen et al.,
    2024, arXiv 2407.01082).

    Args:
        logits: (N, V) unnormalised.
        min_p: in (0, 1].
        min_tokens_to_keep, allowed: as for `top_p_mask`.

    Returns:
        (N, V) bool.

    Raises:
        ValueError: `min_p` is not in (0, 1].
    """
    if not 0 < min_p <= 1:
        raise ValueError(f"min_p must be in (0, 1], got {min_p}")
    z = logits.float()
    z = z if allowed is None else z.masked_fill(~allowed, -torch.inf)
    keep = z >= z.amax(-1, keepdim=True) + math.log(min_p)
    # where nothing allowed is above -inf, everything is equal to it
    keep = keep if allowed is None else keep & allowed
    short = (keep.sum(-1, dtype=torch.int32) < max(1, min_tokens_to_keep)).nonzero()[:, 0]
    if len(short):
        keep[short] = top_k_mask(z[short], max(1, min_tokens_to_keep), None if allowed is None else allowed[short])
    return keep


def top_k_mask(logits: Tensor, top_k: int, allowed: Tensor | None = None) -> Tensor:
    """Find the `top_k` most probable of the allowed tokens, or all of them if they are fewer.

    Equal logits keep the order of the vocabulary; an allowed token is taken before a banned one, even at -inf.

    Args:
        logits: (N, V) unnormalised.
        top_k: from 1 on.
        allowed: (N, V) bool. Default: all.

    Returns:
        (N, V) bool.

    Raises:
        ValueError: `top_k` is not positive.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be 1 or more, got {top_k}")
    if top_k >= logits.shape[-1]:
        return allow_all(logits) if allowed is None else allowed.clone()
    z = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
    value, index = z.topk(top_k + 1, dim=-1)
    keep = torch.zeros_like(z, dtype=torch.bool).scatter_(-1, index[:, :-1], True)
    # Which of equal logits topk takes is not defined. Rows with too few allowed tokens end in two -inf: seen here, too.
    tied = (value[:, -2] == value[:, -1]).nonzero()[:, 0]
    if len(tied):
        z, last = z[tied], value[tied, -1:]
        above, equal = z > last, z == last
        if allowed is not None:
            equal &= allowed[tied]
        missing = top_k - above.sum(-1, keepdim=True)
        keep[tied] = above | (equal & (equal.cumsum(-1, dtype=torch.int32) <= missing))
    return keep
