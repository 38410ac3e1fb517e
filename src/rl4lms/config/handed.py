"""Settings as scripts give them: Python values become plain ones, and functions get names that a recipe can hold."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from rl4lms.config.reader import MAX_DEPTH, checked, located
from rl4lms.errors import ConfigError, shown
from rl4lms.plugins import registry
from rl4lms.plugins.files import is_path
from rl4lms.plugins.problems import KeyPath

#: A field with one of these names holds components of that registry; any other field of a component's options, of its
#: own registry.
REGISTRIES = {
    "task": registry.tasks,
    "algorithm": registry.algorithms,
    "reward": registry.rewards,
    "metrics": registry.metrics,
}


@dataclass(slots=True)
class Handed:
    """Functions and objects that a script hands over where a recipe has names.

    Attributes:
        objects: each with the name that the recipe has for it, by kind. The name of a function at the top of a file
            is `file.py:name`, which finds it again; any other name is known as long as `known` says.
    """

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)

    def name(self, value: Callable[..., Any], kind: registry.Registry) -> str:
        """Return the name that a recipe has for a function or object, the registered one where there is one."""
        known = kind.name_of(value) or (registry.metrics.name_of(value) if kind is registry.rewards else None)
        if known:
            return known
        named, base = self.objects.setdefault(kind.kind, {}), registry.loadable(value)
        name, number = base, 1
        while named.setdefault(name, value) is not value:  # two lambdas, or two instances of a class
            number += 1
            name = f"{base}#{number}"
        return name

    def lost(self) -> list[str]:
        """Return the names that nobody can look up once the script has ended, in order."""
        return [name for named in self.objects.values() for name in named if not is_path(name)]

    @contextlib.contextmanager
    def known(self) -> Iterator[None]:
        """Let the registries know the objects by their names for a while."""
        with contextlib.ExitStack() as stack:
            for kind in REGISTRIES.values():
                stack.enter_context(kind.handed(self.objects.get(kind.kind, {})))
            yield


def plain(value: Any, source: str, handed: Handed | None = None, path: KeyPath = ()) -> Any:
    """Return Python values as YAML would give them.

    Args:
        value: mappings, lists, tuples, texts, numbers, paths, config blocks; and functions where a component stands.
        source: what messages call it.
        handed: takes what has no name. None: only the reward may be a function, and gets a name.
        path: of the value.

    Raises:
        ConfigError: a value is of another kind; the message starts with `source` and the key.
    """
    if len(path) == 1 and path[0] in _MEANT:
        raise ConfigError(located(source, path, f"unknown key; write {_MEANT[path[0]]}="))
    if len(path) > MAX_DEPTH:
        raise ConfigError(located(source, path[:3], f"nested more than {MAX_DEPTH} levels deep"))
    kind = _kind_at(path) if callable(value) else None
    if kind is not None and handed is not None:
        return handed.name(value, kind)
    if callable(value) and path in (("reward",), ("reward", "name")):
        return registry.rewards.name_of(value) or registry.metrics.name_of(value) or registry.loadable(value)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(located(source, path, f"the key {shown(key)} is not text"))
        return {key: plain(item, source, handed, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, source, handed, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if callable(value):
        raise ConfigError(located(source, path, _no_code(value, path)))
    if not isinstance(value, str | int | float | bool | None):
        raise ConfigError(
            located(source, path, f"{type(value).__name__} is not a kind of value that a recipe can hold")
        )
    try:
        return checked(value)
    except ValueError as error:
        raise ConfigError(located(source, path, str(error))) from None


# What the trainers of other libraries call it: their values are no settings, which is no help to who wrote them.
_MEANT = {
    **dict.fromkeys(("dataset", "train_dataset", "prompts"), "data"),
    **dict.fromkeys(("reward_funcs", "reward_fn", "reward_function", "rewards"), "reward"),
    **dict.fromkeys(("processing_class", "tokeniser"), "tokenizer"),
    "eval_dataset": "data={'train': ..., 'validation': ...}, or data.validation",
}


def _kind_at(path: KeyPath) -> registry.Registry | None:
    """Return what kind of component may stand at a place: a field of that name, its `name`, or one of a list of them.

    An option that happens to be a function is no component, and gets none.
    """
    keys = [key for key in path if key in REGISTRIES]
    ends = path and (path[-1] in REGISTRIES or path[-1] == "name" or isinstance(path[-1], int))
    return REGISTRIES[str(keys[-1])] if keys and ends else None


def _no_code(value: Callable[..., Any], path: KeyPath) -> str:
    """Say what cannot be written into a recipe, and what to write instead."""
    keys = [key for key in path if key in REGISTRIES]
    kind = REGISTRIES[str(keys[-1])] if keys else None
    what = "a class" if inspect.isclass(value) else "a function" if inspect.isroutine(value) else "an object"
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if kind is None:
        return f"{what} ({name}) cannot be written into a recipe, which is text"
    known = kind.name_of(value) or (registry.metrics.name_of(value) if kind is registry.rewards else None)
    found = known or registry.loadable(value)
    if known or is_path(found):
        return f"{what} ({name}) cannot be written into a recipe, which is text; write its name, {found!r}"
    return (
        f'{what} ({name}) cannot be written into a recipe, which is text; register it by @rl4lms.{kind.kind}("name") '
        f"and write that name, or write path/to/file.py:name of one at the top of a file"
    )
