"""Which options a component takes. Everything about one stands in one place, the component's signature:

    class Rouge:
        def __init__(self, stemmer: Annotated[bool, Option("compare Porter stems")] = True) -> None: ...

The options of a class are the parameters of its constructor, or its fields where it is a dataclass. Those of a
function are its keyword-only parameters with a default; what else it asks for by keyword are data columns.

What no option can say alone, the component says with a static method `check_options`, which names the options it
looks at and raises `ValueError`. It runs when a recipe is read, so that the message has the recipe's line:

    class Clip:
        @staticmethod
        def check_options(low: float | None, high: float | None) -> None: ...
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model, model_validator

from rl4lms.errors import ConfigError
from rl4lms.plugins.calling import annotation_of, parameters_of
from rl4lms.plugins.component import Block
from rl4lms.plugins.problems import first_problem
from rl4lms.plugins.registry import Registry, metrics


def Option(what: str | None = None, **limits: Any) -> Any:
    """Describe an option inside `Annotated`.

    Args:
        what: one sentence for `rl4lms show`.
        limits: those of `pydantic.Field`, such as `ge`, `le`, `min_length`.
    """
    return Field(description=what, **limits)


class Options(Block):
    """Base of the models that are made from a signature. A default is what the code says, whatever that is."""

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_default=False, protected_namespaces=())


class FunctionOptions(Options):
    """Options of a function."""


def options_model(registry: Registry, name: str) -> type[BaseModel]:
    """Return the model that validates the options of a component, made from the signature of its target.

    Raises:
        UnknownNameError: nothing is registered under `name`.
        ConfigError: the target cannot be imported, or has no readable signature.
    """
    return signature_model(registry.get(name))


def signature_model(target: Callable[..., Any]) -> type[Options]:
    """Make the model of a component's options from its signature.

    An annotation that pydantic does not understand allows anything.

    Raises:
        ConfigError: the signature cannot be read, or leaves out what the class adds to a dataclass.
    """
    return _model(target, _fields(target))


def reward_options_model(metric: str) -> type[Options]:
    """Make the model of the options of a metric that is used as a reward.

    They are its own, and `key` for which of its values is the reward. A `key` of the metric itself, the name of its
    result in an evaluation's logs, is not among them.

    Raises:
        UnknownNameError: there is no such metric.
    """
    target = metrics.get(metric)
    key = (str | None, Field(None, alias="key", description="which of the metric's values is the reward"))
    return _model(target, [*(field for field in _fields(target) if field[1].alias != "key"), key])


def option_names(model: type[BaseModel]) -> set[str]:
    """Return the names of the options that a model has, as recipes write them."""
    return {field.alias or name for name, field in model.model_fields.items()}


def checked_options(owner: str, model: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options with their types applied. What was not given has its default in the code.

    Args:
        owner: names the component in messages.
        model: what they are checked with.
        options: as given.

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
    given = {field.alias or name: getattr(outcome, name) for name, field in type(outcome).model_fields.items()}
    return {name: value for name, value in given.items() if name in options}


def written(options: BaseModel) -> dict[str, Any]:
    """Return what a resolved recipe says about options: all of them, so that it stays true when a default changes.

    What a function was not given stays out, since a data column of that name may take its place. So does a default
    that is no plain value: no recipe can hold it.
    """
    left_out = set()
    if isinstance(options, Options):
        unset = type(options).model_fields.keys() - options.model_fields_set
        left_out = {
            name for name in unset if isinstance(options, FunctionOptions) or not _is_plain(getattr(options, name))
        }
    return options.model_dump(mode="json", by_alias=True, exclude=left_out)


def _model(target: Callable[..., Any], fields: list[Any]) -> type[Options]:
    """Make a model of some fields, which runs the target's `check_options`."""
    is_class = inspect.isclass(target)
    name, base = (target.__name__, Options) if is_class else ("Options", FunctionOptions)
    check = getattr(target, "check_options", None)
    validators: dict[str, Any] = (
        {} if check is None else {"check_options": model_validator(mode="after")(_together(check))}
    )
    named = {f"option_{place}": field for place, field in enumerate(fields)}
    try:
        return create_model(name, __base__=base, __validators__=validators, **named)
    except PydanticUserError:
        named = {key: (_understood(annotation), field) for key, (annotation, field) in named.items()}
        return create_model(name, __base__=base, __validators__=validators, **named)


def _together(check: Callable[..., None]) -> Callable[[Any], Any]:
    """Make a validator of a component's `check_options`: it gets those options that it names."""
    asked = inspect.signature(check).parameters

    def check_options(options: BaseModel) -> BaseModel:
        values = {field.alias or name: getattr(options, name) for name, field in type(options).model_fields.items()}
        check(**{name: value for name, value in values.items() if name in asked})
        return options

    return check_options


def _fields(target: Callable[..., Any]) -> list[Any]:
    """Return annotation and pydantic field of each option, in the order of the signature."""
    is_class, kinds = inspect.isclass(target), inspect.Parameter
    if is_class and dataclasses.is_dataclass(target):
        _check_fields(target)
    factories = (
        {f.name: f.default_factory for f in dataclasses.fields(target)} if dataclasses.is_dataclass(target) else {}
    )
    found: list[Any] = []
    for parameter in parameters_of(f"{getattr(target, '__name__', target)!r}", target).values():
        required = parameter.default is kinds.empty
        by_name = parameter.kind in (kinds.KEYWORD_ONLY, kinds.POSITIONAL_OR_KEYWORD)
        if not (by_name if is_class else parameter.kind is kinds.KEYWORD_ONLY and not required):
            continue
        factory = factories.get(parameter.name, dataclasses.MISSING)
        default: dict[str, Any] = {} if required else {"default": parameter.default}
        if factory is not dataclasses.MISSING:
            default = {"default_factory": factory}
        # the alias lets a parameter be called `_x`, `copy` or `json`, which pydantic reserves
        found.append((annotation_of(target, parameter), Field(**default, alias=parameter.name)))
    return found


def _check_fields(target: type[Any]) -> None:
    """Refuse what looks like an option of a dataclass's subclass and is none: it would be ignored.

    Raises:
        ConfigError: annotated names without the decorator, or a new default without an annotation.
    """
    options = {f.name for f in dataclasses.fields(target) if f.init}
    for owner in target.__mro__:
        decorated, annotations = "__dataclass_fields__" in vars(owner), inspect.get_annotations(owner)
        if "__init__" in vars(owner) and not decorated:
            return  # a constructor of its own says what the options are
        added = [name for name, kind in annotations.items() if "ClassVar" not in str(kind)]
        if added and not decorated and dataclasses.is_dataclass(owner):  # and no mixin, whose annotations are its own
            raise ConfigError(
                f"class {owner.__name__} adds {', '.join(added)}, but is no dataclass itself, so they are no "
                f"options; write @dataclass(kw_only=True) above it"
            )
        bare = sorted(options & vars(owner).keys() - annotations.keys())
        if bare:
            raise ConfigError(
                f"class {owner.__name__} sets {bare[0]} without a type, which leaves the option at its inherited "
                f"default; write {bare[0]}: <type> = {vars(owner)[bare[0]]!r} and @dataclass(kw_only=True) above the "
                f"class"
            )


def _understood(annotation: Any) -> Any:
    try:
        create_model("Probe", __base__=Options, field=(annotation, ...))
    except PydanticUserError:
        return Any
    return annotation


def _is_plain(value: Any) -> bool:
    """Return whether a recipe can hold a value."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return (
        value is None
        or isinstance(value, str | bool | int | BaseModel)
        or (isinstance(value, float) and math.isfinite(value))
    )
