"""Models that no padding is right for: rows whose prompts have the same length are run together, and nothing is padded.

Some models count positions by the columns of their cache, some carry a recurrent state through the padding, some
encoders mix padding into what they pool. Every one of them is right on rows of one length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rl4lms.core.padding import Side
from rl4lms.models.families import CausalFamily, DecodeState, EncoderDecoderFamily


def groups_of(prompt_mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows, int64 (b,), of each length that prompts of a (B, P) mask have, and the mask of their columns,
    bool (b, P).
    """
    lengths = prompt_mask.sum(-1)
    for length in lengths.unique():
        rows = (lengths == length).nonzero()[:, 0]
        yield rows, prompt_mask[rows]


@dataclass(slots=True)
class GroupedState:
    """What cached decoding carries for B rows in groups.

    Attributes:
        parts: rows of the batch, int64 (b,), and the state of each group; together they are 0..B-1.
    """

    parts: list[tuple[Tensor, DecodeState]]

    def repeat(self, n: int) -> None:
        """Repeat every row n times, consecutively."""
        for i, (rows, state) in enumerate(self.parts):
            state.repeat(n)
            self.parts[i] = ((rows[:, None] * n + torch.arange(n, device=rows.device)).flatten(), state)

    def select(self, rows: Tensor) -> None:
        """Keep the given rows, int64 (b,)."""
        kept = []
        for members, state in self.parts:
            hits = rows[:, None] == members  # (b, members)
            if hits.any():
                state.select(hits.int().argmax(-1)[hits.any(-1)])
                kept.append((hits.any(-1).nonzero()[:, 0], state))
        self.parts = kept


class Grouped:
    """A family run in groups of rows whose prompts have one length, without padding in any prompt."""

    def __init__(self, family: CausalFamily | EncoderDecoderFamily) -> None:
        self.family = family
        self.padding_side: Side = family.padding_side

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits (N, V) of hidden states (N, d)."""
        return self.family.head(hidden)

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that the output head may use."""
        return self.family.head_parameters()

    def hidden(
        self, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor
    ) -> Tensor:
        """Return hidden states (N, d) whose logits predict each of the N real completion tokens, row by row."""
        n = len(completion_ids) // len(prompt_ids)
        prompt_ids, prompt_mask = (x.repeat_interleave(n, 0) for x in (prompt_ids, prompt_mask))
        states: dict[int, Tensor] = {}
        for rows, real in groups_of(prompt_mask):
            prompts = prompt_ids[rows][real].view(len(rows), -1)
            mask = completion_mask[rows]
            found = self.family.hidden(prompts, torch.ones_like(prompts, dtype=torch.bool), completion_ids[rows], mask)
            states |= zip(rows.tolist(), found.split(mask.sum(-1).tolist()), strict=True)
        return torch.cat([states[row] for row in range(len(prompt_ids))])

    def prefill(self, prompt_ids: Tensor, prompt_mask: Tensor, budget: int) -> tuple[GroupedState, Tensor]:
        """Run the prompts once; return the state and the hidden states (B, d) that predict the first token."""
        parts, states = [], []
        for rows, real in groups_of(prompt_mask):
            prompts = prompt_ids[rows][real].view(len(rows), -1)
            state, hidden = self.family.prefill(prompts, torch.ones_like(prompts, dtype=torch.bool), budget)
            parts.append((rows, state))
            states.append(hidden)
        return GroupedState(parts), _in_order([rows for rows, _ in parts], states)

    def step(self, state: GroupedState, token_ids: Tensor) -> Tensor:
        """Feed one token (B,) per row; return the hidden states (B, d) that predict the next."""
        states = [self.family.step(part, token_ids[rows]) for rows, part in state.parts]
        return _in_order([rows for rows, _ in state.parts], states)


def _in_order(rows: list[Tensor], states: list[Tensor]) -> Tensor:
    """Return the states of all groups, (B, d), in the order of the batch."""
    return torch.cat(states)[torch.cat(rows).argsort()]
