"""A limit on what a reward may print: the first 65,536 characters of a call pass through, the rest is dropped and counted.

What goes through `sys.stdout` and `sys.stderr` is limited (`print`, logging, progress bars). Output that does not pass Python, such as
that of a program which a reward starts, goes where it always goes. The streams are only ever exchanged in the main thread, and what was
exchanged is kept: other threads may be in the middle of printing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

LIMIT = 64 * 1024

_STREAMS = ("stdout", "stderr")


class Budget:
    """How much one call may still print. A call that was given up on may print nothing more, and nobody counts it."""

    def __init__(self, limit: int) -> None:
        self.left, self.dropped = limit, 0
        self._lock = threading.Lock()

    def take(self, wanted: int) -> int:
        """How many of `wanted` characters may be printed."""
        with self._lock:
            allowed = min(wanted, self.left)
            self.left -= allowed
            self.dropped += wanted - allowed
            return allowed

    def close(self) -> None:
        """Lets nothing more through."""
        with self._lock:
            self.left = 0


# The budget of the call that this thread works for, and those of all calls that are waited for, innermost last: threads that a reward
# starts itself know no context and draw on the latter.
_own: ContextVar[Budget | None] = ContextVar("rl4lms_reward_prints", default=None)
_waited_for: list[Budget] = []
_lock = threading.Lock()
_wrapped: dict[str, _Limited] = {}  # the last of each stream


class _Limited:
    """A stream that asks the budget before it writes; without one, everything passes."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, data: Any) -> int:
        budget = _own.get()
        if budget is None and not _in_main_thread():  # the main thread prints for itself while a reward runs beside
            with _lock:
                budget = _waited_for[-1] if _waited_for else None
        allowed = len(data) if budget is None else budget.take(len(data))
        if allowed:
            self.stream.write(data if allowed == len(data) else data[:allowed])
        return len(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    @property
    def buffer(self) -> _Limited:
        return _Limited(self.stream.buffer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def limited(owner: str, limit: int = LIMIT) -> Iterator[Budget]:
    """While this lasts, what is printed counts against a limit; a line at the end says how much was dropped.

    Args:
        owner: names the reward in that line.
        limit: characters.
    """
    budget = Budget(limit)
    install()
    with _lock:
        _waited_for.append(budget)
    token = _own.set(budget)
    try:
        yield budget
    finally:
        _own.reset(token)
        with _lock:
            _waited_for.remove(budget)
        if budget.dropped and sys.stderr is not None:
            print(f"\n{owner} printed {limit + budget.dropped:,} characters; the last {budget.dropped:,} were dropped", file=sys.stderr)


def install() -> None:
    """Puts limited streams in the place of the program's own. Off the main thread it does nothing: `beside.begin` has done it there."""
    if not _in_main_thread():
        return
    for name in _STREAMS:
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Limited):
            if name not in _wrapped or _wrapped[name].stream is not stream:
                _wrapped[name] = _Limited(stream)
            setattr(sys, name, _wrapped[name])


def restore() -> None:
    """Puts the program's own streams back, unless a call is still being waited for, or this is not the main thread."""
    if not _in_main_thread():
        return
    with _lock:
        for name in _STREAMS:
            stream = getattr(sys, name)
            if not _waited_for and isinstance(stream, _Limited):
                setattr(sys, name, stream.stream)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
