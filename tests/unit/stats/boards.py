"""Boards with known truth: systems on the same prompts, with training runs that differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def draw_board(
    rng: np.random.Generator,
    means: Sequence[float],
    *,
    seeds: int,
    prompts: int,
    spread: float | Sequence[float],
    per_document: int = 1,
    skewed: bool = False,
    own: float = 0.5,
) -> tuple[list[Array], list[int]]:
    """Return a table (seeds, prompts) of each system, and the document of each prompt.

    Args:
        rng: of all draws.
        means: true value of each system.
        seeds, prompts: how many.
        spread: deviation of training runs, of all systems or of each; a completion's own is 1.
        per_document: prompts of a document; where there are several, it adds 0.5 of each system and 0.4 of each run.
        skewed: runs are exponential rather than normal.
        own: deviation of what a system has with a prompt.
    """
    documents = np.repeat(np.arange(prompts // per_document), per_document)
    common, tables = rng.normal(0, 1, (1, prompts)), []
    for mean, deviation in zip(means, np.broadcast_to(spread, (len(means),)), strict=True):
        runs = rng.exponential(1, (seeds, 1)) - 1 if skewed else rng.normal(0, 1, (seeds, 1))
        table = mean + common + deviation * runs + rng.normal(0, own, (1, prompts)) + rng.normal(0, 1, (seeds, prompts))
        if per_document > 1:
            table += rng.normal(0, 0.5, (1, documents[-1] + 1))[:, documents]
            table += rng.normal(0, 0.4, (seeds, documents[-1] + 1))[:, documents]
        tables.append(table)
    return tables, documents.tolist()
