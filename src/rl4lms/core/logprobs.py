"""Log-probabilities of chosen tokens, without ever keeping a tensor over the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rl4lms.core import token_masks

# Logits of at most this many elements exist at a time: 64 MiB in float32.
CHUNK_ELEMENTS = 1 << 24


@dataclass(slots=True)
class TokenLogprobs:
    """What one pass over N tokens yields, each float32 (N,); None for what was not asked for.

    Attributes:
        behaviour: log-prob of the token under the behaviour policy (temperature, and renormalised over its token mask).
        full: log-prob under the full softmax at temperature 1. Without gradient.
        kept_mass: probability that the tempered full softmax gives to the token mask; 1 without a mask. Comes with `full`, and only for
            tokens that are in their mask.
        entropy: of the behaviour policy, in nats.
    """

    behaviour: Tensor
    full: Tensor | None = None
    kept_mass: Tensor | None = None
    entropy: Tensor | None = None


# The loss of some tokens: what the pass yields for them, and which of the N tokens they are. A scalar, summed over the tokens.
TokenLoss = Callable[[TokenLogprobs, slice], Tensor]


def softmax_and_log_z(logits: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(z) (N, V) and log sum exp z (N,), from one pass over exponentials: log Z = max z - log max p."""
    probs = logits.softmax(-1)
    return probs, logits.amax(-1) - probs.amax(-1).log()


class _BehaviourLogprob(torch.autograd.Function):
    """log pi~(a) and, on request, its entropy H, from logits (N, V).

    With p = softmax(z), d log p_a / dz = onehot(a) - p and dH / dz = -p (log p + H): both vanish where p does, so the mask needs no
    backward pass of its own. Works in the buffer of p: without the entropy, no other tensor over the vocabulary is kept between the passes.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, token_ids: Tensor, temperature: float, penalty: Tensor | None, with_entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        # The same operations on the same numbers with an all-ones mask as without one: the results agree to the last bit.
        z = logits / temperature if temperature != 1 else logits
        z = z if penalty is None else z + penalty
        probs, log_z = softmax_and_log_z(z)
        chosen = z.gather(-1, token_ids[:, None])[:, 0]
        logprob = torch.where(chosen > token_masks.LOG_ZERO / 2, chosen - log_z, -torch.inf)
        logp = entropy = None
        if with_entropy:
            logp = z - log_z[:, None]
            entropy = -(probs * logp).sum(-1)
        ctx.save_for_backward(probs, token_ids, logp, entropy)
        ctx.temperature = temperature
        return logprob, entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_entropy: Tensor | None) -> tuple[Tensor, None, None, None, None]:
        probs, token_ids, logp, entropy = ctx.saved_tensors
        if entropy is None:
            out = probs.mul_(-grad[:, None])
        else:
            assert grad_entropy is not None
            out = -probs * (grad[:, None] + grad_entropy[:, None] * (logp + entropy[:, None]))
        out.scatter_add_(-1, token_ids[:, None], grad[:, None])
        return out.div_(ctx.temperature) if ctx.temperature != 1 else out, None, None, None, None


def token_logprobs(
    logits: Tensor,
    token_ids: Tensor,
    temperature: float = 1.0,
    penalty: Tensor | None = None,
    *,
    full: bool = True,
    entropy: bool = True,
) -> TokenLogprobs:
    """Log-probs of `token_ids` (N,) under `logits` (N, V).

    With z = logits / temperature and A the allowed tokens, the behaviour policy is
    log pi~(a) = z_a - log sum_{b in A} exp z_b for a in A and -inf outside (NLPO, Ramamurthy et al., 2023, equation of the masked policy).

    Args:
        logits: (N, V), any float type; computed in float32.
        token_ids: (N,) int64.
        temperature: positive.
        penalty: float32 (N, V), 0 on A and `token_masks.LOG_ZERO` elsewhere (`token_masks.penalty`), or None for the whole vocabulary.
        full: whether `full` and `kept_mass` are wanted.
        entropy: whether the entropy is wanted.
    """
    logits = logits.float()
    behaviour, h = _BehaviourLogprob.apply(logits, token_ids, temperature, penalty, entropy)
    out = TokenLogprobs(behaviour, entropy=h)
    if full:
        with torch.no_grad():
            plain = behaviour if penalty is None else _plain_logprob(logits / temperature if temperature != 1 else logits, token_ids)
            out.kept_mass = (plain - behaviour).exp()  # log pi~(a) = log pi(a) - log of the mask's mass, for every a in the mask
            out.full = plain.detach() if temperature == 1 else _plain_logprob(logits, token_ids)
    return out


def _plain_logprob(logits: Tensor, token_ids: Tensor) -> Tensor:
    return logits.gather(-1, token_ids[:, None])[:, 0] - softmax_and_log_z(logits)[1]


def chunked_token_logprobs(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    token_ids: Tensor,
    vocab_size: int,
    temperature: float = 1.0,
    packed_mask: Tensor | None = None,
    *,
    full: bool = True,
    entropy: bool = True,
    loss: TokenLoss | None = None,
) -> TokenLogprobs:
    """`token_logprobs` of a head applied to hidden states, chunk by chunk: memory holds the logits of one chunk at a time.

    With a `loss`, the gradient of each chunk is computed at once, into `hidden.grad` and the head's parameters, and the result has no
    graph. Without one, where gradients are on, the logits of all chunks but one are computed again in the backward pass.

    Args:
        head: maps (n, d) to logits (n, V).
        hidden: (N, d); a leaf that requires gradients where there is a `loss`.
        token_ids: (N,).
        vocab_size: V, to size the chunks.
        temperature: positive.
        packed_mask: (N, ceil(V / 8)) uint8 or None.
        full, entropy: what is wanted, see `token_logprobs`.
        loss: called once per chunk.
    """

    def run(h: Tensor, ids: Tensor, packed: Tensor | None) -> TokenLogprobs:
        logits = head(h)
        penalty = None if packed is None else token_masks.penalty(packed, logits.shape[-1])
        return token_logprobs(logits, ids, temperature, penalty, full=full, entropy=entropy)

    parts: list[TokenLogprobs] = []
    pieces = list(_chunks(len(token_ids), vocab_size))
    for piece in pieces:
        args = (hidden[piece], token_ids[piece], None if packed_mask is None else packed_mask[piece])
        if loss is not None:
            part = run(*args)
            loss(part, piece).backward()
            parts.append(part)
        elif torch.is_grad_enabled() and len(pieces) > 1:
            parts.append(checkpoint(run, *args, use_reentrant=False))
        else:
            parts.append(run(*args))

    def joined(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        whole = None if columns[0] is None else torch.cat(columns)
        return whole if loss is None or whole is None else whole.detach()

    return TokenLogprobs(**{field.name: joined(field.name) for field in fields(TokenLogprobs)})


def _chunks(n: int, vocab_size: int) -> Iterator[slice]:
    """Cuts n tokens into equal pieces whose logits have at most `CHUNK_ELEMENTS` elements; at least one piece."""
    pieces = max(1, math.ceil(n / max(1, CHUNK_ELEMENTS // vocab_size)))
    size = max(1, math.ceil(n / pieces))
    return (slice(start, start + size) for start in range(0, max(n, 1), size))
