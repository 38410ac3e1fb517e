"""The policy: a language model with, optionally, a value function.

`forward` is the log-prob pass and `generate` the other entry of training; `next_token` is for libraries that go step by
step. Nothing outside calls the submodules, so that the module can be wrapped for distributed training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.core.fused import TokenLoss, fused_loss
from rl4lms.core.logprobs import Anchor, chunked_token_logprobs
from rl4lms.models.activations import fuse_activations
from rl4lms.models.family_check import family_of
from rl4lms.models.generate import Generation, Stop, beam_search, generate
from rl4lms.models.loading import SpecialTokens
from rl4lms.models.lora import use_adapter
from rl4lms.models.products import fast_products
from rl4lms.types import Pass

# What was seen, with a margin: more means that two ways of computing a log-prob disagree.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.02, torch.float16: 0.02}


# From the batch of a pass and the hidden states of the policy to what its KL is taken from.
AnchorAt = Callable[[tuple[Tensor, ...], Tensor], Anchor]


class ValueHead(nn.Module):
    """A linear map from hidden states to one value, in float32 whatever the precision of the trunk. It starts at zero,
    which says nothing: `Learner.started_values` sets its bias by the first rollout.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (N, d) of any float type to float32 (N,)."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.linear(hidden.float())[:, 0]


class Policy(nn.Module):
    """A language model as a policy over tokens.

    Args:
        lm: a causal or encoder-decoder LM; with LoRA, the model whose layers carry the adapters.
        tokens: its special tokens.
        adapter: name of the LoRA adapter this policy uses, `None` for the plain weights.
        autocast: dtype of `torch.autocast` for every pass, or None.
    """

    value_lm: nn.Module | None
    value_head: ValueHead | None

    def __init__(
        self,
        lm: PreTrainedModel,
        tokens: SpecialTokens,
        adapter: str | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.lm = lm
        self.tokens = tokens
        self.adapter = adapter
        self.autocast = autocast
        fuse_activations(lm)
        fast_products(lm)
        self.family = family_of(lm, tokens.decoder_prefix)
        self.value_lm = None
        self.value_adapter: str | None = None
        self.value_family = self.family
        self.value_head = None

    def add_value(self, value_lm: PreTrainedModel | None, adapter: str | None = None) -> None:
        """Add a value head on the policy's own trunk (`value_lm` None), on another LM, or on another adapter of the
        same LM.
        """
        one = torch.zeros(1, 1, dtype=torch.int64, device=self.device)
        with torch.no_grad():  # configs name the width of what comes out in many ways
            width = self.family.hidden(one, one.bool() | True, one, one.bool() | True).shape[-1]
        self.value_head = ValueHead(width).to(self.device)
        self.value_adapter = adapter or self.adapter
        if value_lm is not None:
            self.value_lm = value_lm
            self.value_family = family_of(value_lm, self.tokens.decoder_prefix)

    @property
    def device(self) -> torch.device:
        return next(self.lm.parameters()).device

    @property
    def compute_dtype(self) -> torch.dtype:
        """What its matrix products are computed in."""
        return self.autocast or self.lm.dtype

    def disagreement(self, mean: float, largest: float) -> str:
        """Say how far log-probs of the same tokens, computed in two ways, differ beyond rounding; an empty text where
        they do not.

        Args:
            mean, largest: of the absolute differences. In float32 the largest counts; in lower precision single tokens
                differ by chance, and their mean counts.
        """
        dtype = self.compute_dtype
        which, error = ("at most", largest) if dtype == torch.float32 else ("on average", mean)
        if error <= _ROUNDING[dtype]:
            return ""
        kind = str(dtype).removeprefix("torch.")
        return f"{which} {error:.3g}, where rounding in {kind} explains {_ROUNDING[dtype]:g}"

    @property
    def shares_trunk(self) -> bool:
        """Whether policy and value come from one forward pass."""
        return self.value_head is not None and self.value_lm is None and self.value_adapter == self.adapter

    def trunk_values(self, hidden: Tensor) -> Tensor | None:
        """Return the values (N,) of hidden states (N, d) of the policy; None where values are another model's, or none
        are.
        """
        return self.value_head(hidden) if self.value_head is not None and self.shares_trunk else None

    @contextlib.contextmanager
    def running(self, adapter: str | None = None) -> Iterator[None]:
        """Autocast, and the LoRA adapter in use; the policy's own adapter is active again afterwards."""
        adapted = hasattr(self.lm, "lora_layers")
        with self.precision(), use_adapter(self.lm, adapter or self.adapter) if adapted else contextlib.nullcontext():
            yield

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Return the autocast of this policy. Weights are cast once within the outermost of nested contexts."""
        plain = self.autocast is None
        return contextlib.nullcontext() if plain else torch.autocast(self.device.type, dtype=self.autocast)

    def forward(
        self,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        completion_ids: Tensor,
        completion_mask: Tensor,
        *,
        temperature: float = 1.0,
        token_mask: Tensor | None = None,
        logprobs: bool = True,
        values: bool = False,
        full: bool = True,
        entropy: bool = True,
        loss: TokenLoss | None = None,
        whole: bool = False,
        anchor: AnchorAt | None = None,
    ) -> Pass:
        """Run the log-prob pass, over real completion tokens only; nothing of size B x T x V is kept.

        Everything that is returned has a graph where gradients are on. Second derivatives exist without a `loss`,
        within `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`: fused attention has none, and flex neither.

        Args:
            prompt_ids, prompt_mask: (B, P), padded on the family's side; or (B / n, P), each that of n consecutive
                completions, which is computed once where the model can.
            completion_ids, completion_mask: (B, T), padded on the right.
            temperature: of the behaviour policy, positive.
            token_mask: (B, T, ceil(V/8)) packed support of the behaviour policy, or None for the whole vocabulary.
            logprobs, values: which outputs are wanted.
            full, entropy: whether `full_logprobs` with `kept_mass`, and `entropy`, come with `logprobs`, or are given
                to the loss.
            loss: of the N completion tokens, row by row; `Pass.loss` takes the place of the log-probs, and the output
                layer runs forward and backward only once, chunk by chunk (`core.fused`).
            whole: call the loss once with all tokens, not chunk by chunk.
            anchor: what `kl` is taken from, or None where it is not wanted; `models.anchors` has some.
        """
        batch, out, hidden = (prompt_ids, prompt_mask, completion_ids, completion_mask), Pass(), None
        if logprobs:
            packed = None if token_mask is None else token_mask[completion_mask]
            ids, vocab_size = completion_ids[completion_mask], self.tokens.vocab_size
            how: dict[str, Any] = {"temperature": temperature, "packed_mask": packed, "full": full, "entropy": entropy}
            with self.running():
                hidden = self.family.hidden(*batch)
                how["anchor"] = None if anchor is None else anchor(batch, hidden)
                if loss is None:
                    tokens = chunked_token_logprobs(self._head, hidden, ids, vocab_size, **how)
                    out = Pass(*(_scatter(column, completion_mask) for column in tokens))
                else:
                    head = (self._head, self.family.head_parameters())
                    out = Pass(loss=fused_loss(*head, hidden, ids, loss, vocab_size, whole=whole, **how))
        if values:
            if self.value_head is None:
                raise RuntimeError("this policy has no value function")
            with self.running(self.value_adapter):
                if hidden is None or not self.shares_trunk:
                    hidden = self.value_family.hidden(*batch)
                out = out._replace(values=_scatter(self.value_head(hidden), completion_mask))
        return out

    def as_anchor(self, batch: tuple[Tensor, ...], hidden: Tensor) -> Anchor:
        """Return what the KL of another policy, full softmax at temperature 1, is taken from; see `forward`."""
        with torch.no_grad(), self.running():
            return Anchor(self._head, self.family.hidden(*batch))

    def next_token(
        self,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        completion_ids: Tensor,
        completion_mask: Tensor,
        *,
        logits: bool = True,
        values: bool = False,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Compute what follows B unfinished completions, which may be empty, with a graph where gradients are on.

        Args:
            prompt_ids, prompt_mask: (B, P), padded on the family's side.
            completion_ids, completion_mask: (B, T), padded on the right.
            logits, values: which outputs are wanted.

        Returns:
            Logits (B, V) of the next token, and the value (B,) of the state; float32, None for what was not asked for.
        """
        lengths = completion_mask.sum(-1, keepdim=True)
        columns = torch.arange(int(lengths.max()) + 1, device=lengths.device)
        # A place for the token to come, whose id is read by none before it
        ids = nn.functional.pad(completion_ids, (0, 1), value=self.tokens.pad)[:, : len(columns)]
        batch, last = (prompt_ids, prompt_mask, ids, columns <= lengths), (lengths[:, 0] + 1).cumsum(0) - 1
        hidden, found, value = None, None, None
        if logits:
            with self.running():
                hidden = self.family.hidden(*batch)[last]
                found = self.family.head(hidden).float()
        if values:
            if self.value_head is None:
                raise RuntimeError("this policy has no value function")
            with self.running(self.value_adapter):
                if hidden is None or not self.shares_trunk:
                    hidden = self.value_family.hidden(*batch)[last]
                value = self.value_head(hidden)
        return found, value

    def _head(self, hidden: Tensor) -> Tensor:
        """Compute logits by the policy's own adapter, also when a chunk is recomputed in the backward pass, after
        `forward` has ended.
        """
        with self.running():
            return self.family.head(hidden)

    def generate(self, prompt_ids: Tensor, prompt_mask: Tensor, keys: Tensor, **options: Any) -> Generation:
        """Sample completions; see `rl4lms.models.generate.generate`."""
        with torch.no_grad(), self.precision():
            return generate(self, prompt_ids, prompt_mask, keys, **options)

    def beam_search(
        self, prompt_ids: Tensor, prompt_mask: Tensor, settings: EvalGenerationConfig, stop: Stop | None = None
    ) -> Generation:
        """Decode by beam search; see `rl4lms.models.generate.beam_search`."""
        return beam_search(self, prompt_ids, prompt_mask, settings, stop)


def _scatter(values: Tensor | None, mask: Tensor) -> Tensor | None:
    """Put (N,) values back where the (B, T) mask is True, zero elsewhere."""
    if values is None:
        return None
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)
