"""A run's reward and metrics, built and tried before anything that takes long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rl4lms.config.recipe import Recipe
from rl4lms.data.files import FileTask
from rl4lms.errors import ConfigError, DataError
from rl4lms.evaluation.corpus import give_corpora
from rl4lms.metrics import build_all
from rl4lms.metrics.call import RESERVED as OF_METRICS
from rl4lms.plugins import building, registry
from rl4lms.plugins.component import Component
from rl4lms.plugins.files import is_path
from rl4lms.rewards import build as build_reward
from rl4lms.rewards import nested, penalties, score
from rl4lms.rewards.call import RESERVED
from rl4lms.rewards.resolve import MetricReward
from rl4lms.rewards.transform import Standardise
from rl4lms.types import Metric, Reward, Task


def reward_of(recipe: Recipe, task: Task, given: Reward | None = None) -> Reward | None:
    """Return the recipe's reward with the corpora it names, tried on one sample as far as that runs no model and
    nobody's code.

    Args:
        recipe: names it.
        task: has the corpora and the sample.
        given: takes the place of the recipe's.

    Raises:
        ConfigError: it cannot be built, or does not fit the recipe.
        MissingPartError, MissingExtraError: a part of it is not there.
        DataError, RewardError: the data do not have what it needs, or it has several values per text and no `key` says
            which.
    """
    if given is None and recipe.reward is None:
        return None
    _refuse_reserved(task, RESERVED)
    reward: Reward = given if given is not None else build_reward(recipe.reward)  # type: ignore[arg-type]
    give_corpora([reward], task)
    for part in nested(reward):
        if isinstance(part, Standardise) and part.over == "prompt" and recipe.rollout.completions_per_prompt < 2:
            raise ConfigError(
                "reward 'standardise' over the completions of a prompt needs several: set "
                "rollout.completions_per_prompt to 2 or more"
            )
        own = isinstance(part, MetricReward) or type(part).__module__ == penalties.__name__
        if own and getattr(part, "in_background", False) and len(task.samples("train")):
            samples = task.samples("train")
            sample = samples[0]
            if getattr(part, "needs_references", False):  # training leaves the rows out that have none
                sample = next((one for one in samples if one.references), sample)
            text = next(iter(sample.references), sample.prompt)
            columns = {name: [value] for name, value in sample.meta.items()}
            score(
                part,
                prompts=[sample.prompt],
                completions=[text],
                texts=[text],
                completion_ids=[[0]],
                references=[sample.references],
                columns=columns,
            )
    return reward


def _refuse_reserved(task: Task, names: frozenset[str]) -> None:
    """Refuse columns of files that would hide what rewards are given; `score` does for those of any task.

    Raises:
        DataError: a file has one.
    """
    found = task.column_among(names) if isinstance(task, FileTask) else None
    if found is not None:
        raise DataError(
            f"{found[0]}: the column {found[1]!r} has a name that is reserved for what rewards and metrics are given; "
            "rename it"
        )


def metrics_of(recipe: Recipe, task: Task) -> tuple[list[Metric], dict[str, str]]:
    """Return the recipe's metrics with the corpora they name; and those that lack an optional part, with what to do
    about it.

    Raises:
        ConfigError: one cannot be built.
        DataError: a corpus has no references.
    """
    _refuse_reserved(task, OF_METRICS)
    built, absent = build_all(recipe.evaluation.metrics)
    metrics = [metric for _, metric in built]
    give_corpora(metrics, task)
    return metrics, absent


def without_models(recipe: Recipe) -> Recipe:
    """Return the recipe without the reward and the metrics that load a model or run somebody's file: what a dry run can
    build.
    """

    def light(component: Component | None) -> bool:
        return component is not None and not any(_heavy(component.model_dump()))

    metrics = [component for component in recipe.evaluation.metrics if light(component)]
    evaluation = recipe.evaluation.model_copy(update={"metrics": metrics})
    return recipe.model_copy(
        update={"evaluation": evaluation, "reward": recipe.reward if light(recipe.reward) else None}
    )


def check_files(recipe: Recipe) -> None:
    """Check the options of rewards and metrics in files, whose functions and classes are looked at and not called.

    Raises:
        ConfigError: as when they are built: a file cannot be used, or an option is wrong.
    """
    metrics = [metric.model_dump() for metric in recipe.evaluation.metrics]
    reward = None if recipe.reward is None else recipe.reward.model_dump()
    for kind, components in ((registry.rewards, reward), (registry.metrics, metrics)):
        for component in _in_files(components):
            building.check(kind, component)


def _in_files(value: Any) -> Iterator[Component]:
    if isinstance(value, Mapping):
        if is_path(str(value.get("name", ""))):
            yield Component.model_validate(value)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _in_files(item)


def _heavy(value: Any) -> Iterator[bool]:
    if isinstance(value, Mapping):
        yield "model" in value or is_path(str(value.get("name", "")))
        for item in value.values():
            yield from _heavy(item)
    if isinstance(value, list):
        for item in value:
            yield from _heavy(item)
