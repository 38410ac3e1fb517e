"""The base of every config block, and the block that names a registered component."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import operator
import types
import typing
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator


class Block(BaseModel):
    """A config block: unknown keys are refused, values are finite, instances are frozen. A single value stands for a
    list of one: `metrics: rouge` is `metrics: [rouge]`, of every field and option that is a list.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_of_one(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        listed = _list_fields(cls)
        return {
            key: [value] if key in listed and _is_single(value, *listed[key]) else value
            for key, value in values.items()
        }


_LISTS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)


@functools.cache
def _list_fields(model: type[BaseModel]) -> dict[str, tuple[bool, TypeAdapter[Any] | None]]:
    """Return the fields that hold lists of any length: whether of mappings, and what else may stand there."""
    found: dict[str, tuple[bool, TypeAdapter[Any] | None]] = {}
    for name, field in model.model_fields.items():
        members = _members(field.annotation)
        items = [item for member in members for item in _items(member)]
        if items:
            others = [member for member in members if not _items(member)]
            mappings = any(inspect.isclass(item) and issubclass(item, BaseModel | dict) for item in items)
            either: Any = functools.reduce(operator.or_, others) if others else None
            found[field.alias or name] = (mappings, TypeAdapter(either) if others else None)
    return found


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _items(annotation: Any) -> tuple[Any, ...]:
    """Return the type of the items of a list of any length; nothing of another type."""
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin is tuple:
        return arguments[:1] if arguments[1:] == (...,) else ()
    return (arguments or (Any,))[:1] if origin in _LISTS else ()


def _is_single(value: Any, of_mappings: bool, others: TypeAdapter[Any] | None) -> bool:
    """Return whether a value is meant as a list of one: a scalar, or an item that is a mapping, where nothing else that
    the field may hold is one.
    """
    if not isinstance(value, str | int | float) and not (of_mappings and isinstance(value, dict | BaseModel)):
        return False
    if others is None:
        return True
    try:
        others.validate_python(value, strict=True)
    except ValidationError:
        return True
    return False


class Component(BaseModel):
    """A registered component by name, with its own options beside the name.

    `reward: brevity` and `reward: {name: brevity, target_words: 10}` are both accepted. The options are checked
    against the component's signature, when the recipe is read or, for a component in a file, when it is built.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """Everything beside `name`."""
        return dict(self.__pydantic_extra__ or {})
