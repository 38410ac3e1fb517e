"""How sums over tokens become one loss: which completions weigh how much."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from rl4lms.plugins.options import Option
from rl4lms.types import Tokens

LengthNorm = Annotated[
    Literal["sequence", "token", "constant"],
    Option(
        "sequence: the mean over a completion's tokens, then over completions (GRPO); token: over all tokens of a "
        "minibatch (DAPO); constant: the sum over a completion's tokens, divided by norm_length (Dr. GRPO)"
    ),
]
NormLength = Annotated[int | None, Option("of constant: tokens that every completion's sum is divided by", ge=1)]
# Of REINFORCE and its kin, whose policy gradient is the sum itself
SumLength = Annotated[int | None, Option("of constant: tokens that a sum is divided by; null: 1, the sum", ge=1)]


def total(values: Tensor, old: Tokens, length_norm: str, norm_length: int | None) -> Tensor:
    """Return the loss of values (N,) of tokens, as `length_norm` says; parts of a minibatch add up."""
    if length_norm == "token":
        return values.sum() / old.n_tokens
    if length_norm == "sequence":
        return (values / old.lengths[old.row]).sum() / old.n_sequences
    return values.sum() / (old.n_sequences * (norm_length or 1))


def check_length(length_norm: str, norm_length: int | None, needed: bool) -> None:
    """Refuse a length without its use, and, where it is `needed`, a use without its length.

    Raises:
        ValueError: the message names both options.
    """
    if length_norm != "constant" and norm_length is not None:
        raise ValueError("norm_length belongs to length_norm: constant; leave it out")
    if length_norm == "constant" and norm_length is None and needed:
        raise ValueError("length_norm: constant needs norm_length; 1 takes the sum")
