"""Which settings of a recipe its algorithm does not use: said where a run starts, and by `--dry-run`.

They are not refused, so that one recipe serves several algorithms: `rl4lms train recipe.yaml algorithm.name=rloo`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.build import mask_of
from rl4lms.config.recipe import Recipe
from rl4lms.errors import plural
from rl4lms.plugins.component import Block


def unused(algorithm: Algorithm | None, recipe: Recipe, defaults: Mapping[str, Any]) -> list[str]:
    """Return a line for each setting without effect.

    Args:
        algorithm: of the recipe.
        recipe: as its user wrote it.
        defaults: blocks of its task, which are for every algorithm: what is as they say is nobody's mistake.
    """
    found = []
    if recipe.model.attention == "flex" and (algorithm is None or recipe.rollout.completions_per_prompt == 1):
        why = "nothing is sampled" if algorithm is None else "each prompt has one completion"
        found.append(f"model.attention: flex has no effect: {why}")
    if algorithm is None:
        return found
    name = recipe.algorithm_name
    rates = {"learning_rate", "value_learning_rate"} & _named(recipe.optimizer, defaults.get("optimizer"))
    of_value = ["model.value"] if "value" in _named(recipe.model, defaults.get("model")) else []
    of_value += ["optimizer.value_learning_rate"] if "value_learning_rate" in rates else []
    if of_value and not algorithm.needs_value:
        verb = "has" if len(of_value) == 1 else "have"
        found.append(f"{' and '.join(of_value)} {verb} no effect: {name} has no value function")
    if algorithm.own_step and "learning_rate" in rates and recipe.optimizer.value_learning_rate is not None:
        found.append(
            f"optimizer.learning_rate has no effect: the size of {name}'s step is not the optimiser's, and the value "
            "function has optimizer.value_learning_rate"
        )
    if algorithm.needs_exact_kl and recipe.kl.kl_coef == 0:
        found.append(
            "algorithm.kl_estimator: exact costs a pass of the reference in every pass of the update, for a term that "
            "kl.kl_coef: 0 takes out; leave it out"
        )
    iterations, mask = recipe.training.iterations, mask_of(algorithm, recipe.mask)
    if iterations == 0:
        return [
            *found,
            "training.iterations is 0: nothing is learnt from the reward; the model is evaluated and saved as it is",
        ]
    if mask is not None and mask.source == "lagged" and mask.refresh_every and mask.refresh_every >= iterations:
        option = "mask.refresh_every" if recipe.mask is not None else "algorithm.mask_update_every"
        found.append(
            f"the mask stays that of the model before training: {option} is {mask.refresh_every}, and there are "
            f"{plural(iterations, 'iteration')}; set it below training.iterations"
        )
    return found


def _named(block: Block, defaults: Mapping[str, Any] | None) -> set[str]:
    """Return the settings that the recipe names, and does not set to null or to what its task says; none of a recipe
    that was dumped, as that of a resumed run, which names all of them.
    """
    if block.model_fields_set >= type(block).model_fields.keys():
        return set()
    usual = defaults or {}
    return {key for key in block.model_fields_set if getattr(block, key) not in (None, usual.get(key))}
