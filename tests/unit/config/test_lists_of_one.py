"""A single value stands for a list of one: of every list in a recipe, and of every option that is one."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, create_model

from rl4lms.config import read_recipe, recipe_from_dict
from rl4lms.config.reference import blocks
from rl4lms.errors import ConfigError
from rl4lms.metrics import build
from rl4lms.plugins import registry
from rl4lms.plugins.component import Block
from rl4lms.plugins.options import checked_options, options_model, signature_model


def lists() -> list[tuple[str, type[BaseModel], str]]:
    """Every field and option whose annotation has a list of any length in it."""
    kinds = (registry.algorithms, registry.tasks, registry.rewards, registry.metrics)
    models = [*blocks(), *((f"{k.kind} {name}", options_model(k, name)) for k in kinds for name in k.names())]
    return [
        (f"{path}.{name}", model, field.alias or name)
        for path, model in models
        for name, field in model.model_fields.items()
        if any(text in str(field.annotation) for text in ("list[", "...]", "Sequence[", "Iterable["))
    ]


def test_the_lists_are_found() -> None:
    names = {name for name, _, _ in lists()}
    assert {"evaluation.metrics", "tracking.report_to", "rollout.stop", "evaluation.generation.stop"} <= names
    assert len(names) >= 9


def item_of(annotation: Any) -> Any:
    """A value that the list takes: the first of those that it names, else a text, which stands for a component, too."""
    literals = [one for one in typing.get_args(annotation)[:1] if typing.get_origin(one) is typing.Literal]
    return typing.get_args(literals[0])[0] if literals else "rouge"


@pytest.mark.parametrize(("model", "key"), [pytest.param(model, key, id=name) for name, model, key in lists()])
def test_one_value_is_a_list_of_one(model: type[BaseModel], key: str) -> None:
    field = next(field for name, field in model.model_fields.items() if (field.alias or name) == key)
    value = item_of(field.annotation)
    alone: Any = create_model("Alone", __base__=Block, value=(field.annotation, ...))
    assert alone(value=value).value == alone(value=[value]).value
    assert len(alone(value=value).value) == 1
    assert problems_of(model, key, value) == problems_of(model, key, [value])  # such as a list that is too short


def problems_of(model: type[BaseModel], key: str, value: Any) -> list[str]:
    """What is wrong with one key; others may be missing."""
    try:
        model.model_validate({key: value})
    except ValidationError as error:
        return [problem["type"] for problem in error.errors() if problem["loc"][0] == key]
    return []


def test_in_recipes_files_and_overrides(tmp_path: Any) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "model: {path: gpt2, lora: {target_modules: c_attn}}\ndata: x.jsonl\nreward: {name: sum, parts: rouge}\n"
        "evaluation: {metrics: {name: rouge, report: recall}}\ntracking: {report_to: wandb}\nrollout: {stop: ' '}\n"
    )
    recipe = read_recipe(path, ["evaluation.generation.stop=x"])
    assert recipe.model.lora is not None
    assert recipe.model.lora.target_modules == ["c_attn"]
    assert [(one.name, one.options["report"]) for one in recipe.evaluation.metrics] == [("rouge", ["recall"])]
    assert recipe.tracking.report_to == ["wandb"]
    assert (recipe.rollout.stop, recipe.decoding.stop) == ([" "], ["x"])
    assert recipe.reward is not None
    assert [part["reward"]["name"] for part in recipe.reward.options["parts"]] == ["rouge"]
    again = recipe_from_dict(
        {
            "model.path": "gpt2",
            "data": "x.jsonl",
            "evaluation": {"metrics": "rouge"},
            "model.lora": {"target_modules": "all-linear"},
        }
    )
    assert [one.name for one in again.evaluation.metrics] == ["rouge"]
    assert again.model.lora is not None
    assert again.model.lora.target_modules == "all-linear"
    assert build({"name": "rouge", "report": "f"})


def takes(
    *,
    columns: tuple[str, ...] = (),
    numbers: list[int] | None = None,
    pair: tuple[float, float] = (0, 1),
    either: str | list[str] = "",
) -> None:
    """What a component of one's own may ask for."""


def test_options_of_ones_own() -> None:
    def options(**given: Any) -> dict[str, Any]:
        return checked_options("mine", signature_model(takes), given)

    assert options(columns="a", numbers=3, either="x") == {"columns": ("a",), "numbers": [3], "either": "x"}
    for wrong in ({"numbers": "3"}, {"numbers": True}, {"numbers": {"a": 1}}, {"pair": 1.0}, {"columns": 3}):
        with pytest.raises(ConfigError):
            options(**wrong)
