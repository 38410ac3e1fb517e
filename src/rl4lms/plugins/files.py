"""Components from a Python file: `path/to/file.py:name`."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from rl4lms.errors import ConfigError, Rl4lmsError, did_you_mean

# Files that are being executed, the innermost last.
_executing: list[Path] = []
_PATH = re.compile(r"(?P<file>.+\.py):(?P<attribute>[A-Za-z_]\w*)")


def is_path(name: str) -> bool:
    """Return whether a component is named `path/to/file.py:name`."""
    return _PATH.fullmatch(name) is not None


def file_of(name: str) -> str | None:
    """Return the file of a component that is named `path/to/file.py:name`; None of any other name."""
    match = _PATH.fullmatch(name)
    return None if match is None else match["file"]


def load(kind: str, name: str) -> Callable[..., Any]:
    """Execute a file and return the function or class in it. Relative paths start at the working directory.

    Args:
        kind: `reward`, `metric`, ...
        name: `path/to/file.py:name`.

    Raises:
        ConfigError: there is no such file, it raises an error when it is executed, or there is nothing callable of
            that name in it.
    """
    match = _PATH.fullmatch(name)
    if match is None:
        raise ConfigError(f"{name!r} does not name a {kind} in a file; write path/to/file.py:name")
    file, owner = Path(match["file"]).expanduser().resolve(), f"{kind} {name!r}"
    if not file.is_file():
        raise ConfigError(f"{owner}: there is no file {file}")
    module = _module(file, owner)
    found: Any = getattr(module, match["attribute"], None)
    if not callable(found):
        kinds = (inspect.isfunction, inspect.isclass)
        own = [
            key
            for key, value in vars(module).items()
            if any(k(value) for k in kinds) and value.__module__ == module.__name__
        ]
        what = "class" if kind in ("task", "algorithm") else "function"
        raise ConfigError(
            f"{owner}: {file.name} has no {what} {match['attribute']!r}; {did_you_mean(match['attribute'], own)}"
        )
    return found


def what_is_in(kind: str, path: str) -> str:
    """Return how to name a component of a file whose name was left out, as the end of a message. The file is read, and
    not executed.
    """
    file, what = Path(path).expanduser(), "class" if kind in ("task", "algorithm") else "function"
    if not file.is_file():
        return f"there is no file {file.resolve()}; a {what} in a file is path/to/file.py:name"
    kinds = (ast.ClassDef,) if what == "class" else (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    try:
        top = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        return f"name the {what} in the file, as {path}:name; the file cannot be read: {error}"
    names = [node.name for node in top if isinstance(node, kinds) and not node.name.startswith("_")]
    if not names:
        return f"the file has no {what}; write one, and name it as {path}:name"
    return f"name the {what} in the file: {' or '.join(f'{path}:{name}' for name in names)}"


def _module(file: Path, owner: str) -> ModuleType:
    """Return the file as a module, executed once for each version of it."""
    version = f"{file}\0{file.stat().st_mtime_ns}"
    name = f"rl4lms_file_{file.stem}_{hashlib.sha256(version.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before execution: dataclasses and pickling look modules up by name
    try:
        _executing.append(file)
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt | Rl4lmsError):
            raise
        raise ConfigError(f"{owner}: {_what_is_wrong(file, error)}") from error
    finally:
        _executing.pop()
    return module


def run_file(path: str | Path) -> None:
    """Execute a file for what it registers; once for each version of it.

    Raises:
        ConfigError: there is no such file, or it raises an error.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ConfigError(f"--import {path}: there is no such file")
    _module(file, f"--import {path}")


def refuse_while_executing(what: str) -> None:
    """Refuse to start what takes long while a file is executed for a component that is in it.

    Args:
        what: such as `rl4lms.train`.

    Raises:
        ConfigError: a file is being executed.
    """
    if _executing:
        raise ConfigError(
            f"{_executing[-1]} calls {what} whenever it is executed, also where only a function in it is wanted; "
            'put that call under `if __name__ == "__main__":`'
        )


def _what_is_wrong(file: Path, error: BaseException) -> str:
    """`file.py:3: SyntaxError: invalid syntax`: the line of the file at which executing it came to an end."""
    own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    inside = isinstance(error, SyntaxError) and error.filename == str(file)
    line = error.lineno if isinstance(error, SyntaxError) and inside else (own[-1] if own else None)
    text = error.msg if isinstance(error, SyntaxError) and inside else " ".join(str(error).split())
    return f"{file}{f':{line}' if line else ''}: {type(error).__name__}{f': {text}' if text else ''}"
