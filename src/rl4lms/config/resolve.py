"""From plain values to a validated recipe, and back to YAML.

The order: the file (or arguments), then dotted overrides, then `${NAME}` of the environment, then the task's defaults
for whatever is still unset, then types. Every message starts with the place the offending value came from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel, ValidationError

from rl4lms.config.handed import REGISTRIES, plain
from rl4lms.config.reader import MAX_BYTES, dotted, located, read_file, read_text, resolve_plain
from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError, Rl4lmsError, UnknownComponentError, cut, one_line, shown
from rl4lms.plugins import registry
from rl4lms.plugins.building import build_task
from rl4lms.plugins.component import Component
from rl4lms.plugins.files import is_path
from rl4lms.plugins.options import options_model, reward_options_model, written
from rl4lms.plugins.problems import KeyPath, first_problem

_SHORT_FORMS = {"model": "path", "data": "train", "task": "name", "algorithm": "name", "reward": "name"}
_NAMELESS = re.compile(r"[^A-Za-z0-9._-]+")  # what no name of a run can have
_VARIABLE = re.compile(r"\$\{([^}]*)\}?")


def read_recipe(
    path: str | os.PathLike[str],
    overrides: Iterable[str] = (),
    unread: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: the file; a recipe without a `name` gets that of the file.
        overrides: settings such as `rollout.top_p=0.9`, applied in order; list items by index, as in
            `evaluation.metrics.0.name=rouge`.
        unread: blocks whose components stay as they are written, also where nothing of that name is known: of a run,
            what the caller has no use for.
        settings: blocks that are merged into the file's before the overrides, as `recipe_from_dict` takes them.

    Raises:
        ConfigError: one line, `file:line: key.path: reason`, `override a.b=c: reason`, or `<arguments>: key: reason`.
    """
    draft = _Draft(*read_file(path))
    if "alg" in draft.tree and "datapool" in draft.tree:
        raise ConfigError(
            f"{draft.where['alg',]}: alg: this is a file of the original RL4LMs; rl4lms train runs it as it is, and "
            f"rl4lms convert {os.fspath(path)} makes a recipe of it"
        )
    if "name" not in draft.tree and (name := run_name(path)):
        draft.tree["name"], draft.where["name",] = name, os.fspath(path)
    if settings:
        draft.merge(settings, "<arguments>")
    return _resolve(draft, overrides, unread)


def recipe_from_dict(
    values: Mapping[str, Any],
    source: str = "<arguments>",
    overrides: Iterable[str] = (),
    unread: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """Make a recipe from nested Python values. Config blocks, tuples and paths are accepted, and a function as
    `reward`.

    A function that is not registered becomes `file.py:name`, so that the dumped recipe can be run again; its options
    are not checked. A key with dots, such as `rollout.top_p`, is a setting of that block; `overrides`, `unread` and
    `settings` are as those of `read_recipe`.

    Raises:
        ConfigError: one line, `source: key.path: reason`.
    """
    draft = _Draft({}, {(): source})
    draft.merge(values, source)
    if settings:
        draft.merge(settings, "<arguments>")
    return _resolve(draft, overrides, unread)


def run_name(path: str | os.PathLike[str]) -> str:
    """Return the name that a recipe without one has from its file; empty where nothing of the file's name can stay."""
    return _NAMELESS.sub("-", Path(path).stem).strip("-._")


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the settings of a recipe, as nested plain values, by their dotted names."""
    if isinstance(value, Mapping) and value:
        return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}" if path else key).items()}
    return {path: value}


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


def yaml_value(value: Any) -> str:
    """Return one value as YAML on one line, such as `[rouge, {name: diversity}]`."""
    text = yaml.dump([value], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20, default_flow_style=True)
    return text.strip()[1:-1]


class _Draft:
    """Plain values on their way to a recipe, and the place that each came from."""

    def __init__(self, tree: dict[str, Any], where: dict[KeyPath, str]) -> None:
        self.tree, self.where = tree, where
        self.unread: Collection[str] = ()

    def fail(self, path: KeyPath, reason: str, error: type[ConfigError] = ConfigError) -> NoReturn:
        known = next(path[:n] for n in range(len(path), -1, -1) if path[:n] in self.where)
        raise error(located(self.where[known], path, reason))

    def expand_short_forms(self) -> None:
        """`reward: brevity` becomes `reward: {name: brevity}`, so that options can be merged into it; a list of rewards
        is their sum.
        """
        if isinstance(self.tree.get("reward"), list):
            self.tree["reward"] = {"name": "sum", "parts": self.tree["reward"]}
            moved = {path: place for path, place in self.where.items() if path[:1] == ("reward",) and path[1:]}
            self.where |= {("reward", "parts", *path[1:]): place for path, place in moved.items()}
            self.where |= dict.fromkeys([("reward", "name"), ("reward", "parts")], self.where["reward",])
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

    def merge(self, settings: Mapping[str, Any], source: str) -> None:
        """Let settings replace those that are there, block by block; a component of another name whole."""
        ours = _Draft(plain(nested(settings, source), source), {})
        if isinstance(ours.tree.get("data"), str):  # another file: the splits of before are none of it
            ours.tree["data"] = {"train": ours.tree["data"], "validation": None, "test": None}
        ours.where = {path: source for path in _paths(ours.tree) if path}
        ours.expand_short_forms()
        self.expand_short_forms()
        self.tree = merge_defaults(ours.tree, self.tree)
        self.where = {path: place for path, place in (self.where | ours.where).items() if _holds(self.tree, path)}

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
        defaults = _Draft(plain(fragment, source), dict.fromkeys(_paths(fragment), source))
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
            where, reason = (*path, *problem[0]), problem[1]
            self.fail(where, f"{reason}; set {dotted(where)}=VALUE" if reason.startswith("is required: ") else reason)
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

    def check_names(self, value: Any, path: KeyPath, kind: registry.Registry | None) -> None:
        """Refuse unknown names of components, before any of them is imported for its options: some import torch."""
        if isinstance(value, Component):
            if kind is not None and path[0] not in self.unread:
                self.has_options(value, path, kind)
        elif isinstance(value, BaseModel):
            for name, field in type(value).model_fields.items():
                key = field.alias or name
                self.check_names(getattr(value, name), (*path, key), REGISTRIES.get(key, kind))
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                self.check_names(item, (*path, index), kind)

    def has_options(self, component: Component, path: KeyPath, kind: registry.Registry) -> bool:
        """Return whether the options of a component can be checked now: those in a file when it is built."""
        name, names = component.name, kind.names()
        is_reward = kind is registry.rewards
        handed = kind.is_handed(name)
        # `module:name` of a function that was given
        if not handed and ((is_path(name) and kind is not registry.tasks) or (is_reward and ":" in name)):
            return False
        if is_reward:
            names += registry.metrics.names()  # any metric can be a reward
        if name not in names and not is_path(name) and not handed:
            self.fail((*path, "name"), str(registry.unknown(kind.kind, name, names)), UnknownComponentError)
        return True

    def component(self, component: Component, path: KeyPath, kind: registry.Registry) -> Component:
        """Validate a component and fill in its options' defaults.

        A file only runs when its component is built, which checks the options then. A task's file runs here: its
        defaults are a part of the recipe.
        """
        if not self.has_options(component, path, kind):
            return component
        name = component.name
        try:
            metric = kind is registry.rewards and name not in kind
            model = reward_options_model(name) if metric else options_model(kind, name)
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
    recipe: Recipe = draft.validate(Recipe, draft.tree, ())
    draft.check_names(recipe, (), None)
    recipe = draft.complete(recipe, (), None)
    return recipe


def nested(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return settings in which a key with dots, such as `rollout.top_p`, is a block within a block; it wins over what a
    block of that name says.

    Raises:
        ConfigError: a part of such a key stands for something that is no block.
    """
    tree: dict[str, Any] = {}
    for key in sorted(settings, key=lambda key: str(key).count(".")):
        value = settings[key]
        *blocks, last = key.split(".") if isinstance(key, str) else [key]
        node = tree
        for number, block in enumerate(blocks, 1):
            inner = node.get(block) or {}
            if not isinstance(inner, Mapping):
                raise ConfigError(
                    located(source, tuple(blocks[:number]), f"it is {shown(inner)}, and {key} is set as well")
                )
            node[block] = dict(inner)  # settings of a script stay as they are
            node = node[block]
        node[last] = value
    return tree


def _holds(tree: Any, path: KeyPath) -> bool:
    for key in path:
        if not (key in tree if isinstance(tree, dict) else isinstance(tree, list) and int(key) < len(tree)):
            return False
        tree = tree[key]
    return True


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
        bare = resolve_plain(text) is text
    except ValueError:
        bare = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if bare and text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
