"""What a database does when it cannot keep something, and what browsers are told then."""

from __future__ import annotations

from typing import Any

from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")

#: A database that refuses, is gone, or has no connection left.
FAILURES: tuple[type[Exception], ...] = (sa.exc.DBAPIError, sa.exc.TimeoutError)
_FULL = ("database or disk is full", "disk full", "No space left on device")


def status_of(error: Exception) -> int:
    """Return the status that says why something was not saved: no space is left, or anything else."""
    return 507 if any(sign in str(error) for sign in _FULL) else 503
