"""Benchmark tasks. A task declares prompts, references, the models it needs and its default settings; it trains
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rl4lms.config.recipe import Recipe
from rl4lms.data.files import FileTask
from rl4lms.plugins import building
from rl4lms.plugins.component import Component
from rl4lms.types import Task

__all__ = ["build", "task_of"]


def build(task: Component | str | Mapping[str, Any], **options: Any) -> Task:
    """Return the task of that name; `options` are added to those of the component.

    Raises:
        UnknownNameError: no task has that name.
        ConfigError: an option is unknown or has a wrong value.
    """
    component = building.as_component(task, "task")
    return building.build_task(Component(name=component.name, **(component.options | options)))


def task_of(recipe: Recipe) -> Task:
    """Return the task that a recipe names, or its data files as a task."""
    if recipe.data is not None:
        return FileTask(recipe.data)
    assert recipe.task is not None
    return build(recipe.task)
