"""What SIGINT (Ctrl-C), SIGTERM and SIGHUP do to a run: it ends where it can be resumed. A second signal ends it at
once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from rl4lms import distributed
from rl4lms.errors import Interrupted

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_REPEAT_S = 1.0


class StopSignals:
    """Turns the first signal into a request to stop; the same one again within a second is no other. Use as a context
    manager.

    Handlers are installed in the main thread only, and not for a signal that is ignored, as `nohup` asks for; the
    previous ones come back at the end. Where `during` says `at_once`, the first signal raises `Interrupted`; elsewhere
    it is noted in `received`, and whoever finishes the work looks at it.

    Attributes:
        received: name of the signal that arrived, or None.
        doing: what goes on, in words.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self.doing = "the start"
        self._at_once = False
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for name in _SIGNALS:
                number = getattr(signal, name, None)
                # None: installed by something other than Python, which could not be put back
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name, now = signal.Signals(number).name, time.monotonic()
        if name == self.received and now - self._since < _REPEAT_S:
            return  # launchers send a signal to the process and to its group
        if self.received is not None:
            self._restore()
            signal.raise_signal(number)
            return
        self.received, self._since = name, now
        if self._at_once:
            raise Interrupted(self.received)
        note = f"\n{self.received}: {self.doing} is finished first; a second signal stops at once\n"
        with contextlib.suppress(OSError):  # a terminal that is gone; and print is not safe in a handler
            os.write(2, note.encode())

    @contextlib.contextmanager
    def during(self, what: str, *, at_once: bool) -> Iterator[None]:
        """Say what goes on, and whether the first signal ends it at once.

        Raises:
            Interrupted: a signal has arrived before, or arrives while it goes on, and `at_once` is True.
        """
        # Several processes stop together, at the end of an iteration
        at_once = at_once and distributed.world_size() == 1
        before = self.doing, self._at_once
        self.doing, self._at_once = what, at_once
        try:
            if at_once and self.received is not None:
                raise Interrupted(self.received)
            yield
        finally:
            self._at_once = before[1]
        self.doing = before[0]  # after an error it still says what failed
