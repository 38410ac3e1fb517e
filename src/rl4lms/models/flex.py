"""Flex attention for rows that hold a prompt and its completions; for everything else the attention stays SDPA.

SDPA computes all pairs of tokens of such a row, also those of different completions, which do not see each other.
PyTorch's flex attention (https://docs.pytorch.org/docs/stable/nn.attention.flex_attention.html) computes blocks of
128 x 128 pairs, and only those with a pair that does. It is compiled when it is first used, and a CPU has no backward
pass of it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rl4lms.errors import ModelError

ATTENTION = "sdpa_and_flex"


def set_attention(lm: PreTrainedModel, flex: bool) -> None:
    """Let a model take `BlockMask`s, or no longer; with any other mask, or none, its attention is SDPA either way.

    Raises:
        ModelError: its attention is not SDPA, or cannot be set.
    """
    if flex == (lm.config._attn_implementation == ATTENTION):
        return
    lm.runs_in_groups = None  # `family_check` tries it again
    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    if not flex:
        lm.set_attn_implementation("sdpa")
        return
    if lm.config._attn_implementation == "sdpa":
        lm.set_attn_implementation(ATTENTION)
    if lm.config._attn_implementation != ATTENTION:
        raise ModelError(
            f"model.attention: flex takes the place of SDPA, which {type(lm).__name__} does not have; leave it out"
        )


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    attend = flex_attention_forward if isinstance(attention_mask, BlockMask) else sdpa_attention_forward
    found: tuple[Tensor, Tensor | None] = attend(module, query, key, value, attention_mask, **options)
    return found


def block_mask(part: Tensor) -> BlockMask:
    """Return which pairs of tokens attend: a token sees its prompt, and what is before it in its own completion.

    Args:
        part: int64 (b, L): 0 in the prompt, i in its i-th completion, -1 behind.
    """

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return ((part[row, key] == 0) | (part[row, key] == part[row, query])) & (key <= query)

    rows, width = part.shape
    # Compiled, it holds no tensor of (b, L, L); what is compiled on a CPU would take longer than it saves
    mask = create_block_mask(seen, rows, None, width, width, device=part.device, _compile=part.is_cuda)
    mask.ndim = 4  # type: ignore[attr-defined]  # GPT-2 asks for it
    return mask
