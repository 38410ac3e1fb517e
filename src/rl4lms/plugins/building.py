"""From a `Component` to the object it names: options checked, classes constructed, functions given their options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from rl4lms.errors import ConfigError, Rl4lmsError
from rl4lms.plugins.calling import what_was_raised
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import checked_options, options_model
from rl4lms.plugins.registry import Registry, tasks
from rl4lms.types import Task


def build(registry: Registry, component: Component | str | Mapping[str, Any]) -> Any:
    """Make what a component names: an instance of a class, or a function with its options bound.

    Raises:
        UnknownNameError: nothing is registered under the name.
        ConfigError: an option is unknown, missing or has a wrong value; or the component is in a file that cannot be
            used.
    """
    component = as_component(component, registry.kind)
    options = check(registry, component)
    return bound(f"{registry.kind} {component.name!r}", registry.get(component.name), options)


def check(registry: Registry, component: Component) -> dict[str, Any]:
    """Return a component's options with their types applied, without making it. Raises as `build` does."""
    owner = f"{registry.kind} {component.name!r}"
    return checked_options(owner, options_model(registry, component.name), component.options)


def build_task(component: Component | str | Mapping[str, Any]) -> Task:
    """Make a task; raises as `build` does, and ConfigError where it lacks something that `rl4lms.types.Task` names."""
    component = as_component(component, "task")
    task: Task = build(tasks, component)
    missing = [name for name in (*Task.__annotations__, "samples", "supervised") if not hasattr(task, name)]
    if missing:
        raise ConfigError(f"task {component.name!r} lacks {', '.join(missing)}; rl4lms.types.Task says what a task has")
    return task


def as_component(given: Component | str | Mapping[str, Any], kind: str, what: str | None = None) -> Component:
    """Read a component as people name it.

    Args:
        given: a name, or a mapping with a name and options.
        kind: `reward`, `metric`, ...
        what: how messages call what was given; kind and value where None.

    Raises:
        ConfigError: this is neither a name nor a mapping with a name.
    """
    try:
        return Component.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{what or f'{kind} {given!r:.80}'}: name a {kind}, or {{name: ..., option: ...}}") from error


def bound(owner: str, target: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Return an instance of a class, or a function with `options` bound, whose name and attributes stay readable.

    Raises:
        ConfigError: the constructor raised an error that this library does not know.
    """
    if not inspect.isclass(target):
        return functools.update_wrapper(functools.partial(target, **options), target) if options else target
    try:
        return target(**options)
    except (Rl4lmsError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a constructor is anybody's code; SystemExit would end the program without a word
        if target.__module__.startswith("rl4lms."):
            raise  # a bug of this library, which is to be seen whole
        raise ConfigError(f"{owner} raised {what_was_raised(target, error)}") from error
