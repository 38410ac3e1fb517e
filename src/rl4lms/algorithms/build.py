"""From the algorithm that a recipe names to the object."""

from __future__ import annotations

from typing import Any

from rl4lms.algorithms.base import Algorithm
from rl4lms.config.masks import MaskConfig
from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError
from rl4lms.plugins import registry
from rl4lms.plugins.building import build
from rl4lms.plugins.component import Component


def build_algorithm(component: Component, completions_per_prompt: int | None = None) -> Algorithm:
    """Build the algorithm that a recipe names.

    Args:
        component: its name and options.
        completions_per_prompt: of the recipe; None where nothing is trained.

    Raises:
        UnknownNameError: there is none of that name.
        ConfigError: an option is wrong, this is no algorithm, it lacks a method, or it could not be resumed; it
            compares completions of a prompt, and there are too few.
    """
    target = registry.algorithms.get(component.name)
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if missing:  # Python's own words for it would be told as an error of the constructor
        raise ConfigError(f"{_class(component, target)} lacks {' and '.join(missing)}; {_EXAMPLE}")
    algorithm = build(registry.algorithms, component)
    if not isinstance(algorithm, Algorithm):
        raise ConfigError(f"algorithm {component.name!r} is no subclass of rl4lms.Algorithm; {_EXAMPLE}")
    if algorithm.needs_value and _owner(algorithm, "value_loss") is Algorithm:
        raise ConfigError(f"{_class(component, type(algorithm))} has needs_value and lacks value_loss; {_EXAMPLE}")
    said, taken = _owner(algorithm, "state_dict"), _owner(algorithm, "load_state_dict")
    if said is not taken:
        first, other = (
            ("state_dict", "load_state_dict") if issubclass(said, taken) else ("load_state_dict", "state_dict")
        )
        owner = said if first == "state_dict" else taken
        raise ConfigError(
            f"{_class(component, owner)} defines {first} without {other}, so a resumed run "
            f"would not go on as before; define both: {_BOTH}"
        )
    needed = algorithm.min_completions_per_prompt
    if completions_per_prompt is not None and completions_per_prompt < needed:
        raise ConfigError(
            f"rollout.completions_per_prompt: algorithm {component.name!r} compares completions of one prompt and "
            f"needs {needed} or more, got {completions_per_prompt}; with 4, a quarter of "
            "training.prompts_per_iteration makes as many completions"
        )
    return algorithm


def algorithm_of(recipe: Recipe) -> Algorithm | None:
    """Build the algorithm of a recipe that is to be trained, or None where it is supervised alone.

    Raises:
        UnknownNameError, ConfigError: see `build_algorithm`; its step would move the value function too or needs second
            derivatives that there are none of, or there is no mask where one is named.
    """
    n = recipe.rollout.completions_per_prompt
    algorithm, name = None if recipe.algorithm is None else build_algorithm(recipe.algorithm, n), recipe.algorithm_name
    if algorithm is not None and algorithm.own_step and recipe.model.value == "shared":
        raise ConfigError(f"model.value: shared; {name} steps the policy alone; use separate")
    if algorithm is not None and algorithm.second_derivatives and recipe.model.attention == "flex":
        raise ConfigError(f"model.attention: flex has no second derivatives, which {name} needs; leave it out")
    if mask_of(algorithm, recipe.mask) is None and recipe.decoding.mask:
        raise ConfigError(f"evaluation.generation.mask: {name} has no mask to decode in; leave it out")
    return algorithm


def mask_of(algorithm: Algorithm | None, mask: MaskConfig | None) -> MaskConfig | None:
    """Return the mask of a run: the algorithm's own, or that of the recipe.

    Raises:
        ConfigError: there are both, or nothing samples inside of it.
    """
    own = None if algorithm is None else algorithm.own_mask()
    if mask is not None and (own is not None or algorithm is None):
        name = "algorithm: null samples no rollouts" if own is None else f"{type(algorithm).__name__} has its own mask"
        raise ConfigError(f"mask: {name}; leave it out, or use another algorithm, such as ppo")
    return own or mask


def _owner(algorithm: Algorithm, method: str) -> type[Any]:
    """Return the class that a method is taken from."""
    return next(owner for owner in type(algorithm).__mro__ if method in vars(owner))


def _class(component: Component, owner: type[Any]) -> str:
    return f"algorithm {component.name!r}: class {owner.__name__}"


_EXAMPLE = "docs/algorithms/own.md has an example"
_BOTH = "state_dict returns what is remembered as JSON, load_state_dict takes it back"
