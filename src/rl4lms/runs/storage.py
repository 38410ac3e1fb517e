"""Files and folders that are there whole or not at all, and one place that turns a failing disk into a message."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from rl4lms.errors import Rl4lmsError, StorageError

# Suffixes of what is being written, and of what is being replaced; `tidy` knows them.
_NEW, _OLD = ".writing", ".replaced"
# What people can do about it; other numbers are shown as the system words them.
_ADVICE = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the disk quota is used up; make room",
    errno.EROFS: "the file system is read-only; make it writable",
    errno.EACCES: "no permission to write there; change the permissions",
    errno.EPERM: "no permission to write there; change the permissions",
    errno.ENOENT: "a folder of the run was deleted or moved while the run was going on; put it back",
    errno.ENOTDIR: "a folder of the run was replaced by a file while the run was going on; put it back",
    errno.EIO: "the disk failed; check it",
}
_READING_ADVICE = {
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount the file system again",
}
# These concern the disk whatever file is named; others only where the file lies in the run folder.
_ANYWHERE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def temporary_of(path: Path) -> Path:
    """Return where a file or folder is written before it takes its place."""
    return path.with_name(f".{path.name}{_NEW}")


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and rename it, so that a crash leaves the former content or the new one.

    Lone surrogates, which UTF-8 cannot hold, are written as JSON escapes.
    """
    temporary = temporary_of(path)
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def append_line(path: Path, text: str) -> None:
    """Append one line; where the disk has no room for all of it, none of it stays."""
    data = (text + "\n").encode("utf-8")
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Return an empty folder to write into, which takes the place of `folder` when the block ends well and goes when it
    does not.

    What was there before stays until the new one is complete on disk; a crash between the two renames is mended by
    `tidy`.
    """
    new, old = temporary_of(folder), folder.with_name(f".{folder.name}{_OLD}")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        yield new
        for path in [*new.rglob("*"), new]:
            fsync(path)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(folder, old)
        os.rename(new, folder)
        fsync(folder.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        with contextlib.suppress(OSError):
            if not folder.exists():
                os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def tidy(parent: Path) -> None:
    """Remove what interrupted writes left in a folder, and put back what was about to be replaced."""
    with reading(parent):
        replaced = sorted(parent.glob(f".*{_OLD}"))
    for path in replaced:
        final = path.with_name(path.name[1 : -len(_OLD)])
        if not final.exists():
            os.rename(path, final)
    for path in [*parent.glob(f".*{_OLD}"), *parent.glob(f".*{_NEW}")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Make sure that a file, or the entries of a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def storage_errors(folder: Path, what_remains: Callable[[], str]) -> Iterator[None]:
    """Turn every failed write of a run into one message: what, where, what to do, and what remains.

    Args:
        folder: the run folder.
        what_remains: says which checkpoint can be resumed from, and how; called after the failure.

    Raises:
        StorageError: a write failed, whichever library made it: some raise errors of their own, with the system's
            number in the text.
    """
    try:
        yield
    except Rl4lmsError:
        raise
    except Exception as error:
        number = _number(error)
        if number is None or not _concerns(error, number, folder):
            raise
        where = getattr(error, "filename", None) or folder
        advice = _ADVICE.get(number, f"{os.strerror(number)}; see to it")
        try:
            remains = what_remains()
        except OSError:  # a disk that cannot be read either
            remains = "continue with --resume (in Python: resume=True)"
        raise StorageError(f"{where}: {advice}, then {remains}") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell a read that the system refuses from content that is damaged: it says nothing about the content.

    Args:
        path: what is read, where the error names no file.

    Raises:
        StorageError: a read failed, whichever library made it.
    """
    try:
        yield
    except Rl4lmsError:
        raise
    except Exception as error:
        number = _number(error)
        if number is None:
            raise
        where, name = getattr(error, "filename", None) or path, errno.errorcode.get(number, str(number))
        raise StorageError(
            f"{where}: cannot be read ({name}: {os.strerror(number)}), which does not say that it is damaged, so "
            f"nothing was removed; {_READING_ADVICE.get(number, 'see to it')}, then continue with --resume (in Python: "
            f"resume=True)"
        ) from error


def is_file(path: Path) -> bool:
    """Return whether a file is there; unlike pathlib, which from Python 3.14 on takes every error for a no.

    Raises:
        OSError: the system does not say.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _number(error: BaseException) -> int | None:
    """Return the system's error number: of an `OSError`, or of a Rust library's error, which ends in `(os error
    28)`.
    """
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found.group(1)) if found else None


def _concerns(error: BaseException, number: int, folder: Path) -> bool:
    name = getattr(error, "filename", None)
    if number in _ANYWHERE or not folder.is_dir() or (name is None and str(folder) in str(error)):
        return True
    return isinstance(name, str | os.PathLike) and Path(os.fspath(name)).absolute().is_relative_to(folder.absolute())
