"""From a config `Component` to the object it names: options checked, classes constructed, functions given their options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from rl4lms.config.base import Component
from rl4lms.config.options import options_model
from rl4lms.config.validation import first_problem
from rl4lms.errors import ConfigError, DataError
from rl4lms.registry import Registry


def build(registry: Registry, component: Component | str | Mapping[str, Any]) -> Any:
    """Resolves a component through its registry.

    Returns:
        An instance where the registered target is a class, otherwise the function with the options bound.

    Raises:
        UnknownNameError: nothing is registered under the name.
        ConfigError: an option is unknown, missing or has a wrong value.
    """
    component = Component.model_validate(component)
    target = registry.get(component.name)
    owner = f"{registry.kind} {component.name!r}"
    return bind(target, checked_options(owner, target, options_model(registry, component.name), component.options))


def bind(target: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """An instance of a class, or a function with `options` bound by keyword (its name and attributes stay readable)."""
    if inspect.isclass(target):
        return target(**options)
    return functools.update_wrapper(functools.partial(target, **options), target) if options else target


def checked_options(owner: str, target: Callable[..., Any], model: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with types and defaults applied; `owner` names the component in messages.

    A function gets only what was given: the rest has defaults in its code, and may as well be filled from a data column.

    Raises:
        ConfigError: an option is unknown, missing or has a wrong value.
    """
    try:
        outcome: BaseModel | ValidationError = model.model_validate(dict(options))
    except ValidationError as error:
        outcome = error
    problem = first_problem(model, dict(options), outcome)
    if isinstance(outcome, ValidationError) or problem:
        path, reason = problem or ((), str(outcome))
        where = f", option {'.'.join(str(key) for key in path)!r}" if path else ""
        raise ConfigError(f"{owner}{where}: {reason}")
    values = {field.alias or name: getattr(outcome, name) for name, field in type(outcome).model_fields.items()}
    return values if inspect.isclass(target) else {name: value for name, value in values.items() if name in options}


def taken_arguments(owner: str, function: Callable[..., Any], batch: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `batch` that a function names among its parameters, or all of it where it takes `**kwargs`.

    Raises:
        DataError: the function needs something that the batch does not have, or an option of it is also a data column.
    """
    signature = inspect.signature(function).parameters
    bound = function.keywords if isinstance(function, functools.partial) else {}
    for name in bound:
        if name in batch:
            raise DataError(f"{owner}: {name!r} is both an option and a data column; rename the column")
    parameters = [p for p in signature.values() if p.name not in bound]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        taken = dict(batch)
    else:
        taken = {p.name: batch[p.name] for p in parameters if p.name in batch}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [p.name for p in parameters if p.kind in named and p.default is p.empty and p.name not in batch]
    if missing:
        raise DataError(f"{owner} needs the data column {missing[0]!r}; there are: {', '.join(sorted(batch))}")
    return taken
