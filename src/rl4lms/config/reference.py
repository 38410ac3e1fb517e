"""Every key of a recipe in words: what `rl4lms show` prints of a block, and what `docs/config.md` is made of."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from rl4lms.config.recipe import Recipe

_END = re.compile(r"\.(?:\s|$)")  # of a sentence


class Key(NamedTuple):
    """One key: its name, kind of value and default as YAML writes them, and what it is about, limits included."""

    name: str
    kind: str
    default: str
    about: str


def keys(model: type[BaseModel]) -> list[Key]:
    """Return the keys of a block, or the options of a component."""
    found = []
    for name, field in model.model_fields.items():
        default = "(required)" if field.is_required() else shown(field.get_default(call_default_factory=True))
        limits = ", ".join(filter(None, (_limit(part) for part in field.metadata)))
        inner = block_of(field.annotation)
        said = field.description or (None if inner is None else sentence(inner))
        about = "; ".join(filter(None, (said, limits)))
        found.append(Key(field.alias or name, type_name(field.annotation), default, about))
    return found


def blocks() -> Iterator[tuple[str, type[BaseModel]]]:
    """Return every block of a recipe with its path, the root first under ""."""

    def below(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
        yield path, model
        for name, field in model.model_fields.items():
            inner = block_of(field.annotation)
            if inner is not None:
                yield from below(f"{path}.{name}".removeprefix("."), inner)

    return below("", Recipe)


def sentence(documented: Any) -> str:
    """Return the first sentence of a docstring, without its period."""
    paragraph = " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())
    return _END.split(paragraph, maxsplit=1)[0]


def setting_names() -> set[str]:
    """Return the paths of all blocks and keys."""
    return {f"{path}.{key.name}".removeprefix(".") for path, block in blocks() for key in keys(block)}


def block_of(annotation: Any) -> type[BaseModel] | None:
    """Return the block that a field holds; None where it holds values or a component."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    found = [kind for kind in options if inspect.isclass(kind) and issubclass(kind, BaseModel)]
    return found[0] if found and found[0].__module__.startswith("rl4lms.config.") else None


def type_name(annotation: Any) -> str:
    """Return a type as people write it: `int`, `float | null`, `left | right`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if arguments and origin in (typing.Union, type(int | str)):
        return " | ".join(type_name(argument) for argument in arguments)
    if annotation is type(None):
        return "null"
    if arguments:
        kind = "list" if origin is tuple else getattr(origin, "__name__", origin)  # as YAML has it
        return f"{kind} of {', '.join(type_name(a) for a in arguments if a is not ...)}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "component" if annotation.__name__ == "Component" else "block"
    return {"str": "text", "bool": "true | false"}.get(
        getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation))
    )


def shown(value: Any) -> str:
    """Return a default as YAML writes it."""
    if isinstance(value, BaseModel):
        set_there = value.model_dump(mode="json", exclude_defaults=True)
        return str(set_there.get("name", "")) or "its defaults"
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value) if isinstance(value, tuple) else value) if value != "" else '""'


def _limit(part: Any) -> str:
    for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if hasattr(part, attribute):
            return f"{sign} {getattr(part, attribute)}"
    return ""
