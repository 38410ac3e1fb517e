"""Advantages of completions among those of one prompt, without a value function. Rows of one prompt stand together."""

from __future__ import annotations

import torch
from torch import Tensor


def leave_one_out(totals: Tensor, scored: Tensor, size: int) -> Tensor:
    """Subtract from each total the mean of the other ones of its prompt (Kool et al., 2019; RLOO, arXiv 2402.14740).

    A_i = R_i - 1/(n-1) sum_{j != i} R_j over the n rows of the prompt that have a reward; unbiased, since what is
    subtracted does not depend on completion i.

    Args:
        totals: (B,), return of each completion.
        scored: (B,) bool, False where a row has no reward.
        size: completions of a prompt.

    Returns:
        (B,); 0 for rows without a reward, and for a row that is alone.
    """
    kept, count = _grouped(totals, scored, size)
    others = (kept.sum(-1, keepdim=True) - kept) / (count - 1).clamp(min=1)
    return ((kept - others) * (scored.view(-1, size) & (count > 1))).flatten()


def group_relative(totals: Tensor, scored: Tensor, size: int, scale: str) -> Tensor:
    """Subtract the mean of a prompt's completions, and divide by a standard deviation (GRPO, Shao et al., 2024, arXiv
    2402.03300, section 4.1.2).

    Args:
        totals, scored, size: as for `leave_one_out`.
        scale: `group` divides by the deviation of the prompt's completions (GRPO), `batch` by that of all centred
            returns (so that prompts on which all do alike are not blown up), `none` by nothing (Dr. GRPO, arXiv
            2503.20783).

    Returns:
        (B,); 0 for rows without a reward, and where all returns of a prompt are equal up to rounding.
    """
    kept, count = _grouped(totals, scored, size)
    there = scored.view(-1, size)
    centred = (kept - kept.sum(-1, keepdim=True) / count.clamp(min=1)) * there
    silent = centred.abs().amax(-1, keepdim=True) <= 1e-6 * kept.abs().amax(-1, keepdim=True)
    centred = centred.masked_fill(silent, 0.0)
    if scale == "group":
        variance = centred.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    elif scale == "batch":
        variance = centred.square().sum() / (count.sum() - 1).clamp(min=1)
    else:
        return centred.flatten()
    return (centred / variance.sqrt().masked_fill(variance == 0, 1.0)).flatten()


def best_of_group(totals: Tensor, scored: Tensor, size: int, keep: int) -> Tensor:
    """Choose the completions of each prompt with the largest totals; of equal ones the first.

    Args:
        totals, scored, size: as for `leave_one_out`.
        keep: how many of each prompt.

    Returns:
        (B,) bool; False for rows without a reward, and for all rows of a prompt whose totals are equal up to rounding,
        which has no best.
    """
    kept, _ = _grouped(totals, scored, size)
    there = scored.view(-1, size)
    most, least = (kept.masked_fill(~there, bound) for bound in (-torch.inf, torch.inf))
    spread = most.amax(-1, keepdim=True) - least.amin(-1, keepdim=True)
    order = most.sort(dim=-1, descending=True, stable=True).indices[:, :keep]
    chosen = torch.zeros_like(there).scatter(1, order, True)
    return (chosen & there & (spread > 1e-6 * kept.abs().amax(-1, keepdim=True))).flatten()


def _grouped(totals: Tensor, scored: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return totals (prompts, size) with zeros where there is no reward, and how many of each prompt have one."""
    there = scored.view(-1, size)
    return totals.view(-1, size).masked_fill(~there, 0.0), there.sum(-1, keepdim=True)
