"""Sets of tokens a policy may choose: built, packed eight to a byte, unpacked.

A `token_mask` is boolean with the vocabulary last; True means the token may be drawn. Truncation never leaves it empty.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = 8
# Nuclei are searched among this many most probable tokens first; the whole vocabulary is sorted only if that is not enough.
_FIRST_SEARCH = 256


def pack(mask: Tensor) -> Tensor:
    """Packs a boolean mask (..., V) into uint8 (..., ceil(V / 8)); bit i of byte j is token 8 j + i."""
    padded = torch.nn.functional.pad(mask.to(torch.uint8), (0, -mask.shape[-1] % _BITS))
    bits = padded.view(*mask.shape[:-1], -1, _BITS)
    packed = bits[..., 0].clone()
    for i in range(1, _BITS):
        packed |= bits[..., i] << i
    return packed


def unpack(packed: Tensor, vocab_size: int) -> Tensor:
    """Inverse of `pack`: uint8 (..., ceil(V / 8)) to bool (..., V)."""
    bits = torch.empty(*packed.shape, _BITS, dtype=torch.bool, device=packed.device)
    for i in range(_BITS):
        bits[..., i] = (packed & (1 << i)) != 0
    return bits.flatten(-2)[..., :vocab_size]


def contains(packed: Tensor, token_ids: Tensor) -> Tensor:
    """Whether each token (...,) is in its packed mask (..., ceil(V / 8)); bool (...)."""
    byte = packed.gather(-1, (token_ids // _BITS)[..., None])[..., 0].to(torch.int64)
    return (byte >> (token_ids % _BITS)) & 1 == 1


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
    if allowed is None:
        allowed = allow_all(logits)
    if top_p >= 1:
        return allowed.clone()
    probs = logits.masked_fill(~allowed, -torch.inf).softmax(-1)
    vocab_size = logits.shape[-1]
    k = min(vocab_size, max(_FIRST_SEARCH, min_tokens_to_keep))
    while True:
        top, index = probs.topk(k, dim=-1) if k < vocab_size else probs.sort(dim=-1, descending=True, stable=True)
        before = top.cumsum(-1) - top
        if k == vocab_size or bool((before[:, -1] + top[:, -1] >= top_p).all()):
            break
        k = min(vocab_size, k * 8)
    keep = before < top_p
    keep[:, :min_tokens_to_keep] = True
    return torch.zeros_like(allowed).scatter(-1, index, keep) & allowed


def top_k_mask(logits: Tensor, top_k: int, allowed: Tensor | None = None) -> Tensor:
    """The `top_k` most probable of the allowed tokens (all of them if fewer); `logits` (N, V), result (N, V) bool."""
    if allowed is None:
        allowed = allow_all(logits)
    index = logits.masked_fill(~allowed, -torch.inf).topk(min(top_k, logits.shape[-1]), dim=-1).indices
    return torch.zeros_like(allowed).scatter(-1, index, True) & allowed
