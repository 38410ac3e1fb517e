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
from rl4lms.core.logprobs import Anchor, Anchored, Distributions, TokenLogprobs, chunked_token_logprobs, chunks, joined

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
    anchor: Anchor | None = None,
) -> Tensor:
    """Return a loss of the log-probs of N tokens as a scalar with a graph to the hidden states and the head's
    parameters.

    It can be differentiated once: a second derivative raises an error. `logprobs.chunked_token_logprobs` can be
    differentiated twice.

    Args:
        head, hidden, token_ids, vocab_size, temperature, packed_mask: as of `logprobs.chunked_token_logprobs`.
        parameters: of the head; those that require gradients get one.
        loss: called once per chunk, with log-probs that require gradients; a scalar that is a sum over tokens.
        full, entropy: whether the loss needs `TokenLogprobs.full` and `entropy`.
        whole: call the loss once with all N tokens, for losses that are no sum over tokens. With several chunks this
            costs one more forward pass of the head.
        anchor: where the loss needs `TokenLogprobs.kl`.
    """
    wanted: dict[str, Any] = {"full": full, "entropy": entropy, "anchor": anchor}
    if not torch.is_grad_enabled():
        tokens = chunked_token_logprobs(head, hidden, token_ids, vocab_size, temperature, packed_mask, **wanted)
        return loss(tokens, slice(0, len(hidden)))

    def distributions(logits: Tensor, piece: slice) -> Distributions:
        penalty = None if packed_mask is None else token_masks.penalty(packed_mask[piece], logits.shape[-1])
        how = (logits, token_ids[piece], temperature, penalty, full, entropy)
        if anchor is None:
            return Distributions(*how)
        return Anchored(lambda z: anchor.kl(z, piece, temperature, penalty), *how)

    pieces = list(chunks(len(token_ids), vocab_size, few=hidden.is_cpu and not whole))
    work = _Chunks(head, distributions, loss, pieces, whole)
    return _FusedLoss.apply(work, hidden, *(p for p in parameters if p.requires_grad))


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, work: _Chunks, hidden: Tensor, *parameters: Tensor) -> Tensor:
        total, gradients = work.value_and_gradients(hidden, parameters)
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: a second derivative would take the gradients for constants
            raise RuntimeError("a fused loss can be differentiated once; log-probs that have a graph, twice")
        plain = bool(grad == 1)
        return None, *(g if g is None or plain else g * grad for g in ctx.saved_tensors)


@dataclass(slots=True)
class _Chunks:
    """A loss on the way."""

    head: Callable[[Tensor], Tensor]
    distributions: Callable[[Tensor, slice], Distributions]
    loss: TokenLoss
    pieces: list[slice]
    whole: bool

    def value_and_gradients(self, hidden: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor | None]]:
        """Compute the loss, and its gradients for the hidden states and the parameters, None where it does not depend
        on one.
        """
        total, at_hidden = hidden.new_zeros((), dtype=torch.float32), torch.zeros_like(hidden)
        at_parameters: list[Tensor | None] = [None] * len(parameters)
        ahead = None
        if self.whole and len(self.pieces) > 1:
            parts = [self.distributions(self.head(hidden[piece]), piece).tokens() for piece in self.pieces]
            total, ahead = self._gradients(joined(parts), slice(0, len(hidden)))
        for piece in self.pieces:
            with torch.enable_grad():
                states = hidden[piece].detach().requires_grad_()
                logits = self.head(states)
            distributions = self.distributions(logits, piece)
            if ahead is None:
                value, gradients = self._gradients(distributions.tokens(), piece)
                total = total + value
            else:
                gradients = [None if g is None else g[piece] for g in ahead]
            if all(g is None for g in gradients):
                continue
            at_logits = distributions.gradient(*gradients).to(logits.dtype)
            at_hidden[piece], *found = torch.autograd.grad(logits, [states, *parameters], at_logits, allow_unused=True)
            at_parameters = [_sum(a, b) for a, b in zip(at_parameters, found, strict=True)]
            del logits, distributions, at_logits, found  # as large as a chunk or the head: the next one needs the room
        return total, [at_hidden, *at_parameters]

    def _gradients(self, tokens: TokenLogprobs, piece: slice) -> tuple[Tensor, list[Tensor | None]]:
        """Call the loss; return its value, and its gradients for `behaviour`, `entropy` and `full`, and `kl` if it is
        there.
        """
        leaves = [tokens.behaviour, tokens.entropy, tokens.full, *([] if tokens.kl is None else [tokens.kl])]
        given = [leaf.requires_grad_() for leaf in leaves if leaf is not None]
        with torch.enable_grad():
            value = self.loss(tokens, piece)
        found = iter(
            torch.autograd.grad(value, given, allow_unused=True) if value.requires_grad else [None] * len(given)
        )
        return value.detach(), [None if leaf is None else next(found) for leaf in leaves]


def _sum(total: Tensor | None, part: Tensor | None) -> Tensor | None:
    """Add a part to a total, in its place; None stands for zero. Detached, since autograd adds in place to no view."""
    return total if part is None else part.detach() if total is None else total.add_(part)
