"""Who judges: what is reported never comes from a model that was the reward, and gold measures are none."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError
from rl4lms.plugins import registry
from rl4lms.rewards.resolve import refuse_as_reward


def judged_by_reward(recipe: Recipe) -> str | None:
    """Return which metric of a recipe uses a model of its reward, or which gold measure is the reward, as a message;
    None where there is none.

    Other metrics that need no model, such as METEOR, may be both: what they prefer is known.

    Args:
        recipe: of a cell.
    """
    if recipe.algorithm is None or recipe.reward is None:
        return None
    reward = recipe.reward.model_dump(mode="json")
    for name in _names(reward):
        try:
            refuse_as_reward(_metric(name), name)
        except ConfigError as error:
            return str(error)
    rewarded = {_same(model): model for model in _models(reward)}
    for number, metric in enumerate(recipe.evaluation.metrics):
        for model in _models(metric.model_dump(mode="json")):
            if _same(model) in rewarded:
                return (
                    f"evaluation.metrics[{number}]: {metric.name} uses the model {model!r}, which is the reward; name "
                    "another one that was trained on other data, or leave the metric out"
                )
    return None


def _names(value: Any) -> Iterator[str]:
    """Yield the names of a component and of those inside it."""
    if isinstance(value, list):
        for item in value:
            yield from _names(item)
    elif isinstance(value, Mapping):
        if isinstance(value.get("name"), str):
            yield value["name"]
        for item in value.values():
            yield from _names(item)


def _models(value: Any) -> Iterator[str]:
    """Yield the models that a component and those inside it name, or use where none is named."""
    if isinstance(value, list):
        for item in value:
            yield from _models(item)
    if not isinstance(value, Mapping):
        return
    model = value.get("model", _usual(value.get("name")))
    if isinstance(model, str):
        yield model
    for item in value.values():
        yield from _models(item)


def _usual(name: Any) -> Any:
    """Return the model that a metric takes where none is named."""
    metric = _metric(name)
    option = inspect.signature(metric).parameters.get("model") if callable(metric) else None
    return None if option is None else option.default


def _metric(name: Any) -> Any:
    """Return the registered metric of a name; None where there is none. No file is executed."""
    return registry.metrics.get(name) if name in registry.metrics.names() else None


def _same(model: str) -> str:
    """Return one name for all paths of a folder."""
    return str(Path(model).expanduser().resolve()) if Path(model).expanduser().exists() else model
