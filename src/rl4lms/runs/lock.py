"""One process per run folder: a lock that vanishes with its process, however that ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import weakref
from pathlib import Path

from rl4lms.errors import CheckpointError, StorageError

LOCK_FILE = ".lock"
_log = logging.getLogger(__name__)
# Windows keeps others from reading the bytes that are locked; these lie behind what the file says about its holder.
_BYTE = 1 << 30
# A file that is never the one that was opened: some network file systems number files anew each time.
_TRIES = 10


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class RunLock:
    """Holds a run folder for this process. Use as a context manager.

    Args:
        folder: the run folder, which must exist.

    Raises:
        CheckpointError: another process holds it, or another run of this one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK_FILE
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        descriptor = self._lock()
        try:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            self._identity = os.stat(self.folder)
        except BaseException:  # nobody would close it: `__exit__` is not called
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _HELD.add(self)
        return self

    def _lock(self) -> int:
        """Return the locked file's descriptor."""
        for left in reversed(range(_TRIES)):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _try_lock(descriptor)
            except (BlockingIOError, PermissionError) as error:
                os.close(descriptor)
                raise CheckpointError(
                    f"{self.folder}: {self._holder()} is training in this run folder; wait for it, or stop it"
                ) from error
            except OSError as error:  # some network file systems have no locks
                _log.warning(
                    "%s: no file locks here (%s); let no second process train in this folder", self.path, error.strerror
                )
            if _same(os.fstat(descriptor), self.path) or not left:
                break
            os.close(descriptor)  # its last holder removed the file just now
        return descriptor

    def __exit__(self, *exc: object) -> None:
        if self._descriptor is None:  # a forked child
            return
        _HELD.discard(self)
        # Removed while it is still held, so that nobody else's lock is; and not where the folder has become another
        # run's.
        with contextlib.suppress(OSError):
            if sys.platform != "win32" and _same(os.fstat(self._descriptor), self.path):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = None

    def check(self) -> None:
        """Notice a folder that was deleted or replaced while the run goes on.

        Raises:
            StorageError: it was.
        """
        if not _same(self._identity, self.folder):
            raise StorageError(
                f"{self.folder}: the run folder was deleted, moved or replaced while the run was going on; nothing "
                f"more was saved"
            )

    def forget(self) -> None:
        """Close the file in a forked child: the lock is the parent's, and must not outlive it in a worker of a
        reward.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _holder(self) -> str:
        try:
            about = json.loads(self.path.read_text(encoding="utf-8"))
            return f"process {about['pid']} on {about['host']}"
        except (OSError, ValueError, KeyError, TypeError):  # it has not written its name yet
            return "another process"


def _same(known: os.stat_result, path: Path) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    return (known.st_dev, known.st_ino) == (now.st_dev, now.st_ino)


_HELD: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_HELD):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
