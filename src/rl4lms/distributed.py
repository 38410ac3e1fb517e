"""Sums over processes; no-ops on one. Every mean or decision over a batch goes through here."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Index of this process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process writes files and logs."""
    return rank() == 0


def all_sum(value: Tensor) -> Tensor:
    """The sum of `value` over processes."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def mean(values: Tensor, mask: Tensor | None = None) -> float:
    """Mean over the True entries of all processes; NaN where there are none."""
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    kind = torch.float32 if values.device.type == "mps" else torch.float64  # MPS has no float64
    total, count = all_sum(torch.stack([values.to(kind)[mask].sum(), mask.sum().to(kind)])).tolist()
    return total / count if count else float("nan")
