"""From plain values to a validated recipe, and back to YAML.

The order: the file (or arguments), then dotted overrides, then `${NAME}` of the environment, then the task's defaults
for whatever is still unset, then types. Every message starts with the place the offending value came from.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel, ValidationError

from rl4lms.config.reader import MAX_BYTES, MAX_DEPTH, checked, dotted, located, read_file, read_text, resolve_plain
from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError, Rl4lmsError, UnknownComponentError, UnknownNameError, cut, one_line, shown
from rl4lms.plugins import registry
from rl4lms.plugins.building import build_task
from rl4lms.plugins.component import Component
from rl4lms.plugins.files import is_path
from rl4lms.plugins.options import options_model, reward_options_model, written
from rl4lms.plugins.problems import KeyPath, first_problem

# : A field with one of these names holds components of that registry; any other field of a component's options, of its
# own registry.
REGISTRIES = {
    "task": registry.tasks,
    "algorithm": registry.algorithms,
    "reward": registry.rewards,
    "metrics": registry.metrics,
}

_SHORT_FORMS = {"model": "path", "data": "train", "task": "name", "algorithm": "name", "reward": "name"}
_VARIABLE = re.compile(r"\$\{([^}]*)\}?")


def read_recipe(path: str | os.PathLike[str], overrides: Iterable[str] = (), unread: Collection[str] = ()) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: the file.
        overrides: settings such as `rollout.top_p=0.9`, applied in order; list items by index, as in
            `evaluation.metrics.0.name=rouge`.
        unread: blocks whose components stay as they are written, also where nothing of that name is known: of a run,
            what the caller has no use for.

    Raises:
        ConfigError: one line, `file:line: key.path: reason` or `override a.b=c: reason`.
    """
    return _resolve(_Draft(*read_file(path)), overrides, unread)


def recipe_from_dict(settings: Mapping[str, Any], source: str = "<arguments>") -> Recipe:
    """Make a recipe from nested Python values. Config blocks, tuples and paths are accepted, and a function as
    `reward`.

    A function that is not registered becomes `file.py:name`, so that the dumped recipe can be run again; its options
    are not checked.

    Raises:
        ConfigError: one line, `source: key.path: reason`.
    """
    tree = _plain(settings, source)
    return _resolve(_Draft(tree, dict.fromkeys(_paths(tree), source)), ())


def merge_defaults(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Fill what `tree` leaves unset from `defaults`.

    Mappings are merged key by key. Everything explicit wins, null included; lists are replaced whole, and so are
    components (mappings with a `name`) where the names differ.
    """
    merged = dict(defaults)
    for key, value in tree.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            replaced = "name" in value and "name" in default and value["name"] != default["name"]
            merged[key] = dict(value) if replaced else merge_defaults(value, default)
        else:
            merged[key] = value
    return merged


def dump_recipe(recipe: Recipe) -> str:
    """Return the complete recipe as YAML, in the order of the blocks; reading it gives an equal recipe."""
    return yaml.dump(recipe.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20)


class _Draft:
    """Plain values on their way to a recipe, and the place that each came from."""

    def __init__(self, tree: dict[str, Any], where: dict[KeyPath, str]) -> None:
        self.tree, self.where = tree, where
        self.unread: Collection[str] = ()

    def fail(self, path: KeyPath, reason: str, error: type[ConfigError] = ConfigError) -> NoReturn:
        known = next(path[:n] for n in range(len(path), -1, -1) if path[:n] in self.where)
        raise error(located(self.where[known], path, reason))

    def expand_short_forms(self) -> None:
        """`reward: brevity` becomes `reward: {name: brevity}`, so that options can be merged into it."""
        for key, inner in _SHORT_FORMS.items():
            if isinstance(self.tree.get(key), str):
                self.where[key, inner] = self.where[key,]
                self.tree[key] = {inner: self.tree[key]}
        evaluation = self.tree.get("evaluation")
        metrics = evaluation.get("metrics") if isinstance(evaluation, dict) else None
        if isinstance(metrics, list):
            for index, metric in enumerate(metrics):
                if isinstance(metric, str):
                    path = ("evaluation", "metrics", index)
                    self.where[*path, "name"] = self.where[path]
                    metrics[index] = {"name": metric}

    def override(self, text: str) -> None:
        key, equals, value = text.partition("=")
        place = one_line(f"override {cut(key)}{equals}{cut(value)}")
        keys = key.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"{place}: write it as key.path=value")
        if not value.strip():
            raise ConfigError(f"{place}: no value; write '' for empty text and null for nothing")
        node: Any = self.tree
        path: KeyPath = ()
        for name, after in zip(keys, [*keys[1:], None], strict=True):
            path = (*path, self.step(node, path, name, place))
            if after is None:
                break
            if isinstance(node, dict) and node.get(name) is None:
                if after.isdecimal():
                    raise ConfigError(f"{place}: the recipe has no list {dotted(path)}; set the whole list")
                node[name], self.where[path] = {}, place
            node = node[path[-1]]
        for old in [old for old in self.where if old[: len(path)] == path]:
            del self.where[old]
        node[path[-1]], where = read_text(value, place, path, lines=False)
        self.where |= where

    def step(self, node: Any, path: KeyPath, name: str, place: str) -> str | int:
        """Return the key or index that `name` stands for inside `node`."""
        if isinstance(node, dict):
            return name
        if not isinstance(node, list):
            raise ConfigError(f"{place}: {dotted(path)} is {shown(node)}, it has no {name!r}")
        if not re.fullmatch("[0-9]{1,9}", name) or int(name) >= len(node):
            raise ConfigError(f"{place}: {dotted(path)} is a list of {len(node)}, it has no {name!r}")
        return int(name)

    def interpolate(self) -> None:
        """Replace `${NAME}` in text by the environment variable; no other form is understood."""

        def walk(value: Any, path: KeyPath) -> Any:
            if isinstance(value, dict):
                return {key: walk(item, (*path, key)) for key, item in value.items()}
            if isinstance(value, list):
                return [walk(item, (*path, index)) for index, item in enumerate(value)]
            return _VARIABLE.sub(lambda match: variable(match, path), value) if isinstance(value, str) else value

        def variable(match: re.Match[str], path: KeyPath) -> str:
            name = match[1]
            if not match[0].endswith("}") or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
                self.fail(path, f"{shown(match[0])}: only ${{NAME}} with an upper-case name is understood")
            value = os.environ.get(name)
            if value is None:
                self.fail(path, f"the environment variable {name} is not set")
            if "${" in value:
                self.fail(path, f"the environment variable {name} holds '${{' itself")
            filled[path] = filled.get(path, 0) + len(value)
            if filled[path] > MAX_BYTES:
                self.fail(path, f"more than {MAX_BYTES:,} characters come from the environment")
            return value

        filled: dict[KeyPath, int] = {}

        self.tree = walk(self.tree, ())

    def merge_task_defaults(self) -> None:
        task = self.tree.get("task")
        if task is None or "task" in self.unread:
            return
        component = self.component(self.validate(Component, task, ("task",)), ("task",), registry.tasks)
        try:
            fragment = build_task(component).defaults
        except Rl4lmsError as error:
            self.fail(("task",), str(error))
        source = f"defaults of task {component.name!r}"
        defaults = _Draft(_plain(fragment, source), dict.fromkeys(_paths(fragment), source))
        defaults.expand_short_forms()
        self.tree = merge_defaults(self.tree, defaults.tree)
        self.where = dict.fromkeys(_paths(self.tree), source) | self.where

    def validate(self, model: type[BaseModel], values: Any, path: KeyPath) -> Any:
        outcome: BaseModel | ValidationError
        try:
            outcome = model.model_validate(values)
        except ValidationError as error:
            outcome = error
        problem = first_problem(model, values, outcome)
        if problem is not None:
            self.fail((*path, *problem[0]), problem[1])
        return outcome

    def complete(self, value: Any, path: KeyPath, kind: registry.Registry | None) -> Any:
        """Validate every component under `value` and fill in its options' defaults; `kind` is where its name is looked
        up.
        """
        if isinstance(value, Component):
            return value if kind is None or path[0] in self.unread else self.component(value, path, kind)
        if isinstance(value, BaseModel):
            changed = {}
            for name, field in type(value).model_fields.items():
                old, key = getattr(value, name), field.alias or name
                new = self.complete(old, (*path, key), REGISTRIES.get(key, kind))
                if new is not old:
                    changed[name] = new
            return value.model_copy(update=changed) if changed else value
        if isinstance(value, list | tuple):
            return type(value)(self.complete(item, (*path, index), kind) for index, item in enumerate(value))
        if isinstance(value, dict):
            return {key: self.complete(item, (*path, key), kind) for key, item in value.items()}
        return value

    def component(self, component: Component, path: KeyPath, kind: registry.Registry) -> Component:
        """Validate a component and fill in its options' defaults.

        A file only runs when its component is built, which checks the options then. A task's file runs here: its
        defaults are a part of the recipe.
        """
        name, names = component.name, kind.names()
        is_reward = kind is registry.rewards
        # `module:name` of a function that was given
        if (is_path(name) and kind is not registry.tasks) or (is_reward and ":" in name):
            return component
        if is_reward:
            names += registry.metrics.names()  # any metric can be a reward
        if name not in names and not is_path(name):
            self.fail((*path, "name"), str(UnknownNameError(kind.kind, name, names)), UnknownComponentError)
        try:
            model = reward_options_model(name) if is_reward and name not in kind else options_model(kind, name)
        except Rl4lmsError as error:
            self.fail(path, str(error))
        options = self.complete(self.validate(model, component.options, path), path, kind)
        return Component.model_validate(written(options) | {"name": name})


def _resolve(draft: _Draft, overrides: Iterable[str], unread: Collection[str] = ()) -> Recipe:
    draft.unread = unread
    draft.expand_short_forms()
    for text in overrides:
        draft.override(text)
        draft.expand_short_forms()
    draft.interpolate()
    draft.merge_task_defaults()
    recipe: Recipe = draft.complete(draft.validate(Recipe, draft.tree, ()), (), None)
    return recipe


def _plain(value: Any, source: str, path: KeyPath = ()) -> Any:
    """Python values as YAML would give them."""
    if len(path) > MAX_DEPTH:
        raise ConfigError(located(source, path[:3], f"nested more than {MAX_DEPTH} levels deep"))
    if callable(value) and path in (("reward",), ("reward", "name")):
        return registry.rewards.name_of(value) or registry.metrics.name_of(value) or registry.loadable(value)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(located(source, path, f"the key {shown(key)} is not text"))
        return {key: _plain(item, source, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, source, (*path, index)) for index, item in enumerate(value)]
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


def _paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    yield path
    for key, item in (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    ):
        yield from _paths(item, (*path, key))


class _Dumper(yaml.SafeDumper):
    """Quotes text that our reader would take for something else, and write no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = resolve_plain(text) is text
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain and text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
