"""Computing in float32 for a while, where two ways of having the same model are compared."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Turn weights of lower precision into float32 for a while, and autocast off; the weights are the same afterwards
    to the last bit.
    """
    low = [(p, p.data) for p in model.parameters() if p.is_floating_point() and p.dtype != torch.float32]
    try:
        for parameter, data in low:
            parameter.data = data.float()
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield
    finally:
        for parameter, data in low:
            parameter.data = data
