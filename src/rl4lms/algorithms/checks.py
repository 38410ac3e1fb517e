"""What an algorithm may return: it is anybody's code, and what is wrong with it is told in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rl4lms.errors import ConfigError, NonFiniteError, nth_row
from rl4lms.types import Experience


def checked(method: str, objective: Any, outcome: Any) -> tuple[Tensor, Mapping[str, Any]]:
    """Return the loss and statistics that a method of an algorithm gave.

    Raises:
        ConfigError: they are no scalar and mapping.
    """
    right = isinstance(outcome, tuple) and len(outcome) == 2 and isinstance(outcome[1], Mapping)
    if not right or not isinstance(outcome[0], Tensor) or outcome[0].ndim:
        raise ConfigError(
            f"algorithm {type(objective).__name__!r}: {method} must return a scalar tensor and a mapping of "
            "statistics, such as `return loss, {}`"
        )
    return outcome


def check_advantages(objective: Any, e: Experience) -> None:
    """Refuse advantages and returns that are no numbers for every token.

    Raises:
        ConfigError: a wrong type or shape.
        NonFiniteError: NaN or infinity at a real token.
    """
    owner = f"algorithm {type(objective).__name__!r}: advantages()"
    wanted = f"torch.float32 of shape {tuple(e.mask.shape)}"
    for name in ("advantages", "returns") if objective.needs_value else ("advantages",):
        given = getattr(e, name)
        found = f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        if found != wanted:
            raise ConfigError(f"{owner} must set experience.{name} to a tensor, {wanted}; got {found}")
        if rows := (~given.isfinite() & e.mask).any(-1).nonzero()[:, 0].tolist():
            message = f"{owner} set experience.{name} to NaN or infinity, first in {nth_row(rows[0])}"
            raise NonFiniteError(f"{message}; no optimiser step was taken", rows=rows)
