"""Decodes runs again, all of them alike, to compare them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rl4lms.config.recipe import Recipe
from rl4lms.config.resolve import flat
from rl4lms.errors import ConfigError, DataError
from rl4lms.runs.evaluations import Evaluation, Which, read_evaluation, write_evaluation
from rl4lms.runs.history import read_history
from rl4lms.runs.layout import is_run
from rl4lms.runs.outputs import check_folder
from rl4lms.runs.recipe import read_run
from rl4lms.studies.systems import Run
from rl4lms.training.evaluate import evaluate, has_mask
from rl4lms.types import Split

# What an evaluation reads of the block.
_SETTINGS = ("prompts", "prompt_seed", "metrics", "generation", "on_training_data")
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def measure(
    paths: Sequence[Path],
    split: str | None,
    overrides: Sequence[str],
    keep: str | Path | None,
    starts: bool,
    progress: Callable[[str, int, int], None] | None,
) -> list[Run]:
    """Evaluate the models of runs; see `rl4lms.studies.compare.compare`.

    Args:
        paths: run folders.
        split: which prompts; those of each recipe where None.
        overrides: settings `evaluation.…`.
        keep: where the evaluations are written, a folder that is not there yet; nowhere where None.
        starts: whether the models that training began with are evaluated, too.
        progress: called with `evaluating`, how many evaluations are done, and of how many.

    Raises:
        ConfigError: a setting is none of evaluation, the folder is there, or a path is no run.
        DataError: the runs would be evaluated in different ways.
    """
    for text in overrides:
        block, _, key = text.partition("=")[0].strip().partition(".")
        if block != "evaluation" or key.partition(".")[0] not in _SETTINGS:
            raise ConfigError(
                f"{text}: an evaluation of all runs reads evaluation.{', evaluation.'.join(_SETTINGS)}; the split is "
                "named with --split (in Python: split=), and what else there is belongs to each run"
            )
    if split is not None and split not in _SPLITS:
        raise ConfigError(f"split {split!r}: one of {', '.join(_SPLITS)}")
    for path in paths:
        if not is_run(path):
            raise ConfigError(f"{path}: not the folder of a run, so it cannot be decoded again")
    recipes = [read_run(path, overrides, unread={"reward", "algorithm"}) for path in paths]
    _refuse_different(paths, recipes, split)
    plan = [(i, *kind) for i, recipe in enumerate(recipes) for kind in _kinds(recipe, starts)]
    names = [path.resolve().name for path in paths]
    names = [name if names.count(name) == 1 else f"{name}-{i}" for i, name in enumerate(names)]
    with contextlib.ExitStack() as stack:
        if keep is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            place = Path(keep)
            check_folder(place)
            place.mkdir(parents=True, exist_ok=True)
        found: dict[tuple[int, bool, bool], Evaluation] = {}
        for done, (i, start, masked) in enumerate(plan):
            if progress is not None:
                progress("evaluating", done, len(plan))
            file = place / f"{names[i]}{'-start' * start}{'-masked' * masked}.json"
            found[i, start, masked] = _evaluated(paths[i], recipes[i], split, file, start, masked)
    if progress is not None:
        progress("evaluating", len(plan), len(plan))
    return [
        Run(
            path,
            found[i, False, False],
            found.get((i, True, False)),
            found.get((i, False, True)),
            found.get((i, True, True)),
            read_history(path),
        )
        for i, path in enumerate(paths)
    ]


def _refuse_different(paths: Sequence[Path], recipes: Sequence[Recipe], split: str | None) -> None:
    """Refuse, before anything is decoded, recipes that would decode or choose prompts in different ways."""
    ways = [
        flat(recipe.decoding.model_dump(exclude={"batch_size", "mask"}), "evaluation.generation") for recipe in recipes
    ]
    for way, recipe in zip(ways, recipes, strict=True):
        way |= {f"evaluation.{key}": getattr(recipe.evaluation, key) for key in ("prompts", "prompt_seed")}
        way["--split"] = split or recipe.evaluation.split
    for path, way in zip(paths, ways, strict=True):
        different = [f"{key}: {ways[0][key]!r} and {value!r}" for key, value in way.items() if value != ways[0][key]]
        if different:
            raise DataError(
                f"{paths[0]} and {path} would not be evaluated alike: {'; '.join(different)}. Add these settings for "
                "all, such as evaluation.prompts=200"
            )


def _kinds(recipe: Recipe, starts: bool) -> list[tuple[bool, bool]]:
    """Return what is evaluated of a run: (before training, inside its mask)."""
    masked = recipe.decoding.mask and has_mask(recipe)
    return [(start, inside) for start in (False, True)[: 1 + starts] for inside in (False, True)[: 1 + masked]]


def _evaluated(path: Path, recipe: Recipe, split: str | None, file: Path, start: bool, masked: bool) -> Evaluation:
    wanted: Split = split or recipe.evaluation.split  # type: ignore[assignment]  # checked by `measure`
    result = evaluate(recipe, run_folder=path, split=wanted, masked=masked, start=start)
    step = 0 if start or recipe.algorithm is None else recipe.training.iterations
    model: Which = "start" if start else "trained"
    write_evaluation(file, result, recipe, model=model, step=step, split=wanted, masked=masked)
    return read_evaluation(file)
