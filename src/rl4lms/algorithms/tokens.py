"""What a loss is given beside the new log-probs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from rl4lms.types import Experience

_PER_TOKEN = ("logprobs", "ref_logprobs", "kl", "scores", "rewards", "values", "advantages", "returns")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an iteration knows of N completion tokens, the real ones of some rows in order; float32 (N,) unless said.

    Attributes:
        logprobs: of the policy that sampled, the behaviour policy at the start of the update.
        ref_logprobs: the reference policy's, full softmax at temperature 1; None without a reference.
        kl: policy minus reference at the start of the update, both full softmax at temperature 1; None without a reference.
        scores, rewards: the task's score on its token, and the reward that the algorithm made of it.
        values, advantages, returns: None for algorithms that have none.
        row: int64 (N,), which of the `rows` sequences of this pass a token belongs to.
        rows: sequences of this pass.
        n_tokens, n_sequences: tokens and sequences of the whole minibatch, over all passes and processes. A loss is a sum divided by one
            of them, so that the losses of the passes add up to that of the minibatch.
    """

    logprobs: Tensor
    scores: Tensor
    rewards: Tensor
    row: Tensor
    rows: int
    n_tokens: int
    n_sequences: int
    ref_logprobs: Tensor | None = None
    kl: Tensor | None = None
    values: Tensor | None = None
    advantages: Tensor | None = None
    returns: Tensor | None = None

    @classmethod
    def of(cls, experience: Experience, rows: Tensor, minibatch: Tensor) -> Tokens:
        """Take the tokens of some rows (b,) of an experience that are part of a minibatch (m,) of rows."""
        mask = experience.mask[rows]
        columns: dict[str, Any] = {name: getattr(experience, name) for name in _PER_TOKEN}
        taken: dict[str, Any] = {name: None if column is None else column[rows][mask] for name, column in columns.items()}
        row = mask.nonzero()[:, 0]
        return cls(**taken, row=row, rows=len(rows), n_tokens=int(experience.mask[minibatch].sum()), n_sequences=len(minibatch))

    def __len__(self) -> int:
        return len(self.logprobs)

    def part(self, piece: slice) -> Tokens:
        """Take some of the tokens."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        taken: dict[str, Any] = {name: value[piece] for name, value in tensors.items() if isinstance(value, Tensor)}
        return replace(self, **taken)

    def sum_by_sequence(self, values: Tensor) -> Tensor:
        """Add up values (N,) of tokens to one per sequence, (rows,)."""
        return torch.zeros(self.rows, dtype=values.dtype, device=values.device).index_add(0, self.row, values)

    def mean_by_sequence(self, values: Tensor) -> Tensor:
        """Average values (N,) of tokens to one per sequence, (rows,); 0 for a sequence without tokens."""
        return self.sum_by_sequence(values) / self.sum_by_sequence(torch.ones_like(values)).clamp(min=1)
