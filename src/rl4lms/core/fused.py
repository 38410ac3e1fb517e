"""Losses over the vocabulary as ordinary scalars, without ever keeping a tensor of size N x V.

The gradient of a loss of log-probs is computed chunk by chunk in the forward pass, while the logits of that chunk are
there, and handed over when `backward` asks for it: one forward and one backward pass of the output layer, and the
memory of one chunk. (The idea is that of Liger-Kernel's fused linear losses, arXiv 2410.10989, for any loss and any
head.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rl4lms.core import token_masks
from rl4lms.core.logprobs import Distributions, TokenLogprobs, chunks, joined

# The loss of some tokens: what the pass yields for them, and which of the N tokens they are. A scalar, summed over the
# tokens.
TokenLoss = Callable[[TokenLogprobs, slice], Tensor]


def fused_loss(
    head: Callable[[Tensor], Tensor],
    parameters: Sequence[nn.Parameter],
    hidden: Tensor,
    token_ids: Tensor,
    loss: TokenLoss,
    vocab_size: int,
    temperature: float = 1.0,
    packed_mask: Tensor | None = None,
    *,
    full: bool = False,
    entropy: bool = False,
    whole: bool = False,
) -> Tensor:
    """Return a loss of the log-probs of N tokens as a scalar with a graph to the hidden states and the head's
    parameters.

    It can be differentiated once: a second derivative raises an error. `logprobs.chunked_token_logprobs` can be
    differentiated twice.

    Args:
        head: maps hidden states (n, d) to logits (n, V).
        parameters: of the head; those that require gradients get one.
        hidden: (N, d).
        token_ids: (N,) int64.
        loss: called once per chunk, with log-probs that require gradients; a scalar that is a sum over tokens.
        vocab_size: V, to size the chunks.
        temperature: positive.
        packed_mask: (N, ceil(V / 8)) uint8 token mask, or None.
        full, entropy: whether the loss needs `TokenLogprobs.full` and `entropy`.
        whole: call the loss once with all N tokens, for losses that are no sum over tokens. With several chunks this
            costs one more forward pass of the head.
    """
    masks = (token_ids, packed_mask)
    work = _Chunks(head, loss, *masks, list(chunks(len(token_ids), vocab_size)), temperature, full, entropy, whole)
    if torch.is_grad_enabled():
        return _FusedLoss.apply(work, hidden, *(p for p in parameters if p.requires_grad))
    return work.value(hidden)


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, work: _Chunks, hidden: Tensor, *parameters: Tensor) -> Tensor:
        total, gradients = work.value_and_gradients(hidden, parameters)
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if (
            torch.is_grad_enabled()
        ):  # create_graph=True: the gradients are constants here, and a second derivative would miss them
            raise RuntimeError(
                "a fused loss can be differentiated once; take log-probs with a graph for second derivatives"
            )
        plain = bool(grad == 1)
        return None, *(g if g is None or plain else g * grad for g in ctx.saved_tensors)


@dataclass(slots=True)
class _Chunks:
    """A loss on the way; fields as the arguments of `fused_loss`."""

    head: Callable[[Tensor], Tensor]
    loss: TokenLoss
    token_ids: Tensor
    packed_mask: Tensor | None
    pieces: list[slice]
    temperature: float
    full: bool
    entropy: bool
    whole: bool

    def value(self, hidden: Tensor) -> Tensor:
        """Compute the loss alone, without gradients."""
        found = (self._distributions(self.head(hidden[piece]), piece).tokens() for piece in self.pieces)
        if self.whole:
            return self.loss(joined(list(found)), slice(0, len(hidden)))
        return torch.stack([self.loss(tokens, piece) for tokens, piece in zip(found, self.pieces, strict=True)]).sum()

    def value_and_gradients(self, hidden: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor | None]]:
        """Compute the loss, and its gradients for the hidden states and the parameters, None where it does not depend
        on one.
        """
        total = hidden.new_zeros((), dtype=torch.float32)
        wanted = ([hidden] if hidden.requires_grad else []) + list(parameters)
        sums: list[Tensor | None] = [
            torch.empty_like(hidden) if hidden.requires_grad else None,
            *(None for _ in parameters),
        ]
        ahead = None
        if self.whole and len(self.pieces) > 1:
            parts = [self._distributions(self.head(hidden[piece]), piece).tokens() for piece in self.pieces]
            total, ahead = self._gradients(joined(parts), slice(0, len(hidden)))
        for piece in self.pieces:
            with torch.enable_grad():
                states = hidden[piece].detach().requires_grad_(hidden.requires_grad)
                logits = self.head(states)
            distributions = self._distributions(logits, piece)
            if ahead is None:
                value, gradients = self._gradients(distributions.tokens(), piece)
                total = total + value
            else:
                gradients = [None if g is None else g[piece] for g in ahead]
            if not wanted or not logits.requires_grad or all(g is None for g in gradients):
                if sums[0] is not None:
                    sums[0][piece] = 0
                continue
            backward = distributions.gradient(*gradients).to(logits.dtype)
            inputs = [states, *parameters] if hidden.requires_grad else list(parameters)
            found = iter(torch.autograd.grad(logits, inputs, backward, allow_unused=True))
            if sums[0] is not None:
                sums[0][piece] = next(found)
            for i, g in enumerate(found, 1):
                sums[i] = g if sums[i] is None else sums[i] if g is None else sums[i].add_(g)  # type: ignore[union-attr]
        return total, sums

    def _distributions(self, logits: Tensor, piece: slice) -> Distributions:
        penalty = None if self.packed_mask is None else token_masks.penalty(self.packed_mask[piece], logits.shape[-1])
        return Distributions(
            logits, self.token_ids[piece], self.temperature, penalty, full=self.full, entropy=self.entropy
        )

    def _gradients(self, tokens: TokenLogprobs, piece: slice) -> tuple[Tensor, list[Tensor | None]]:
        """Call the loss; return its value, and its gradients for `behaviour`, `entropy` and `full`."""
        leaves = [tokens.behaviour, tokens.entropy, tokens.full]
        given = [leaf.requires_grad_() for leaf in leaves if leaf is not None]
        with torch.enable_grad():
            value = self.loss(tokens, piece)
        found = iter(
            torch.autograd.grad(value, given, allow_unused=True) if value.requires_grad else [None] * len(given)
        )
        return value.detach(), [None if leaf is None else next(found) for leaf in leaves]
