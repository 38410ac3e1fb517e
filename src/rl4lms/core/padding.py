"""Ragged rows of token ids to padded tensors and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Side = Literal["left", "right"]
# What another pass costs, in tokens of one: about as much for a model of 4 layers of width 256 as for GPT-2
# (`benchmarks/bench.py`, D).
GROUP_TOKENS = 32


def pad(rows: Sequence[Sequence[int]], pad_id: int, side: Side) -> tuple[Tensor, Tensor]:
    """Pad rows of ids to one length (at least 1): (B, L) int64 and its (B, L) bool mask."""
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
    """Return the real tokens of each row of ids (B, L), as lists."""
    return [row[keep].tolist() for row, keep in zip(ids.cpu(), mask.cpu(), strict=True)]


def trim(mask: Tensor) -> slice:
    """Return the slice of columns that holds every real token of `mask` (B, L), padded on either side; never empty."""
    columns = mask.any(0).nonzero()[:, 0].tolist() or [0]
    return slice(columns[0], columns[-1] + 1)


def group_by_length(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Group rows of similar length, so that padding each group to its longest row costs least.

    The cost of a group is its rows times its longest length, and `GROUP_TOKENS` for being a pass of its own; the
    optimum over all cuts of the rows in order of length.

    Args:
        lengths: of the rows, in tokens.
        most: rows that a group may have, at least 1.

    Returns:
        Indices of the rows, shortest group first.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    # best[j]: least cost of the j shortest rows; cut[j]: where their last group starts.
    best, cut = np.zeros(len(order) + 1), [0] * (len(order) + 1)
    for j in range(1, len(order) + 1):
        starts = np.arange(max(0, j - most), j)
        costs = best[starts] + GROUP_TOKENS + (j - starts) * lengths[order[j - 1]]
        k = int(costs.argmin())
        best[j], cut[j] = costs[k], int(starts[k])
    groups, end = [], len(order)
    while end:
        groups.append(order[cut[end] : end])
        end = cut[end]
    return groups[::-1]


def stack(tensors: Sequence[Tensor], fill: float | bool) -> Tensor:
    """Concatenate (B_i, T_i, ...) tensors along rows into (sum of B_i, max of T_i, ...), filling the second dimension
    on the right.
    """
    length = max(t.shape[1] for t in tensors)
    whole = tensors[0].new_full((sum(len(t) for t in tensors), length, *tensors[0].shape[2:]), fill)
    start = 0
    for t in tensors:
        whole[start : start + len(t), : t.shape[1]] = t
        start += len(t)
    return whole
