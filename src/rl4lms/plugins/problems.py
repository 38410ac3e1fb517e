"""What pydantic found wrong, in plain words."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from rl4lms.errors import did_you_mean, shown

KeyPath = tuple[str | int, ...]

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text (quote it)"}
_MESSAGES = {
    "missing": "is required",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text (quote it)",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
}


def first_problem(
    model: type[BaseModel], values: Any, outcome: BaseModel | ValidationError
) -> tuple[KeyPath, str] | None:
    """Return the first thing wrong with `values`, as the key path inside them and a reason; None where nothing is.

    Pydantic converts where it can (`seed: "5"` would pass); a recipe has to say what it means, so conversions count
    as wrong too.
    """
    if isinstance(outcome, BaseModel):
        return _converted(values, outcome.model_dump(mode="json", by_alias=True, exclude_unset=True), ())
    errors = outcome.errors(include_url=False)
    # A typo explains what is missing
    error = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    path = _data_path(error["loc"], values, error["type"])
    if error["type"] == "extra_forbidden":
        name, inside = str(path[-1]), [] if len(path) > 1 else _blocks_with(model, str(path[-1]))
        meant = f"did you mean {' or '.join(map(repr, inside))}?" if inside else ""
        return path, f"unknown key; {meant or did_you_mean(name, _known_keys(model, path[:-1]))}"
    reasons = [_reason(other) for other in errors if _data_path(other["loc"], values, other["type"]) == path]
    if error["type"] == "missing":
        about = _about(model, path)
        return path, "is required" + (f": {about}" if about else "")
    needs_value = error["type"] == "value_error"
    return path, " or ".join(dict.fromkeys(reasons)) + ("" if needs_value else f", got {shown(error['input'])}")


def _reason(error: Any) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] in ("too_long", "too_short"):
        limit = "most" if error["type"] == "too_long" else "least"
        return f"should have at {limit} {error['ctx'].get('max_length', error['ctx'].get('min_length'))} items"
    return _MESSAGES.get(
        error["type"], error["msg"].replace("Input should be", "should be").replace("String should", "should")
    )


def _data_path(location: tuple[str | int, ...], values: Any, kind: str) -> KeyPath:
    """Return a pydantic location without the parts that name union members and validators instead of keys."""
    path: KeyPath = ()
    for position, key in enumerate(location):
        inside = (
            key in values
            if isinstance(values, dict)
            else isinstance(values, list) and isinstance(key, int) and key < len(values)
        )
        if inside:
            path, values = (*path, key), values[key]
        elif kind == "missing" and position == len(location) - 1:
            path = (*path, key)
    return path


def _known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys that could stand at `path` inside `model`."""
    models = {model}
    for key in path:
        below: set[type[BaseModel]] = set()
        for candidate in models:
            field = _fields(candidate).get(str(key))
            # None: an index, or a key of a plain mapping
            below |= {candidate} if field is None else _models(field.annotation)
        models = below
    return sorted(key for candidate in models for key in _fields(candidate))


def _about(model: type[BaseModel], path: KeyPath) -> str:
    """Return what an option is, in the words of its signature; nothing where it has none, or stands further inside."""
    field = _fields(model).get(str(path[0])) if len(path) == 1 else None
    return "" if field is None else field.description or ""


def _blocks_with(model: type[BaseModel], name: str) -> list[str]:
    """Return the dotted keys of a name that stands one level too high."""
    return [
        f"{key}.{name}"
        for key, field in _fields(model).items()
        if any(name in _fields(block) for block in _models(field.annotation))
    ]


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for argument in typing.get_args(annotation) for model in _models(argument)}


def _converted(given: Any, parsed: Any, path: KeyPath) -> tuple[KeyPath, str] | None:
    if isinstance(given, dict) and isinstance(parsed, dict):
        pairs = [(key, given[key], parsed[key]) for key in given if key in parsed]
    elif isinstance(given, list) and isinstance(parsed, list):
        pairs = list(zip(range(len(given)), given, parsed, strict=False))
    elif isinstance(parsed, list) and len(parsed) == 1:  # a single value that stands for a list of one
        return _converted(given, parsed[0], path)
    else:
        kinds = type(given), type(parsed)
        if kinds[0] is kinds[1] or kinds == (int, float) or not all(kind in _KINDS for kind in kinds):
            return None
        return path, f"should be {_KINDS[kinds[1]]}, got {shown(given)}"
    return next((problem for key, one, other in pairs if (problem := _converted(one, other, (*path, key)))), None)
