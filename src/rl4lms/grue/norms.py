"""The two constants by which a metric of a task is made comparable with those of others: 0 is what the base model
scores before any training, 1 what the references of the task score.

They stand with a version of the task, in its attribute `norms`, and never come from a submission: who brings a weaker
base model gains nothing. `scripts/norms.py` measures them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl4lms.config import recipe_from_dict
from rl4lms.errors import DataError
from rl4lms.grue.rescore import Prediction, Scorer
from rl4lms.tasks import build as build_task
from rl4lms.types import Task

#: The value that counts as 0, and the one that counts as 1.
Norm = tuple[float, float]


def norms_of(task: Task, version: int) -> Mapping[str, Norm]:
    """Return the constants of a task's metrics, by key; none where the version has none in the task's edition."""
    known: Mapping[tuple[str, int], Mapping[str, Norm]] = getattr(task, "norms", {})
    return known.get((task.edition, version), {})


def normalised(values: ArrayLike, norm: Norm) -> NDArray[np.float64]:
    """Return (values - zero) / (ceiling - zero), for metrics of either direction."""
    zero, top = norm
    return (np.asarray(values, dtype=np.float64) - zero) / (top - zero)


def ceiling(task: str, edition: str, prompts: Collection[str]) -> dict[str, float]:
    """Score a reference of each prompt as if it were a completion.

    It is the first one that the warm start would learn (of imdb: of positive reviews alone), scored against all
    references of its prompt as a system is, itself among them: most metrics cannot be better. Against the others alone
    a prompt with one reference would have no score, and a system that writes what a reference says would be above 1.

    Args:
        task, edition: of which.
        prompts: ids of the test split, those that the base model was evaluated on.

    Returns:
        By metric; those that need a model's own log-probs are not there.
    """
    built = build_task({"name": task, "edition": edition})
    wanted = {(sample.prompt, text) for sample in built.supervised("test") for text in sample.references[:1]}
    rows = []
    for sample in built.samples("test"):
        good = [text for text in sample.references if (sample.prompt, text) in wanted]
        if good and sample.id in prompts:
            # references of real reviews begin with the space
            text = f"{sample.prompt}{'' if good[0][:1].isspace() else ' '}{good[0]}"
            rows.append(Prediction(sample.id, sample.prompt, good[0], text, sample.id))
    scorer = Scorer.of(recipe_from_dict({"task": {"name": task, "edition": edition}}, f"task {task}"), "test")
    return {key: result.mean for key, result in scorer(rows, wanted=()).results.items()}


def check_norm(key: str, norm: Norm, higher_is_better: bool | None) -> None:
    """Refuse constants that would turn a metric round, or divide by nothing.

    Raises:
        DataError: the ceiling is no better than the zero.
    """
    zero, top = norm
    if higher_is_better is None or not (top > zero if higher_is_better else top < zero):
        raise DataError(f"{key}: the references score {top:.4g}, no better than the base model ({zero:.4g})")
