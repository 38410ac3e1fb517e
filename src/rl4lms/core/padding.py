"""Ragged rows of token ids to padded tensors and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Side = Literal["left", "right"]


def pad(rows: Sequence[Sequence[int]], pad_id: int, side: Side) -> tuple[Tensor, Tensor]:
    """Pads rows of ids to one length (at least 1): (B, L) int64 and its (B, L) bool mask."""
    length = max([1, *map(len, rows)])
    ids = torch.full((len(rows), length), pad_id, dtype=torch.int64)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, row in enumerate(rows):
        if len(row):
            where = slice(length - len(row), None) if side == "left" else slice(len(row))
            ids[i, where] = torch.as_tensor(row, dtype=torch.int64)
            mask[i, where] = True
    return ids, mask


def unpad(ids: Tensor, mask: Tensor) -> list[list[int]]:
    """The real tokens of each row of ids (B, L), as lists."""
    return [row[keep].tolist() for row, keep in zip(ids.cpu(), mask.cpu(), strict=True)]


def trim(ids: Tensor, mask: Tensor, side: Side) -> slice:
    """The column slice that holds every real token of `mask` (B, L); never empty."""
    length = max(1, int(mask.sum(-1).max()))
    return slice(ids.shape[1] - length, None) if side == "left" else slice(0, length)


def stack(tensors: Sequence[Tensor], fill: float | bool) -> Tensor:
    """Concatenates (B_i, T_i, ...) tensors along rows into (sum of B_i, max of T_i, ...), filling the second dimension on the right."""
    length = max(t.shape[1] for t in tensors)
    whole = tensors[0].new_full((sum(len(t) for t in tensors), length, *tensors[0].shape[2:]), fill)
    start = 0
    for t in tensors:
        whole[start : start + len(t), : t.shape[1]] = t
        start += len(t)
    return whole


def place_last(values: Tensor, mask: Tensor) -> Tensor:
    """Puts one value per row (B,) on the row's last real token; float32 (B, T), zero elsewhere. Rows of `mask` are padded on the right."""
    placed = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    last = (mask.sum(-1) - 1).clamp(min=0)
    placed[torch.arange(len(mask), device=mask.device), last] = values.to(placed.dtype)
    return placed * mask
