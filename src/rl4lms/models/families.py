"""How each family of HuggingFace models is run: trunk, output head, positions, and cached decoding.

The rest of the library sees two operations: hidden states of the positions that predict completion tokens, and the
output head. The head is the model's *own* `forward` with its trunk replaced by a stub that hands over given hidden
states, so that biases (Marian), scalings (tied T5), transforms (BERT) and soft caps (Gemma) are applied whatever the
family. `family_check` compares the result with the plain forward of the model when it is loaded.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from rl4lms.core.packing import Packed
from rl4lms.core.padding import Side
from rl4lms.errors import ModelError
from rl4lms.models.cache import CACHE_NAMES, accepts, cache_name, roomy_cache
from rl4lms.models.flex import block_mask


class _TrunkOutput(BaseModelOutput):
    """What a trunk hands its head: the hidden states, and None for every other field a head reads (router logits, past
    keys, attentions).
    """

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Stub(nn.Module):
    """Stands where a trunk was and hands over given hidden states; for what else a head reads of its trunk, such as a
    scale or a config, it asks the trunk.

    Args:
        trunk: the model it stands for; no child of the stub, which has no parameters.
        given: holds the hidden states, shared with the stubs of models inside this one.
    """

    def __init__(self, trunk: nn.Module, given: list[Tensor]) -> None:
        super().__init__()
        self.__dict__ |= {"trunk": trunk, "given": given}

    def forward(self, *args: Any, **kwargs: Any) -> BaseModelOutput:
        return _TrunkOutput(last_hidden_state=self.given[0])

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.trunk, name)
        # OPT's language model calls `self.model.decoder`
        return _Stub(value, self.given) if isinstance(value, PreTrainedModel) else value


class _Head:
    """The output head of `lm` alone: its own forward, with the models between token ids and head replaced."""

    def __init__(self, lm: PreTrainedModel) -> None:
        self.given: list[Tensor] = [torch.empty(0)]
        self.lm = copy.copy(lm)  # shallow: parameters are shared
        self.lm.__dict__["_modules"] = {
            name: _Stub(child, self.given) if isinstance(child, PreTrainedModel) else child
            for name, child in lm._modules.items()
        }

    def __call__(self, hidden: Tensor, **inputs: Any) -> Tensor:
        """Return logits (N, V) of hidden states (N, d)."""
        self.given[0] = hidden[None]
        dummy = torch.zeros(1, 1, dtype=torch.int64, device=hidden.device)
        if self.lm.config.is_encoder_decoder:
            inputs = {"decoder_input_ids": dummy, "encoder_outputs": _TrunkOutput(last_hidden_state=hidden[None])}
        # `[0]` would cost a copy in the backward pass
        return self.lm(input_ids=dummy, use_cache=False, **inputs).logits.squeeze(0)


class _Positions:
    """Position ids of a decoder-only trunk, from its tokens and mask alone.

    RoBERTa counts from its pad id + 1 and gives tokens that equal the pad id the pad's position; every other family
    counts real tokens from 0 (OPT adds its offset itself).
    """

    def __init__(self, trunk: PreTrainedModel) -> None:
        self.skip: int | None = getattr(getattr(trunk, "embeddings", None), "padding_idx", None)
        self.accepted = accepts(trunk, "position_ids")

    def counted(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return which tokens (B, L) advance the position."""
        return mask if self.skip is None else mask & (ids != self.skip)

    def __call__(self, ids: Tensor, mask: Tensor, before: Tensor | int = 0) -> Tensor:
        """Return positions (B, L) of tokens that follow `before` counted tokens."""
        counted = self.counted(ids, mask)
        index = counted.cumsum(-1) + before
        if self.skip is None:
            return (index - 1).clamp(min=0)
        return torch.where(counted, index + self.skip, self.skip)


@dataclass(slots=True)
class DecodeState:
    """What cached decoding carries from token to token, for B rows.

    Attributes:
        cache: keys and values of past tokens.
        mask: (B, L + budget) attention mask over prompt and completion, the completion part all ones.
        length: columns of `mask` in use.
        counted: (B,) tokens that advanced the position so far.
        padded: whether any prompt token is padding; without, attention needs no mask.
        encoder_hidden: (B, P, d) for encoder-decoders.
    """

    cache: Any
    mask: Tensor
    length: int
    counted: Tensor
    padded: bool = True
    encoder_hidden: Tensor | None = None

    def repeat(self, n: int) -> None:
        """Repeat every row n times, consecutively."""
        self.select(torch.arange(len(self.mask), device=self.mask.device).repeat_interleave(n))

    def select(self, rows: Tensor) -> None:
        """Make the given rows, int64 (b,), the batch; a row may be given several times."""
        self.cache.reorder_cache(rows)  # the one selection that caches of all kinds have, for beams
        self.mask, self.counted = self.mask[rows], self.counted[rows]
        if self.encoder_hidden is not None:
            self.encoder_hidden = self.encoder_hidden[rows]


class CausalFamily:
    """Decoder-only models, and encoders run as decoders. Prompts are padded on the left.

    Attributes:
        shares_prompts: whether a prompt and several completions of it may be one row (`family_check` finds out).
        flex: whether such a row has flex attention.
        longest: how wide such a row may be: some models have buffers of as many columns as positions.
    """

    padding_side: Side = "left"

    def __init__(self, lm: PreTrainedModel, shares_prompts: bool = False) -> None:
        self.shares_prompts, self.flex = shares_prompts, False
        self.longest: float = math.inf
        trunks = [child for child in lm.children() if isinstance(child, PreTrainedModel)]
        if len(trunks) != 1:
            raise ModelError(f"{type(lm).__name__} is not supported: it is not one trunk and an output head")
        self.trunk = trunks[0]
        if not accepts(self.trunk, "input_ids"):  # a wrapper that passes all on to the one decoder in it
            self.trunk = lm.get_decoder()
        self.positions = _Positions(self.trunk)
        name = cache_name(self.trunk)
        if name is None:
            raise ModelError(f"{type(lm).__name__} is not supported: it has no cache to sample with")
        self.cache_name = name
        self._head = _Head(lm)

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits (N, V) of hidden states (N, d), by the model's own head."""
        return self._head(hidden)

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that the output head may use; what is tied to the embeddings is one of them."""
        return list(self._head.lm.parameters())

    def hidden(
        self, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor
    ) -> Tensor:
        """Return hidden states (N, d) whose logits predict each of the N real completion tokens, row by row.

        Of fewer prompts than completions each is that of as many consecutive ones. Where that is cheaper and the model
        can, they are one row.

        Rows are moved to the left: behind a causal mask no real token sees padding on the right, so attention needs no
        mask, and a batch is as wide as its longest row rather than its longest prompt and completion together.
        """
        if (n := len(completion_ids) // len(prompt_ids)) > 1:
            if self.shares_prompts:
                packed = Packed(prompt_ids, prompt_mask, completion_ids, completion_mask)
                text_config = self.trunk.config.get_text_config(decoder=True)
                if packed.width <= self.longest and packed.pays(text_config.hidden_size, self.flex):
                    return self.packed(packed)
            prompt_ids, prompt_mask = (x.repeat_interleave(n, 0) for x in (prompt_ids, prompt_mask))
        ids = torch.cat([prompt_ids, completion_ids[:, :-1]], dim=1)
        lengths = torch.cat([prompt_mask, completion_mask[:, :-1]], dim=1).sum(-1, keepdim=True)
        prompt_lengths = prompt_mask.sum(-1, keepdim=True)
        columns = torch.arange(int(lengths.max()), device=ids.device)
        ids = ids.gather(1, (columns + prompt_ids.shape[1] - prompt_lengths).clamp(max=ids.shape[1] - 1))
        mask = columns < lengths
        # Positions run on through the padding: a break would read as several sequences in one row
        if self.positions.skip is None:
            out = self._run(ids, self.positions(ids, torch.ones_like(mask)), None)
        else:
            out = self._run(ids, self.positions(ids, mask), mask)
        states: Tensor = out.last_hidden_state
        # Column that predicts each token
        before = prompt_lengths - 1 + torch.arange(completion_ids.shape[1], device=ids.device)
        before += torch.arange(len(ids), device=ids.device)[:, None] * states.shape[1]
        return states.flatten(0, 1).index_select(0, before[completion_mask])

    def packed(self, rows: Packed) -> Tensor:
        """Return hidden states (N, d) of rows that hold a prompt and its completions."""
        attention, dtype = self.trunk.config._attn_implementation, self.trunk.dtype
        mask = block_mask(rows.part) if self.flex else rows.mask(attention, dtype)
        states: Tensor = self._run(rows.ids, rows.positions, mask).last_hidden_state
        return states.flatten(0, 1).index_select(0, rows.before)

    def prefill(self, prompt_ids: Tensor, prompt_mask: Tensor, budget: int) -> tuple[DecodeState, Tensor]:
        """Run the prompt once; return the state and the hidden states (B, d) that predict the first token."""
        padded = not bool(prompt_mask.all())
        cache = roomy_cache(self.trunk.config, prompt_ids.shape[1] + budget)
        out = self._run(
            prompt_ids,
            self.positions(prompt_ids, prompt_mask),
            prompt_mask if padded else None,
            use_cache=True,
            **{self.cache_name: cache},
        )
        ones = torch.ones(len(prompt_ids), budget, dtype=torch.bool, device=prompt_ids.device)
        counted = self.positions.counted(prompt_ids, prompt_mask).sum(-1)
        state = DecodeState(cache, torch.cat([prompt_mask, ones], dim=1), prompt_ids.shape[1], counted, padded)
        return state, out.last_hidden_state[:, -1]

    def step(self, state: DecodeState, token_ids: Tensor) -> Tensor:
        """Feed one token (B,) per row; return the hidden states (B, d) that predict the next."""
        ids = token_ids[:, None]
        state.length += 1
        positions = self.positions(ids, torch.ones_like(ids, dtype=torch.bool), state.counted[:, None])
        state.counted = state.counted + self.positions.counted(ids, torch.ones_like(ids, dtype=torch.bool))[:, 0]
        mask = state.mask[:, : state.length]
        out = self._run(
            ids, positions, mask if state.padded else None, use_cache=True, **{self.cache_name: state.cache}
        )
        return out.last_hidden_state[:, -1]

    def _run(self, ids: Tensor, positions: Tensor, attention_mask: Tensor | BlockMask | None, **kwargs: Any) -> Any:
        if self.positions.accepted:
            kwargs["position_ids"] = positions
        kwargs.setdefault("use_cache", False)
        if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2:
            attention_mask = attention_mask.long()  # as tokenizers give it: some models compute 1 - mask
        if attention_mask is not None:
            kwargs["attention_mask"] = attention_mask
        return self.trunk(input_ids=ids, **kwargs)


class EncoderDecoderFamily:
    """Encoder-decoders. Prompts are padded on the right; completions follow the decoder's fixed first tokens.

    `decoder_prefix` is the decoder start token, and the forced BOS where the generation config has one: both are given,
    not chosen, so they belong to the state and not to the actions.
    """

    padding_side: Side = "right"

    def __init__(self, lm: PreTrainedModel, decoder_prefix: tuple[int, ...]) -> None:
        self.lm = lm
        self.prefix = decoder_prefix
        self.encoder, self.decoder = lm.get_encoder(), lm.get_decoder()
        self.positions: _Positions | None = None
        self._head = _Head(lm)
        if isinstance(self.decoder, PreTrainedModel) and self.decoder.get_output_embeddings() is not None:
            # EncoderDecoderModel: the decoder is a causal LM with a head of its own.
            inner = CausalFamily(self.decoder)
            self.decoder, self.positions, self._head = inner.trunk, inner.positions, inner._head
        needed = ("input_ids", "encoder_hidden_states", "encoder_attention_mask")
        missing = [name for name in needed if not accepts(self.decoder, name)]
        name = cache_name(self.decoder)
        if missing or name is None:
            lacking = ", ".join(missing + ([CACHE_NAMES[0]] if name is None else []))
            raise ModelError(f"{type(lm).__name__} is not supported: its decoder does not take {lacking}")
        self.cache_name = name

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits (N, V) of hidden states (N, d), by the model's own head."""
        return self._head(hidden)

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that the output head may use; what is tied to the embeddings is one of them."""
        return list(self._head.lm.parameters())

    def hidden(
        self, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor
    ) -> Tensor:
        """Return hidden states (N, d) whose logits predict each of the N real completion tokens, row by row.

        Of fewer prompts than completions each is that of as many consecutive ones.
        """
        ids = torch.cat([self._start(len(completion_ids), prompt_ids.device), completion_ids[:, :-1]], dim=1)
        n = len(completion_ids) // len(prompt_ids)  # completions of a prompt, which is encoded once
        encoded = self._encode(prompt_ids, prompt_mask)
        if n > 1:
            encoded, prompt_mask = (x.repeat_interleave(n, 0) for x in (encoded, prompt_mask))
        # Padding is on the right and attention is causal, so no decoder mask is needed: no real token sees a padded
        # one.
        out = self._decode(ids, encoded, prompt_mask, self._position_ids(ids, 0), use_cache=False)
        return out.last_hidden_state[:, len(self.prefix) - 1 :][completion_mask]

    def prefill(self, prompt_ids: Tensor, prompt_mask: Tensor, budget: int) -> tuple[DecodeState, Tensor]:
        """Run the encoder and the decoder prefix once; return the state and the hidden states (B, d) that predict the
        first token.
        """
        encoded = self._encode(prompt_ids, prompt_mask)
        ids = self._start(len(prompt_ids), prompt_ids.device)
        cache = EncoderDecoderCache(
            roomy_cache(self.decoder.config, len(self.prefix) + budget),
            DynamicCache(),  # without the config, whose sliding windows are not of the encoder's states
        )
        out = self._decode(
            ids, encoded, prompt_mask, self._position_ids(ids, 0), use_cache=True, **{self.cache_name: cache}
        )
        return DecodeState(
            cache, prompt_mask, len(self.prefix), self._count(ids), encoder_hidden=encoded
        ), out.last_hidden_state[:, -1]

    def step(self, state: DecodeState, token_ids: Tensor) -> Tensor:
        """Feed one token (B,) per row; return the hidden states (B, d) that predict the next."""
        ids = token_ids[:, None]
        positions = self._position_ids(ids, state.counted[:, None])
        state.counted = state.counted + self._count(ids)
        assert state.encoder_hidden is not None
        out = self._decode(
            ids, state.encoder_hidden, state.mask, positions, use_cache=True, **{self.cache_name: state.cache}
        )
        return out.last_hidden_state[:, -1]

    def _start(self, batch: int, device: torch.device) -> Tensor:
        return torch.tensor(self.prefix, dtype=torch.int64, device=device).expand(batch, -1)

    def _count(self, ids: Tensor) -> Tensor:
        ones = torch.ones_like(ids, dtype=torch.bool)
        return (ones if self.positions is None else self.positions.counted(ids, ones)).sum(-1)

    def _position_ids(self, ids: Tensor, before: Tensor | int) -> Tensor | None:
        if self.positions is None or not self.positions.accepted:
            return None
        return self.positions(ids, torch.ones_like(ids, dtype=torch.bool), before)

    def _encode(self, prompt_ids: Tensor, prompt_mask: Tensor) -> Tensor:
        encoded = self.encoder(input_ids=prompt_ids, attention_mask=prompt_mask.long()).last_hidden_state
        # EncoderDecoderModel projects where encoder and decoder differ in width.
        projection = getattr(self.lm, "enc_to_dec_proj", None)
        return encoded if projection is None else projection(encoded)

    def _decode(
        self, ids: Tensor, encoded: Tensor, prompt_mask: Tensor, positions: Tensor | None, **kwargs: Any
    ) -> Any:
        if positions is not None:
            kwargs["position_ids"] = positions
        return self.decoder(
            input_ids=ids, encoder_hidden_states=encoded, encoder_attention_mask=prompt_mask.long(), **kwargs
        )
