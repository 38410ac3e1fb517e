"""Flex attention for rows that hold a prompt and its completions; with any other mask attention stays SDPA.

SDPA computes all pairs of tokens of such a row, also those of different completions, which do not see each other.
PyTorch's flex attention (https://docs.pytorch.org/docs/stable/nn.attention.flex_attention.html) computes blocks of
128 x 128 pairs, and only those with a pair that does. It is compiled when it is first used, has a backward pass on CUDA
alone, and no second derivatives.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward


def use_flex(lm: PreTrainedModel, flex: bool) -> None:
    """Let rows of a prompt and its completions have flex attention from now on, or no longer.

    Its attention stays `sdpa` by name, which some models ask for before they make their masks.
    """
    if flex != getattr(lm, "flex", False):
        AttentionInterface.register("sdpa", _attend)
        lm.flex, lm.runs_in_groups = flex, None  # `family_check` tries it again


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    attend = flex_attention_forward if isinstance(attention_mask, BlockMask) else sdpa_attention_forward
    found: tuple[Tensor, Tensor | None] = attend(module, query, key, value, attention_mask, **options)
    return found


@cache
def _compiled() -> Any:
    """Return what makes a mask without a tensor of all pairs."""
    return torch.compile(create_block_mask)


def block_mask(part: Tensor) -> BlockMask:
    """Return which pairs of tokens attend: a token sees its prompt, and what is before it in its own completion.

    Args:
        part: int64 (b, L): 0 in the prompt, i in its i-th completion, -1 behind.
    """

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return ((part[row, key] == 0) | (part[row, key] == part[row, query])) & (key <= query)

    rows, width = part.shape
    make = _compiled() if part.is_cuda else create_block_mask
    mask: Any = make(seen, rows, None, width, width, device=part.device)
    mask.ndim = 4  # GPT-2 asks for it
    return mask
