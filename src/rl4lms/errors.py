"""Errors meant for users: each says what is wrong, where, and what to do.

Every error derives from `Rl4lmsError` and from the standard error that it refines, so `except ValueError` works as
people expect. They can be pickled, because test runners and process pools send errors between processes. `Interrupted`
is no error.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def nth_row(index: int, token: int | None = None) -> str:
    """Return what messages call a row, and a token in it: `row 1` is the first. All of them count from 1, as people do.

    Args:
        index, token: as Python counts, from 0.
    """
    return f"row {index + 1}" if token is None else f"row {index + 1}, token {token + 1}"


def plural(count: int, what: str) -> str:
    """Return a number of things: `1 prompt`, `1,200 prompts`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


class Rl4lmsError(Exception):
    """Root of all errors that this library raises on purpose."""


class ConfigError(Rl4lmsError, ValueError):
    """A recipe, an override or an option that cannot be understood."""


class DataError(Rl4lmsError, ValueError):
    """Prompts, references or columns that are missing or malformed."""


class ModelError(Rl4lmsError, ValueError):
    """A model or tokenizer that cannot be loaded or used as asked."""


class UnreachableModelError(ModelError):
    """A model of the Hub that this machine does not have, while the Hub does not answer.

    Args:
        what: cannot be loaded.
        remedy: why, and what to do instead.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what, self.remedy = what, remedy

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


class RewardError(Rl4lmsError, RuntimeError):
    """A reward that failed, or returned something that is not a reward."""


class CheckpointError(Rl4lmsError, RuntimeError):
    """A checkpoint that is incomplete, damaged or from another run."""


class StorageError(Rl4lmsError, OSError):
    """A run folder that cannot be written to (the disk is full, it is read-only, or it was deleted), or read."""


class NonFiniteError(Rl4lmsError, ArithmeticError):
    """NaN or infinity in a reward, a loss or a gradient.

    Args:
        message: what was found, and where.
        rows: the rows of the iteration that are wrong, or that the failing minibatch held, where they are known.
    """

    def __init__(self, message: str, rows: list[int] | None = None) -> None:
        super().__init__(message)
        self.rows = rows


class ProcessError(Rl4lmsError, RuntimeError):
    """Another process of the run failed; the message is its own."""


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP stopped a run, which was left so that it can be resumed.

    A `KeyboardInterrupt` and no `Rl4lmsError`: neither a loop over seeds nor an `except Exception` goes on as if the
    run had finished.

    Args:
        message: when it stopped, what was saved and what was lost.
        folder: the run folder, where there is one to resume.
    """

    def __init__(self, message: str, folder: Path | None = None) -> None:
        super().__init__(message)
        self.folder = folder

    def __str__(self) -> str:
        return f"{self.args[0]}; continue with resume=True" if self.folder is not None else str(self.args[0])


class MissingPartError(Rl4lmsError, ImportError):
    """An optional part that is needed now and is not there: data or a program that no package brings.

    Args:
        part: what is missing, for which component.
        remedy: the command that brings it, and what to use without it.
    """

    def __init__(self, part: str, remedy: str) -> None:
        super().__init__(part, remedy)
        self.part, self.remedy = part, remedy

    def __str__(self) -> str:
        return f"{self.part} is missing; {self.remedy}"


class MissingExtraError(Rl4lmsError, ImportError):
    """An optional package that is needed now and is not installed.

    Args:
        package: what could not be imported.
        extra: the extra of this library that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, extra)
        self.package, self.extra = package, extra

    def __str__(self) -> str:
        return f'{self.package} is not installed; run: pip install "rl4lms[{self.extra}]"'


class BrokenPackageError(Rl4lmsError, ImportError):
    """An optional package that is needed now, is installed, and cannot be imported.

    Args:
        package: what could not be imported.
        why: what its import raised.
    """

    def __init__(self, package: str, why: str) -> None:
        super().__init__(package, why)
        self.package, self.why = package, why

    def __str__(self) -> str:
        return (
            f"{self.package} is installed, but importing it fails: {self.why}; install what it needs, or "
            f"install it again: pip install --force-reinstall {self.package}"
        )


class UnknownComponentError(ConfigError):
    """A recipe names a component that is not registered."""


class UnknownNameError(Rl4lmsError, KeyError):
    """A name that no component is registered under.

    Args:
        kind: `reward`, `metric`, ...
        name: what was asked for.
        known: the names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = tuple(known)
        super().__init__(kind, name, known)
        self.kind, self.name, self.known = kind, name, known

    def __str__(self) -> str:  # KeyError would show the repr of its arguments
        name = self.name if len(self.name) <= 60 else self.name[:57] + "..."
        if self.kind not in _LISTS or len(self.known) <= _FEW:
            return f"unknown {self.kind} {name!r}; {did_you_mean(name, self.known)}"
        near, (listed, own) = close_names(name, self.known, most=3), _LISTS[self.kind]
        meant = (
            f"did you mean {' or '.join(map(repr, near))}? All names: {listed}" if near else f"all names: {listed}{own}"
        )
        return f"unknown {self.kind} {name!r}; {meant}"


# Of these kinds there are too many names for a message: where all are listed, and what else there is.
_FEW = 12
_LISTS = {
    "reward": ("rl4lms ls rewards, rl4lms ls metrics", "; one of your own: path/to/file.py:function"),
    "metric": ("rl4lms ls metrics", "; one of your own: path/to/file.py:function"),
    "task": ("rl4lms ls tasks", "; one of your own: path/to/file.py:Class"),
    "name": ("rl4lms ls", "; settings: docs/config.md"),
}


def close_names(name: str, known: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known names nearest to one, none where none is near."""
    return difflib.get_close_matches(name.lower(), sorted(set(known)), n=most, cutoff=cutoff)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known name, or all of them where none is near."""
    names = sorted(set(known))
    near = close_names(name, names)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(names)}" if names else "there are none"


def shown(value: Any) -> str:
    """Return a value as messages show it: like in YAML, on one line, short."""
    return one_line(cut(json.dumps(value, ensure_ascii=False, default=repr)))


def cut(text: str) -> str:
    """Return a text that is not too long for a message."""
    return text if len(text) <= 60 else text[:57] + "..."


def one_line(text: str) -> str:
    """Return the text with everything that cannot be printed on one line as an escape: line ends, control characters,
    marks of direction.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )
