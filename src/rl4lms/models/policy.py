"""The policy: a language model with, optionally, a value function.

`forward` is the log-prob pass and `generate` the only other entry; nothing outside calls the submodules, so that the module can be
wrapped for distributed training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, overload

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.core.logprobs import TokenLogprobs, chunked_token_logprobs
from rl4lms.models.activations import fuse_activations
from rl4lms.models.families import family_of
from rl4lms.models.generate import Generation, beam_search, generate
from rl4lms.models.loading import SpecialTokens
from rl4lms.models.lora import use_adapter


@dataclass(slots=True)
class Pass:
    """Result of one log-prob pass: float32 (B, T), zero on padding; None for what was not asked for.

    Attributes:
        logprobs: of the completion tokens under the behaviour policy.
        full_logprobs: under the full softmax at temperature 1.
        entropy: of the behaviour policy, nats.
        kept_mass: probability of the token mask under the tempered full softmax.
        values: the value function at the state before each token.
    """

    logprobs: Tensor | None = None
    full_logprobs: Tensor | None = None
    entropy: Tensor | None = None
    kept_mass: Tensor | None = None
    values: Tensor | None = None


class Losses(Protocol):
    """What a pass is trained on, over the N completion tokens of its batch, row by row.

    Attributes:
        entropy: whether `policy` uses the entropy.
    """

    entropy: bool

    def policy(self, tokens: TokenLogprobs, part: slice) -> Tensor:
        """A scalar: the loss of some of the tokens, summed over them; `part` says which of the N they are."""
        ...

    def value(self, values: Tensor) -> Tensor:
        """A scalar: the loss of the values (N,)."""
        ...


class ValueHead(nn.Module):
    """A linear map from hidden states to one value. It starts at zero: the first advantages are the returns themselves."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, d) of any float type to float32 (N,)."""
        return self.linear(hidden.to(self.linear.weight.dtype))[:, 0].float()


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

    def __init__(self, lm: PreTrainedModel, tokens: SpecialTokens, adapter: str | None = None, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.lm = lm
        self.tokens = tokens
        self.adapter = adapter
        self.autocast = autocast
        fuse_activations(lm)
        self.family = family_of(lm, tokens.decoder_prefix)
        self.value_lm = None
        self.value_adapter: str | None = None
        self.value_family = self.family
        self.value_head = None
        # Layers that recompute their activations in the backward pass; HF ties this to `training`, which would also drop the KV cache.
        self.checkpointed_layers: list[nn.Module] = []

    def add_value(self, value_lm: PreTrainedModel | None, adapter: str | None = None) -> None:
        """Adds a value head on the policy's own trunk (`value_lm` None), on another LM, or on another adapter of the same LM."""
        config = self.lm.config
        width = getattr(config, "hidden_size", None) or config.decoder.hidden_size
        if getattr(config, "word_embed_proj_dim", None):
            width = config.word_embed_proj_dim  # OPT's trunk may project its output
        self.value_head = ValueHead(width).to(self.device)
        self.value_adapter = adapter or self.adapter
        if value_lm is not None:
            self.value_lm = value_lm
            self.value_family = family_of(value_lm, self.tokens.decoder_prefix)

    @property
    def device(self) -> torch.device:
        return next(self.lm.parameters()).device

    @property
    def shares_trunk(self) -> bool:
        """Whether policy and value come from one forward pass."""
        return self.value_head is not None and self.value_lm is None and self.value_adapter == self.adapter

    @contextlib.contextmanager
    def running(self, adapter: str | None = None) -> Iterator[None]:
        """Autocast, and the LoRA adapter in use; the policy's own adapter is active again afterwards."""
        for layer in self.checkpointed_layers:
            layer.training = torch.is_grad_enabled()
        adapters = use_adapter(self.lm, adapter or self.adapter) if hasattr(self.lm, "lora_layers") else contextlib.nullcontext()
        with self.precision(), adapters:
            yield

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """The autocast of this policy. Weights are cast once within the outermost of nested contexts."""
        return contextlib.nullcontext() if self.autocast is None else torch.autocast(self.device.type, dtype=self.autocast)

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
        losses: Losses | None = None,
    ) -> Pass:
        """The log-prob pass, over real completion tokens only; nothing of size B x T x V is kept.

        With `losses` it is also the backward pass: gradients are added to the parameters, and the results carry no graph. The output
        layer is then run forward and backward chunk by chunk, and the policy's activations are freed before a separate value LM runs.

        Args:
            prompt_ids, prompt_mask: (B, P), padded on the family's side.
            completion_ids, completion_mask: (B, T), padded on the right.
            temperature: of the behaviour policy, positive.
            token_mask: (B, T, ceil(V/8)) packed support of the behaviour policy, or None for the whole vocabulary.
            logprobs, values: which outputs are wanted.
            full, entropy: whether `full_logprobs` with `kept_mass`, and `entropy`, come with `logprobs`. With `losses` they do not matter.
            losses: what to train on.

        Returns:
            A `Pass`.
        """
        batch = (prompt_ids, prompt_mask, completion_ids, completion_mask)
        out, states = Pass(), None
        if logprobs:
            with self.running():
                states = _States.of(self.family.hidden(*batch), leaf=losses is not None)
                tokens = chunked_token_logprobs(
                    self._head,
                    states.hidden,
                    completion_ids[completion_mask],
                    self.tokens.vocab_size,
                    temperature,
                    None if token_mask is None else token_mask[completion_mask],
                    full=full and losses is None,
                    entropy=entropy if losses is None else losses.entropy,
                    loss=losses.policy if losses is not None else None,
                )
            out.logprobs, out.entropy = _scatter(tokens.behaviour, completion_mask), _scatter(tokens.entropy, completion_mask)
            out.full_logprobs, out.kept_mass = _scatter(tokens.full, completion_mask), _scatter(tokens.kept_mass, completion_mask)
        if values:
            if self.value_head is None:
                raise RuntimeError("this policy has no value function")
            with self.running(self.value_adapter):
                if states is None or not self.shares_trunk:
                    if states is not None:
                        states.backward()
                    states = _States.of(self.value_family.hidden(*batch), leaf=losses is not None)
                v = self.value_head(states.hidden)
                if losses is not None:
                    losses.value(v).backward()
                    v = v.detach()
            out.values = _scatter(v, completion_mask)
        if states is not None:
            states.backward()
        return out

    def _head(self, hidden: Tensor) -> Tensor:
        """Logits by the policy's own adapter, also when a chunk is recomputed in the backward pass, after `forward` has ended."""
        with self.running():
            return self.family.head(hidden)

    def generate(self, prompt_ids: Tensor, prompt_mask: Tensor, keys: Tensor, **options: Any) -> Generation:
        """Samples completions; see `rl4lms.models.generate.generate`."""
        with torch.no_grad(), self.precision():
            return generate(self, prompt_ids, prompt_mask, keys, **options)

    def beam_search(self, prompt_ids: Tensor, prompt_mask: Tensor, settings: EvalGenerationConfig) -> Generation:
        """Decodes by beam search; see `rl4lms.models.generate.beam_search`."""
        return beam_search(self, prompt_ids, prompt_mask, settings)


@dataclass(slots=True)
class _States:
    """Hidden states (N, d) of a trunk.

    Where the losses are backpropagated at once, `hidden` is a leaf that gathers their gradients, which enter the trunk all together.
    """

    trunk: Tensor
    hidden: Tensor

    @classmethod
    def of(cls, trunk: Tensor, leaf: bool) -> _States:
        return cls(trunk, trunk.detach().requires_grad_() if leaf else trunk)

    def backward(self) -> None:
        if self.hidden is not self.trunk and self.trunk.requires_grad:
            self.trunk.backward(self.hidden.grad)


@overload
def _scatter(values: Tensor, mask: Tensor) -> Tensor: ...
@overload
def _scatter(values: None, mask: Tensor) -> None: ...
def _scatter(values: Tensor | None, mask: Tensor) -> Tensor | None:
    """Puts (N,) values back where the (B, T) mask is True, zero elsewhere."""
    if values is None:
        return None
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)
