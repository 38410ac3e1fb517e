"""Which settings of a recipe its algorithm does not use: said where a run starts, and by `--dry-run`.

They are not refused, so that one recipe serves several algorithms: `rl4lms train recipe.yaml algorithm.name=rloo`.
"""

from __future__ import annotations

from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.build import mask_of
from rl4lms.config.recipe import Recipe
from rl4lms.errors import plural


def unused(algorithm: Algorithm, recipe: Recipe) -> list[str]:
    """Return a line for each setting without effect: there is no value function, or too few iterations."""
    found = []
    named = {"model.value": recipe.model, "optimizer.value_learning_rate": recipe.optimizer}
    named_here = [key for key, block in named.items() if key.partition(".")[2] in block.model_fields_set]
    if named_here and not algorithm.needs_value:
        verb = "has" if len(named_here) == 1 else "have"
        found.append(f"{' and '.join(named_here)} {verb} no effect: {recipe.algorithm_name} has no value function")
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
