"""Overrides that an evaluation would not read: refused, with what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl4lms.config.recipe import Recipe
    from rl4lms.types import Split

_READ = ("seed", "device", "model", "task", "data", "prompt", "reward", "reward_faults")
_READ_OF_EVALUATION = ("prompts", "prompt_seed", "metrics", "generation", "on_training_data")
_READ_OF_ALGORITHM = ("mask_top_p", "min_tokens_to_keep")  # and these inside the mask only
_OF_ITS_START = ("path", "tokenizer", "lora", "revision")  # what a run's trained model does not take from the recipe


@dataclass(frozen=True, slots=True)
class Asked:
    """What else the command or call says.

    Attributes:
        split: which prompts are evaluated.
        masked: whether it decodes inside the mask.
        is_run, is_model: what the target is; a recipe where neither.
    """

    split: str
    masked: bool
    is_run: bool
    is_model: bool


def evaluated_split(recipe: Recipe, asked: Split | None, *, is_run: bool) -> Split:
    """Return the split that is evaluated: the one that was asked for, else the one that the recipe says.

    A run's recipe always says one, that of its curves: of a run it is the test split. So it is where nothing is said.
    """
    said = not is_run and "split" in recipe.evaluation.model_fields_set
    return asked or (recipe.evaluation.split if said else "test")


def refuse_unread(recipe: Recipe, overrides: Iterable[str], asked: Asked) -> None:
    """Refuse overrides that change nothing of an evaluation.

    Args:
        recipe: with the overrides.
        overrides: as they were typed.
        asked: what else the command or call says.

    Raises:
        ConfigError: an override has no effect; the message says what to write instead.
    """
    from rl4lms.config.reader import read_text
    from rl4lms.errors import ConfigError, cut, one_line

    for text in overrides:
        key, _, value = text.partition("=")
        place = one_line(f"override {cut(key)}={cut(value)}")
        tree = read_text(value, place, lines=False)[0]
        for keys in _leaves(tree, tuple(key.strip().split("."))):
            why = _why_unread(recipe, keys, value.strip() if keys == tuple(key.strip().split(".")) else "...", asked)
            if why:
                raise ConfigError(f"{place}: {why}")


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Return the settings of a block that is written as one mapping."""
    if not isinstance(tree, Mapping) or not tree or len(path) > 2:
        yield path
        return
    for key, value in tree.items():
        yield from _leaves(value, (*path, str(key)))


def _why_unread(recipe: Recipe, keys: tuple[str, ...], value: str, asked: Asked) -> str:
    """Return why a setting has no effect on the evaluation, and what has; nothing where it has one."""
    block, name = keys[0], keys[1] if len(keys) > 1 else ""
    if block == "rollout":
        return _of_rollout(recipe, name, value)
    if block == "evaluation" and name:
        return _of_evaluation(recipe, keys, value, asked)
    if block == "algorithm":
        if asked.masked and name in _READ_OF_ALGORITHM:
            return ""
        mask = " but mask_top_p and min_tokens_to_keep with --masked"
        return f"an evaluation reads nothing of the algorithm{mask}; leave it out"
    if block == "model":
        return _of_model(name, asked)
    if block == "data" and name in ("validation", "test") and name != asked.split:
        # the corpus of a metric may be another split than the one that is evaluated
        corpora = [recipe.reward, *recipe.evaluation.metrics]
        named = any(f"'corpus': '{name}'" in str(c.model_dump()) for c in corpora if c is not None)
        return "" if named else f"the {asked.split} split is evaluated; add --split {name}, or set data.{asked.split}"
    if block in _READ or (block == "evaluation" and not name):
        return ""
    read = "seed, device, model, task, data, prompt, reward, reward_faults, rollout and evaluation"
    return f"an evaluation does not read {'.'.join(keys)}, but {read}; leave it out"


def _of_rollout(recipe: Recipe, name: str, value: str) -> str:
    from rl4lms.config import SamplingConfig

    if name and name not in SamplingConfig.model_fields:
        return f"an evaluation does not read it; write evaluation.generation.{name}={value}"
    for field in [name] if name else SamplingConfig.model_fields:
        used = getattr(recipe.decoding, field)
        if used != getattr(recipe.rollout, field):
            return (
                f"evaluations of this recipe decode by evaluation.generation, where {field} is {used}; write "
                f"evaluation.generation.{field}={value}"
            )
    return ""


def _of_evaluation(recipe: Recipe, keys: tuple[str, ...], value: str, asked: Asked) -> str:
    if keys[1] == "split":
        if asked.is_run:
            return f"the evaluation of a run takes the split from its option; write --split {value}"
        said = recipe.evaluation.split
        return "" if said == asked.split else f"--split {asked.split} says another one; leave one of them out"
    if keys[1] not in _READ_OF_EVALUATION:
        read = ", ".join(f"evaluation.{name}" for name in _READ_OF_EVALUATION)
        return f"it says what a training does; an evaluation reads {read} only"
    return "to decode inside the mask of a run, write --masked" if keys[1:] == ("generation", "mask") else ""


def _of_model(name: str, asked: Asked) -> str:
    if asked.is_run and (not name or name in _OF_ITS_START):
        return "the model that the run trained is evaluated; for another one, name it or its recipe instead of the run"
    if asked.is_model and name in ("", "path"):
        return "the model to evaluate is the first argument; name it there"
    return (
        f"an evaluation does not read model.{name}; leave it out"
        if name in ("value", "gradient_checkpointing", "attention")
        else ""
    )
