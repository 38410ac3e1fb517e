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
        full: log-prob under the full softmax at temperature 1.
        kept_mass: probability that the tempered full softmax gives to the token mask; 1 without a mask. Comes with `full`, without
            gradient, and only for tokens that are in their mask.
        entropy: of the behaviour policy, in nats.
    """

    behaviour: Tensor
    full: Tensor | None = None
    kept_mass: Tensor | None = None
    entropy: Tensor | None = None


def softmax_and_log_z(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Compute softmax(z) (N, V) and log sum exp z (N,) from one pass over exponentials: log Z = max z - log max p."""
    probs = logits.softmax(-1)
    return probs, logits.amax(-1) - probs.amax(-1).log()


def tempered(logits: Tensor, temperature: float, penalty: Tensor | None) -> Tensor:
    """Divide logits (N, V) by the temperature, and remove the tokens outside the mask.

    An all-ones mask takes the same operations on the same numbers as no mask: the results agree to the last bit.
    """
    z = logits / temperature if temperature != 1 else logits
    return z if penalty is None else z + penalty


def chosen_logprob(z: Tensor, token_ids: Tensor, log_z: Tensor) -> Tensor:
    """Return log softmax(z)_a (N,) of tokens a; -inf outside the mask."""
    chosen = z.gather(-1, token_ids[:, None])[:, 0]
    return torch.where(chosen > token_masks.LOG_ZERO / 2, chosen - log_z, -torch.inf)


class _Logprob(torch.autograd.Function):
    """log pi~(a) and, on request, its entropy H, from logits (N, V); twice differentiable.

    With p = softmax(z), d log p_a / dz = onehot(a) - p and dH / dz = -p (log p + H): both vanish where p does, so the mask needs no
    backward pass of its own. Nothing over the vocabulary but the logits is kept between the passes.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, token_ids: Tensor, temperature: float, penalty: Tensor | None, with_entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        z = tempered(logits, temperature, penalty)
        probs, log_z = softmax_and_log_z(z)
        ctx.save_for_backward(logits, token_ids, penalty)
        ctx.temperature = temperature
        entropy = -(probs * (z - log_z[:, None])).sum(-1) if with_entropy else None
        return chosen_logprob(z, token_ids, log_z), entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_entropy: Tensor | None) -> tuple[Tensor, None, None, None, None]:
        logits, token_ids, penalty = ctx.saved_tensors
        z = tempered(logits, ctx.temperature, penalty)
        probs, log_z = softmax_and_log_z(z)
        if grad_entropy is None:
            out = probs * -grad[:, None]
        else:
            logp = z - log_z[:, None]
            entropy = -(probs * logp).sum(-1)
            out = -probs * (grad[:, None] + grad_entropy[:, None] * (logp + entropy[:, None]))
        out = out.scatter_add(-1, token_ids[:, None], grad[:, None])
        return out / ctx.temperature if ctx.temperature != 1 else out, None, None, None, None


def token_logprobs(
    logits: Tensor,
    token_ids: Tensor,
    temperature: float = 1.0,
    penalty: Tensor | None = None,
    *,
    full: bool = True,
    entropy: bool = True,
) -> TokenLogprobs:
    """Compute log-probs of `token_ids` (N,) under `logits` (N, V), twice differentiable.

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
    behaviour, h = _Logprob.apply(logits, token_ids, temperature, penalty, entropy)
    out = TokenLogprobs(behaviour, entropy=h)
    if full:
        plain = behaviour if penalty is None else _Logprob.apply(logits, token_ids, temperature, None, False)[0]
        out.kept_mass = kept_mass(plain, behaviour)
        out.full = plain if temperature == 1 else _Logprob.apply(logits, token_ids, 1.0, None, False)[0]
    return out


@torch.no_grad()
def kept_mass(plain: Tensor, behaviour: Tensor) -> Tensor:
    """Return the mask's mass (N,): log pi~(a) = log pi(a) - log of it, for every token a in the mask."""
    return (plain - behaviour).exp()


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
) -> TokenLogprobs:
    """Apply `token_logprobs` to a head's logits of hidden states, chunk by chunk: memory holds the logits of one chunk at a time.

    Where gradients are on, the logits of several chunks are computed again in the backward pass. A loss that needs one backward pass is
    cheaper by `fused.fused_loss`.

    Args:
        head: maps (n, d) to logits (n, V).
        hidden: (N, d).
        token_ids: (N,).
        vocab_size: V, to size the chunks.
        temperature: positive.
        packed_mask: (N, ceil(V / 8)) uint8 or None.
        full, entropy: what is wanted, see `token_logprobs`.
    """

    def run(h: Tensor, ids: Tensor, packed: Tensor | None) -> TokenLogprobs:
        logits = head(h)
        penalty = None if packed is None else token_masks.penalty(packed, logits.shape[-1])
        return token_logprobs(logits, ids, temperature, penalty, full=full, entropy=entropy)

    parts: list[TokenLogprobs] = []
    pieces = list(chunks(len(token_ids), vocab_size))
    for piece in pieces:
        args = (hidden[piece], token_ids[piece], None if packed_mask is None else packed_mask[piece])
        again = torch.is_grad_enabled() and len(pieces) > 1
        parts.append(checkpoint(run, *args, use_reentrant=False) if again else run(*args))
    return joined(parts)


def joined(parts: list[TokenLogprobs]) -> TokenLogprobs:
    """Concatenate the pieces of a pass."""
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(TokenLogprobs)}
    whole: dict[str, Any] = {name: None if column[0] is None else torch.cat(column) for name, column in columns.items()}
    return TokenLogprobs(**whole)


def chunks(n: int, vocab_size: int) -> Iterator[slice]:
    """Cut n tokens into equal pieces whose logits have at most `CHUNK_ELEMENTS` elements; at least one piece."""
    pieces = max(1, math.ceil(n / max(1, CHUNK_ELEMENTS // vocab_size)))
    size = max(1, math.ceil(n / pieces))
    return (slice(start, start + size) for start in range(0, max(n, 1), size))
