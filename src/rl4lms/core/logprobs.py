"""Log-probabilities of chosen tokens, without ever keeping a tensor over the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rl4lms.core import token_masks
from rl4lms.core.kl import exact_kl

# Logits of at most this many elements exist at a time: 64 MiB in float32.
CHUNK_ELEMENTS = 1 << 24
# A CPU is as fast with those of so many tokens, and holds less; below 4 MiB nothing is gained.
FEW_TOKENS, FEW_ELEMENTS = 256, 1 << 20


class TokenLogprobs(NamedTuple):
    """What one pass over N tokens yields, each float32 (N,); None for what was not asked for.

    Attributes:
        behaviour: log-prob of the token under the behaviour policy (temperature, and renormalised over its token mask).
        full: log-prob under the full softmax at temperature 1.
        kept_mass: probability that the tempered full softmax gives to the token mask; 1 without a mask. Comes with
            `full`, without gradient, and only for tokens that are in their mask.
        entropy: of the behaviour policy, in nats.
        kl: KL of the policy from an anchor over the whole vocabulary, in nats.
    """

    behaviour: Tensor
    full: Tensor | None = None
    kept_mass: Tensor | None = None
    entropy: Tensor | None = None
    kl: Tensor | None = None


def softmax_and_log_z(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Compute softmax(z) (N, V) and log sum exp z (N,) from one pass over exponentials: log Z = max z - log max p."""
    probs = logits.softmax(-1)
    return probs, logits.amax(-1) - probs.amax(-1).log()


class Distributions:
    """The behaviour policy at N tokens and, on request, the full softmax at temperature 1, from logits; without a
    graph.

    With z = logits / temperature and A the allowed tokens, log pi~(a) = z_a - log sum_{b in A} exp z_b for a in A and
    -inf outside (NLPO, Ramamurthy et al., 2023, equation of the masked policy). A mask of all ones takes the same
    operations on the same numbers as no mask: the results agree to the last bit.

    Args:
        logits: (N, V), any float type; computed in float32.
        token_ids: (N,) int64.
        temperature: positive.
        penalty: float32 (N, V), 0 on A and `token_masks.LOG_ZERO` elsewhere (`token_masks.penalty`), or None for the
            whole vocabulary.
        full, entropy: whether `TokenLogprobs.full` with `kept_mass`, and the entropy, are wanted.
    """

    def __init__(
        self, logits: Tensor, token_ids: Tensor, temperature: float, penalty: Tensor | None, full: bool, entropy: bool
    ) -> None:
        self.temperature, self.ids, self.masked = temperature, token_ids[:, None], penalty is not None
        logits = logits.detach().float()
        z = _tempered(logits, temperature, penalty)
        self.probs, self.log_z = softmax_and_log_z(z)
        self.behaviour = _chosen(z, self.ids, self.log_z)
        # what nothing needs below is not kept: each is as large as the logits
        self.z = z if entropy else None
        self.logits = logits if full else None

    def tokens(self) -> TokenLogprobs:
        """Return what was asked for, of the chosen tokens."""
        full = kept_mass = entropy = None
        if self.z is not None:
            entropy = -(self.probs * (self.z - self.log_z[:, None])).sum(-1)
        if self.logits is not None:
            t = self.temperature
            plain = self._plain(_tempered(self.logits, t, None)) if self.masked else self.behaviour
            kept_mass = (plain - self.behaviour).exp()  # log pi~(a) = log pi(a) - log of the mask's mass
            full = self._plain(self.logits) if t != 1 else plain.clone()
        return TokenLogprobs(self.behaviour, full, kept_mass, entropy)

    def _plain(self, z: Tensor) -> Tensor:
        return _chosen(z, self.ids, softmax_and_log_z(z)[1])

    def gradient(self, behaviour: Tensor | None, entropy: Tensor | None, full: Tensor | None) -> Tensor:
        """Turn gradients (N,) of the log-probs and the entropy into one of the logits (N, V); works in the buffer of
        the probabilities.

        d log p_a / dz = onehot(a) - p and dH / dz = -p (log p + H): both vanish where p does, so the mask needs no
        gradient of its own.
        """
        grad = torch.zeros_like(self.log_z) if behaviour is None else behaviour
        if entropy is None or self.z is None:
            out = self.probs.mul_(-grad[:, None])
        else:
            logp = self.z - self.log_z[:, None]
            h = -(self.probs * logp).sum(-1)
            out = -self.probs * (grad[:, None] + entropy[:, None] * (logp + h[:, None]))
        out.scatter_add_(-1, self.ids, grad[:, None])
        out = out.div_(self.temperature) if self.temperature != 1 else out
        if full is not None and self.logits is not None:
            out.addcmul_(self.logits.softmax(-1), full[:, None], value=-1).scatter_add_(-1, self.ids, full[:, None])
        return out


class Anchor(NamedTuple):
    """Another policy at the same N tokens: what a KL in closed form is taken from. It is a constant.

    Attributes:
        head: maps (n, d) to logits (n, V).
        hidden: (N, d), its hidden states.
        behaviour: compare the behaviour policies, in one temperature and one mask, and not full softmaxes at
            temperature 1.
    """

    head: Callable[[Tensor], Tensor]
    hidden: Tensor
    behaviour: bool = False

    def kl(self, logits: Tensor, piece: slice, temperature: float, penalty: Tensor | None) -> Tensor:
        """Return KL(policy || anchor) (n,) of some of the tokens, from the policy's logits (n, V)."""
        with torch.no_grad():
            theirs = self.head(self.hidden[piece]).float()
        ours = logits.float()
        if self.behaviour:
            ours, theirs = _tempered(ours, temperature, penalty), _tempered(theirs, temperature, penalty)
        return exact_kl(ours, theirs)


class Anchored(Distributions):
    """Distributions that know their KL from an anchor, too.

    Args:
        kl: from logits (N, V) to (N,), see `Anchor.kl`.
        logits, others: see `Distributions`.
    """

    def __init__(self, kl: Callable[[Tensor], Tensor], logits: Tensor, *others: Any) -> None:
        super().__init__(logits, *others)
        with torch.enable_grad():
            self.at = logits.detach().float().requires_grad_()
            self.kl = kl(self.at)

    def tokens(self) -> TokenLogprobs:
        """Return what was asked for, of the chosen tokens."""
        return super().tokens()._replace(kl=self.kl.detach())

    def gradient(self, *of_columns: Tensor | None) -> Tensor:
        """Turn gradients of the columns, that of the KL last, into one of the logits; can be called once."""
        *others, of_kl = of_columns
        out = super().gradient(*others)
        return out if of_kl is None else out + torch.autograd.grad(self.kl, self.at, of_kl)[0]


def _tempered(logits: Tensor, temperature: float, penalty: Tensor | None) -> Tensor:
    z = logits / temperature if temperature != 1 else logits
    return z if penalty is None else z + penalty


def _chosen(z: Tensor, ids: Tensor, log_z: Tensor) -> Tensor:
    chosen = z.gather(-1, ids)[:, 0]
    return torch.where(chosen > token_masks.LOG_ZERO / 2, chosen - log_z, -torch.inf)


def token_logprobs(
    logits: Tensor,
    token_ids: Tensor,
    temperature: float = 1.0,
    penalty: Tensor | None = None,
    *,
    full: bool = True,
    entropy: bool = True,
) -> TokenLogprobs:
    """Compute what `Distributions` does with a graph, by operations that can be differentiated any number of times."""
    logits, ids = logits.float(), token_ids[:, None]
    z = _tempered(logits, temperature, penalty)
    out = TokenLogprobs(_chosen(z, ids, z.logsumexp(-1)))
    if entropy:
        logp = z.log_softmax(-1)
        out = out._replace(entropy=-(logp.exp() * logp).sum(-1))
    if full:
        plain = _tempered(logits, temperature, None)
        kept_mass = (_chosen(plain, ids, plain.logsumexp(-1)) - out.behaviour).exp().detach()
        out = out._replace(full=_chosen(logits, ids, logits.logsumexp(-1)), kept_mass=kept_mass)
    return out


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
    anchor: Anchor | None = None,
) -> TokenLogprobs:
    """Compute log-probs from a head and hidden states, chunk by chunk: memory holds the logits of one chunk at a time.

    Where gradients are on, the logits of several chunks are computed again in the backward pass. A loss that needs one
    backward pass is cheaper by `fused.fused_loss`.

    Args:
        head: maps (n, d) to logits (n, V).
        hidden: (N, d).
        token_ids: (N,).
        vocab_size: V, to size the chunks.
        temperature: positive.
        packed_mask: (N, ceil(V / 8)) uint8 or None.
        full, entropy: what is wanted, see `TokenLogprobs`.
        anchor: what `TokenLogprobs.kl` is taken from, where it is wanted.
    """

    def run(piece: slice) -> TokenLogprobs:
        logits = head(hidden[piece])
        penalty = None if packed_mask is None else token_masks.penalty(packed_mask[piece], logits.shape[-1])
        if graph:
            out = token_logprobs(logits, token_ids[piece], temperature, penalty, full=full, entropy=entropy)
        else:
            out = Distributions(logits, token_ids[piece], temperature, penalty, full, entropy).tokens()
        return out if anchor is None else out._replace(kl=anchor.kl(logits, piece, temperature, penalty))

    graph = torch.is_grad_enabled()
    pieces = list(chunks(len(token_ids), vocab_size, few=hidden.is_cpu and not graph))
    again = graph and len(pieces) > 1
    return joined([checkpoint(run, piece, use_reentrant=False) if again else run(piece) for piece in pieces])


def joined(parts: list[TokenLogprobs]) -> TokenLogprobs:
    """Concatenate the pieces of a pass."""
    whole: Any = (None if column[0] is None else torch.cat(column) for column in zip(*parts, strict=True))
    return TokenLogprobs(*whole)


def chunks(n: int, vocab_size: int, few: bool = False) -> Iterator[slice]:
    """Cut n tokens into equal pieces whose logits have at most `CHUNK_ELEMENTS` elements, or are of no more than
    `FEW_TOKENS` tokens where few are wanted; at least one piece.
    """
    most = max(1, CHUNK_ELEMENTS // vocab_size)
    if few:  # unless all of them are small
        most = min(most, max(FEW_TOKENS, FEW_ELEMENTS // vocab_size))
    pieces = max(1, math.ceil(n / most))
    size = max(1, math.ceil(n / pieces))
    return (slice(start, start + size) for start in range(0, max(n, 1), size))
