"""From a `Component` to the object it names: options checked, classes constructed, functions given their options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from rl4lms.errors import ConfigError
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import checked_options, options_model
from rl4lms.plugins.registry import Registry


def build(registry: Registry, component: Component | str | Mapping[str, Any]) -> Any:
    """Resolves a component through its registry.

    Returns:
        An instance where the registered target is a class, otherwise the function with the options bound.

    Raises:
        UnknownNameError: nothing is registered under the name.
        ConfigError: an option is unknown, missing or has a wrong value.
    """
    component = as_component(component, registry.kind)
    target = registry.get(component.name)
    owner = f"{registry.kind} {component.name!r}"
    return bind(target, checked_options(owner, target, options_model(registry, component.name), component.options))


def as_component(given: Component | str | Mapping[str, Any], kind: str, what: str | None = None) -> Component:
    """A component as people name it.

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


def bind(target: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """An instance of a class, or a function with `options` bound by keyword (its name and attributes stay readable)."""
    if inspect.isclass(target):
        return target(**options)
    return functools.update_wrapper(functools.partial(target, **options), target) if options else target
