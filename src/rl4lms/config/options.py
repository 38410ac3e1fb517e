"""Which options a registered component takes."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model

from rl4lms.config.base import Block
from rl4lms.registry import Registry, metrics


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
