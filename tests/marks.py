"""Marks of parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(values: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Every value, those that are not in `quick` marked `slow`: they take the same way through the code.

    Raises:
        ValueError: something in `quick` is no value; it would be tried by nobody.
    """
    values = list(values)
    absent = [value for value in quick if value not in values]
    if absent:
        raise ValueError(f"no such values: {absent}")
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)), marks=() if value in quick else pytest.mark.slow
        )
        for value in values
    ]
