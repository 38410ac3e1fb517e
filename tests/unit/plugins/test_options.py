"""Options that are read from a signature, whatever it is written like."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pytest
from pydantic import PydanticUserError, create_model

from rl4lms.errors import ConfigError
from rl4lms.plugins.options import Option, checked_options, option_names, reward_options_model, signature_model, written

if TYPE_CHECKING:
    from torch import Tensor


def options(target: Any) -> dict[str, tuple[Any, bool]]:
    """Name -> type, and whether it has to be given."""
    return {f.alias: (f.annotation, f.is_required()) for f in signature_model(target).model_fields.values()}


def test_of_a_function_those_with_a_default_that_are_given_by_keyword():
    def function(
        prompts, completions, *, answers, scale: float = 1.0, _private=2, copy: str = "x", scorer=math.prod, **columns
    ): ...

    assert set(options(function)) == {"scale", "_private", "copy", "scorer"}
    assert set(options(functools.partial(function, scale=2.0))) == {"scale", "_private", "copy", "scorer"}
    assert options(function)["scale"] == (float, False)


def test_of_a_class_the_parameters_of_its_constructor():
    class Class:
        def __init__(self, path: str, size: int = 3, odd: Any = print, *rest, **kwargs) -> None: ...

    class Below(Class):
        """Inherits the constructor."""

    assert options(Class) == options(Below) == {"path": (str, True), "size": (int, False), "odd": (Any, False)}


@dataclass(kw_only=True)
class Trainer:
    """Fields may have a type that this module knows, and nobody else."""

    steps: Annotated[int, Option("per iteration", ge=1)] = 4
    kind: Literal["a", "b"] = "a"
    names: list[str] = field(default_factory=list)
    path: str
    state: int = field(default=0, init=False)
    version: ClassVar[int] = 1
    weights: Tensor | None = None
    own: Literal["x"] = "x"


def test_of_a_dataclass_its_fields():
    model = signature_model(Trainer)
    assert option_names(model) == {"steps", "kind", "names", "path", "weights", "own"}
    assert options(Trainer)["path"] == (str, True)
    assert written(model(path="p")) == {"steps": 4, "kind": "a", "names": [], "path": "p", "weights": None, "own": "x"}


def test_inherited_fields_are_read_where_they_were_written(tmp_path, monkeypatch):
    source = (
        "from dataclasses import dataclass\n@dataclass(kw_only=True)\nclass Below(Trainer):\n    more: bool = False\n"
    )
    scope: dict[str, Any] = {
        "Trainer": Trainer,
        "__name__": "math",
    }  # a module that knows none of the names of this one
    exec(source, scope)
    assert options(scope["Below"])["steps"][0] is int
    with pytest.raises(ConfigError, match=r"^it, option 'steps': should be greater than or equal to 1, got 0$"):
        checked_options("it", signature_model(scope["Below"]), {"path": "p", "steps": 0})


def test_options_of_a_subclass_that_is_no_dataclass_itself_are_refused():
    class Forgotten(Trainer):
        speed: Annotated[float, Option("of it", gt=0)] = 1.0
        limit: ClassVar[int] = 3

    class Deeper(Forgotten):
        """Adds nothing."""

    class Bare(Trainer):
        steps = 7

    for target in (Forgotten, Deeper):
        with pytest.raises(ConfigError) as caught:
            signature_model(target)
        assert str(caught.value) == (
            "class Forgotten adds speed, but is no dataclass itself, so they are no options; write "
            "@dataclass(kw_only=True) above it"
        )
    for target in (Bare, dataclass(kw_only=True)(Bare)):
        with pytest.raises(ConfigError) as caught:
            signature_model(target)
        assert str(caught.value) == (
            "class Bare sets steps without a type, which leaves the option at its inherited default; write steps: "
            "<type> = 7 and @dataclass(kw_only=True) above the class"
        )


def test_what_is_said_in_another_way_is_no_forgotten_option():
    class Mixin:
        note: str = ""

    @dataclass(kw_only=True)
    class Mixed(Mixin, Trainer):
        steps: int = 7

    class Constructed(Trainer):
        speed: float

        def __init__(self, speed: float = 1.0) -> None:
            self.speed = speed

    class Plain(Trainer):
        version = 2

    assert signature_model(Mixed)(path="p").model_dump(by_alias=True)["steps"] == 7
    assert option_names(signature_model(Constructed)) == {"speed"}
    assert option_names(signature_model(Plain)) == option_names(signature_model(Trainer))


def test_one_annotation_that_cannot_be_read_leaves_the_others_checked():
    def function(*, weights: Tensor | None = None, scale: float = 1.0): ...

    model = signature_model(function)
    assert checked_options("it", model, {"weights": [1]}) == {"weights": [1]}
    with pytest.raises(ConfigError, match=r"^it, option 'scale': should be a number, got \"x\"$"):
        checked_options("it", model, {"scale": "x"})


@pytest.mark.filterwarnings("ignore:<built-in function any> is not a Python type")
def test_an_annotation_that_pydantic_does_not_know_allows_anything():
    def function(*, odd: any = 0, scale: float = 1.0): ...

    with pytest.raises(PydanticUserError):
        create_model("Odd", odd=(any, 0))
    assert checked_options("it", signature_model(function), {"odd": 3, "scale": 2.0}) == {"odd": 3, "scale": 2.0}


def test_a_sentence_and_limits_stand_beside_the_type():
    def function(*, share: Annotated[float | None, Option("of the whole", ge=0, le=1)] = None): ...

    found = next(iter(signature_model(function).model_fields.values()))
    assert (found.alias, found.description, found.default) == ("share", "of the whole", None)
    assert checked_options("it", signature_model(function), {"share": None}) == {"share": None}
    with pytest.raises(ConfigError, match=r"^it, option 'share': should be less than or equal to 1, got 2$"):
        checked_options("it", signature_model(function), {"share": 2})


def test_options_are_checked_together():
    class Range:
        def __init__(self, low: int = 0, high: int = 1, name: str = "x") -> None: ...

        @staticmethod
        def check_options(low: int, high: int) -> None:
            if low >= high:
                raise ValueError(f"low {low} must be below high {high}")

    def between(completions, *, low: int = 0, high: int = 1): ...

    between.check_options = Range.check_options
    for target in (Range, between):
        assert checked_options("it", signature_model(target), {"high": 5}) == {"high": 5}
        with pytest.raises(ConfigError, match=r"^it: low 3 must be below high 1$"):
            checked_options("it", signature_model(target), {"low": 3})


def test_a_signature_that_cannot_be_read_is_refused():
    with pytest.raises(ConfigError, match=r"^'max': its parameters cannot be read; wrap it in a Python function$"):
        signature_model(max)


def test_a_metric_as_a_reward_has_a_key_that_says_which_of_its_values():
    names = {"stemmer", "multi_reference", "tokenizer", "report", "sentences", "key"}
    assert option_names(reward_options_model("rouge")) == names
    key = {f.alias: f for f in reward_options_model("classifier").model_fields.values()}[
        "key"
    ]  # not the name of its result in logs
    assert (key.default, key.description) == (None, "which of the metric's values is the reward")
