"""Evaluations on rows that a model was trained or chosen on: their numbers say nothing about other texts, so a recipe
must say that it wants them.
"""

from __future__ import annotations

from rl4lms.config.recipe import Recipe
from rl4lms.data.files import FileTask
from rl4lms.errors import ConfigError
from rl4lms.tasks import samples_of
from rl4lms.types import Split, Task


def check_split(recipe: Recipe, task: Task, split: Split) -> str:
    """Return how many rows of the evaluated split are trained on, in words; nothing where none are.

    Rows of data files are compared by what they say, so that a link, a copy, another order or another format of the
    same rows is noticed. `split: train` asks for them by name. Which samples a task of one's own has is its affair.

    Raises:
        ConfigError: more than half of them are, and the recipe does not say that it knows.
    """
    if not isinstance(task, FileTask) or split == "train":
        return ""
    shared, rows = task.shared(split, "train"), len(samples_of(task, split))
    where = f"{shared:,} of the {rows:,} {split} rows are rows of data.train ({task.config.train}), too"
    if 2 * shared > rows and not recipe.evaluation.on_training_data:
        raise ConfigError(
            f"evaluation: {where}, so an evaluation would measure what was learnt by heart; name other rows with "
            f"data.{split} (or leave it out: some are held out of train), or say evaluation.on_training_data: true"
        )
    return where if shared else ""


def check_best(recipe: Recipe, task: Task) -> None:
    """Refuse to choose the best checkpoint by the rows that it will be reported on.

    Raises:
        ConfigError: it is chosen on the test split, or on its rows, and the recipe does not say that it knows.
    """
    c, split = recipe.checkpoint, recipe.evaluation.split
    if c.best is None or c.best_on_test or split == "train":
        return
    where = "the test split" if split == "test" else ""
    if not where and isinstance(task, FileTask):
        shared, rows = task.shared(split, "test"), len(samples_of(task, split))
        where = f"the {split} split, {shared:,} of whose {rows:,} rows are rows of test" if 2 * shared > rows else ""
    if where:
        raise ConfigError(
            f"checkpoint.best: {c.best} would be chosen on {where}, and its test numbers would be too good; evaluate "
            "on other rows (evaluation.split: validation), or say checkpoint.best_on_test: true"
        )
