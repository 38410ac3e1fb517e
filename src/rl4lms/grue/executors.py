"""Where the jobs of a grid run: `Processes` of this machine here, tasks of a cluster in `ray_tasks.py`. The order of
jobs, their logs and what becomes of failures is `jobs.py`'s, for all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

#: One thread each: on small models more threads cost more than they bring, and jobs would fight over the cores.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}


class Running(Protocol):
    """A command that was started."""

    def poll(self) -> str | None:
        """Return None while it runs, nothing ("") where it ended well, and how it failed otherwise."""

    def stop(self) -> None:
        """Ask it to end."""

    def wait(self) -> None:
        """Return when it has ended."""


class Executor(Protocol):
    """Starts commands."""

    @property
    def at_once(self) -> int:
        """How many commands may run together."""

    def start(self, arguments: Sequence[str], log: Path) -> Running:
        """Start this Python interpreter with arguments; what it prints goes to `log`."""


class Processes:
    """Runs commands as child processes.

    Args:
        at_once: how many together.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once

    @property
    def at_once(self) -> int:
        """How many processes may run together."""
        return self._at_once

    def start(self, arguments: Sequence[str], log: Path) -> Running:
        """Start a process."""
        with log.open("wb") as file:
            return Process(arguments, file)


class Process:
    """A child process.

    Args:
        arguments: of this Python interpreter.
        output: an open file for what it prints.
        environment: variables beside those of this process and `ENVIRONMENT`.
        folder: in which it works; by default that of this process.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        output: IO[bytes],
        environment: dict[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {}), **ENVIRONMENT},
            cwd=folder,
        )

    def poll(self) -> str | None:
        """See `Running`."""
        code = self._process.poll()
        return None if code is None else f"with exit code {code}" if code else ""

    def stop(self) -> None:
        """See `Running`."""
        self._process.terminate()

    def wait(self) -> None:
        """See `Running`."""
        self._process.wait()
