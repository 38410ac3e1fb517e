"""Which options a registered component takes."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from rl4lms.errors import ConfigError
from rl4lms.plugins.component import Block
from rl4lms.plugins.problems import first_problem
from rl4lms.plugins.registry import Registry, metrics


def options_model(registry: Registry, name: str) -> type[BaseModel]:
    """The model that validates the options of a component: the registered one, or one made from the target's signature.

    Raises:
        UnknownNameError: nothing is registered under `name`.
    """
    return registry.config_model(name) or signature_model(registry.get(name))


class SignatureOptions(Block):
    """Base of models made from a signature. What a recipe leaves out keeps the default in the code, whatever that is."""

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_default=False, protected_namespaces=())


def signature_model(target: Callable[..., Any]) -> type[SignatureOptions]:
    """The options of a function are its keyword-only parameters with a default; those of a class, all parameters of its constructor.

    Keyword-only parameters of a function without a default are data columns. Annotations are used where pydantic understands them.
    """
    is_class = inspect.isclass(target)
    try:
        hints = typing.get_type_hints(target.__init__ if is_class else target)
    except (NameError, TypeError, AttributeError):  # names imported for type checkers only; objects without annotations
        hints = {}
    types, fields = inspect.Parameter, {}
    for position, parameter in enumerate(inspect.signature(target).parameters.values()):
        required = parameter.default is types.empty
        named = parameter.kind is types.KEYWORD_ONLY or parameter.kind is types.POSITIONAL_OR_KEYWORD
        if named if is_class else (parameter.kind is types.KEYWORD_ONLY and not required):
            annotation = hints.get(parameter.name, Any)
            default = ... if required else parameter.default
            # the alias lets a parameter be called `_x`, `copy` or `json`, which pydantic reserves
            fields[f"option_{position}"] = (_understood(annotation), Field(default, alias=parameter.name))
    return create_model(target.__name__ if is_class else "Options", __base__=SignatureOptions, **fields)  # type: ignore[call-overload]


def reward_options_model(metric: str) -> type[BaseModel]:
    """The options of a metric that is used as a reward: its own, and `key` for which of its values is the reward.

    Raises:
        UnknownNameError: there is no such metric.
    """
    model = options_model(metrics, metric)
    if any("key" in (name, field.alias) for name, field in model.model_fields.items()):
        return model
    return create_model(model.__name__, __base__=model, key=(str | None, None))


def _understood(annotation: Any) -> Any:
    try:
        create_model("Probe", __base__=SignatureOptions, field=(annotation, ...))
    except PydanticUserError:
        return Any
    return annotation


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
