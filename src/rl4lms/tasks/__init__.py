"""Benchmark tasks. A task declares prompts, references, the models it needs and its default settings; it trains
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rl4lms.config.recipe import Recipe
from rl4lms.data.files import FileTask
from rl4lms.errors import DataError
from rl4lms.plugins import building
from rl4lms.plugins.component import Component
from rl4lms.tasks.checked import CheckedTask
from rl4lms.types import Sample, Split, Task

__all__ = ["build", "samples_of", "task_of"]


def build(task: Component | str | Mapping[str, Any], **options: Any) -> Task:
    """Return the task of that name; `options` are added to those of the component.

    The samples of a task from elsewhere are checked when they are asked for: what is no sample raises DataError.

    Raises:
        UnknownNameError: no task has that name.
        ConfigError: an option is unknown or has a wrong value.
    """
    component = building.as_component(task, "task")
    built = building.build_task(Component(name=component.name, **(component.options | options)))
    return built if type(built).__module__.startswith("rl4lms.") else CheckedTask(built, component.name)


def samples_of(task: Task, split: Split) -> Sequence[Sample]:
    """Return the prompts of a split that is to be used.

    Raises:
        DataError: there are none.
    """
    samples = task.samples(split)
    if not len(samples):
        raise DataError(f"task {task.name!r}: the {split} split has no samples")
    return samples


def task_of(recipe: Recipe) -> Task:
    """Return the task that a recipe names, or its data files as a task."""
    if recipe.data is not None:
        return FileTask(recipe.data)
    assert recipe.task is not None
    return build(recipe.task)
