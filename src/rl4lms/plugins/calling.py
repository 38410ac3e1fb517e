"""How a plug-in is called: by keyword, with copies of what it asks for; and how messages name what it raised."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rl4lms.errors import ConfigError, DataError


def detached(owner: str, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Copy columns of a batch, down to nested lists: what a component does to them stays with it.

    Raises:
        DataError: a value cannot be copied.
    """
    copies = {}
    for name, values in batch.items():
        try:
            copies[name] = [_detached(value) for value in values]
        except Exception as error:  # copying a data column runs code of its class
            raise DataError(
                f"{owner}: a value of {name!r} cannot be copied: {type(error).__name__}: {error}"
            ) from error
    return copies


def _detached(value: Any) -> Any:
    kind = type(value)
    if kind in _IMMUTABLE:
        return value
    if kind is list:
        return [_detached(item) for item in value]
    if kind is tuple:
        return tuple(_detached(item) for item in value)
    if kind is dict:
        return {key: _detached(item) for key, item in value.items()}
    return copy.deepcopy(value)


_IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})


def taken_arguments(owner: str, function: Callable[..., Any], batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `batch` that a function names among its parameters, or all of it where it takes `**kwargs`.

    Raises:
        DataError: the function needs something that the batch does not have, or an option of it is also a data column.
        ConfigError: the function has no readable signature, or takes a parameter by position only.
    """
    signature = parameters_of(owner, function)
    bound = function.keywords if isinstance(function, functools.partial) else {}
    for name in bound:
        if name in batch:
            raise DataError(f"{owner}: {name!r} is both an option and a data column; rename the column")
    parameters = [p for p in signature.values() if p.name not in bound]
    for p in parameters:
        if p.kind is p.POSITIONAL_ONLY and p.default is p.empty:
            raise ConfigError(
                f"{owner}: {p.name!r} is taken by position only, and arguments are passed by name; remove the `/`"
            )
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        taken = dict(batch)
    else:
        taken = {p.name: batch[p.name] for p in parameters if p.name in batch}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [p.name for p in parameters if p.kind in named and p.default is p.empty and p.name not in batch]
    if missing:
        raise DataError(f"{owner} needs the data column {missing[0]!r}; there are: {', '.join(sorted(batch))}")
    return taken


def parameters_of(owner: str, function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function by name.

    Raises:
        ConfigError: it does not say what they are, as some functions written in C.
    """
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{owner}: its parameters cannot be read; wrap it in a Python function") from error


def annotation_of(target: Any, parameter: inspect.Parameter) -> Any:
    """Return the type of a parameter, evaluated where it was written.

    It is `Any` where there is no annotation, or one that names something unknown there.
    """
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return Any
    written_in = None  # the class that has the field: it may be one of another module
    if inspect.isclass(target) and dataclasses.is_dataclass(target):
        written_in = next((base for base in target.__mro__ if parameter.name in inspect.get_annotations(base)), None)
    if written_in is not None:
        names = vars(sys.modules[written_in.__module__])
    else:
        function = target.__init__ if inspect.isclass(target) else _function_of(target)
        names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        hints = typing.get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), names, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return Any  # it has a name that is imported for type checkers only, or lives inside a function
    return hints["it"]


def _function_of(target: Any) -> Any:
    """Return the function that is behind a partial or a callable instance."""
    while isinstance(target, functools.partial):
        target = target.func
    return target if hasattr(target, "__globals__") or hasattr(target, "__wrapped__") else type(target).__call__


def what_was_raised(function: Callable[..., Any], error: BaseException) -> str:
    """`ValueError: message (file.py, line 3)`, on one line: what a component raised, and where in its file."""
    # Knows what to do where the message itself fails
    lines = "".join(traceback.format_exception_only(type(error), error))
    text = " ".join(lines.split()).removeprefix(f"{type(error).__module__}.")
    place = place_in(function, traceback.extract_tb(error.__traceback__))
    return (text if len(text) <= 500 else text[:497] + "...") + (f" ({place})" if place else "")


def place_in(function: Callable[..., Any], frames: Iterable[traceback.FrameSummary]) -> str:
    """Say where a component was, as `file.py, line 3`.

    That is the innermost of some frames in the component's own file, else the innermost outside this library.
    """
    outside = [frame for frame in frames if not Path(frame.filename).is_relative_to(_PACKAGE)]
    own = [frame for frame in outside if frame.filename == _file_of(function)]
    if not outside:
        return ""
    frame = (own or outside)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"


def _file_of(function: Any) -> str | None:
    """Return the file that a function, a method, or the class of a callable instance was written in."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return getattr(code, "co_filename", None)


_PACKAGE = Path(__file__).parent.parent
