"""A key-value cache that does not copy itself at every token, and the name that a model takes a cache by."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer
from transformers.modeling_outputs import BaseModelOutputWithPast

# Since transformers 5.24 every model takes a `cache`; before, they took one of two others (and Flaubert's `cache`, a
# dict, was something else).
_FIELDS = {field.name for field in dataclasses.fields(BaseModelOutputWithPast)}
CACHE_NAMES = ("cache",) if "cache" in _FIELDS else ("past_key_values", "cache_params")


def accepts(module: nn.Module, name: str) -> bool:
    """Return whether a model has a parameter of this name."""
    return name in inspect.signature(type(module).forward).parameters


def cache_name(module: nn.Module) -> str | None:
    """Return by which name a model takes its cache, in whatever version of transformers; None where it has none."""
    return next((name for name in CACHE_NAMES if accepts(module, name)), None)


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer in buffers with room for the tokens to come: appending copies the new ones alone.

    (HF's `DynamicLayer` concatenates, which copies everything at every token; its `StaticLayer` attends to the unused
    room too.)

    Args:
        capacity: tokens that there is room for; more are possible and cost a copy.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append (B, heads, n, d) keys and values; return all of them, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        buffers = self._buffers
        if buffers is None or after > buffers[0].shape[-2]:
            room = max(self.capacity, after)
            buffers = tuple(new.new_empty(*new.shape[:-2], room, new.shape[-1]) for new in (key_states, value_states))  # type: ignore[assignment]
            if before:
                for buffer, old in zip(buffers, (self.keys, self.values), strict=True):  # type: ignore[arg-type]
                    buffer[..., :before, :] = old
        assert buffers is not None
        for buffer, new in zip(buffers, (key_states, value_states), strict=True):
            buffer[..., before:after, :] = new
        self._show(buffers, after)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        if self._buffers is not None:
            self._show(tuple(b.repeat_interleave(repeats, 0) for b in self._buffers), self.get_seq_length())

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        if self._buffers is not None:
            self._show(tuple(b[indices] for b in self._buffers), self.get_seq_length())

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows in another order."""
        self.batch_select_indices(beam_idx)

    def _show(self, buffers: tuple[Tensor, ...], length: int) -> None:
        self._buffers = (buffers[0], buffers[1])
        self.keys, self.values = (buffer[..., :length, :] for buffer in buffers)


def roomy_cache(config: PreTrainedConfig, capacity: int) -> DynamicCache:
    """Return the cache HF would make for a decoder, with room for `capacity` tokens in its plain layers (sliding
    windows stay HF's).
    """
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
