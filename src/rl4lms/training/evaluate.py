"""Evaluates what a run left behind, a model before training, or any other model, with the metrics of a recipe."""

from __future__ import annotations

from pathlib import Path

from rl4lms.algorithms.build import build_algorithm, mask_of
from rl4lms.config.masks import MaskConfig
from rl4lms.config.model import ModelConfig
from rl4lms.config.recipe import Recipe
from rl4lms.errors import CheckpointError, ConfigError, UnknownNameError
from rl4lms.evaluation.build import metrics_of, reward_of
from rl4lms.evaluation.evaluator import EvalResult, build_evaluator
from rl4lms.evaluation.leaks import check_split
from rl4lms.models.build import Models, build_models
from rl4lms.models.generate import MaskRule
from rl4lms.models.loading import resolve_device
from rl4lms.models.saving import read_adapter
from rl4lms.plugins.files import refuse_while_executing
from rl4lms.rollout.masking import Masking
from rl4lms.runs.checkpoint import Checkpoints, load_policy
from rl4lms.runs.display import Display
from rl4lms.supervised.assets import with_assets
from rl4lms.tasks import task_of
from rl4lms.types import Split


def evaluate(
    recipe: Recipe,
    *,
    run_folder: Path | None = None,
    split: Split | None = None,
    masked: bool = False,
    start: bool = False,
    display: Display | None = None,
) -> EvalResult:
    """Decode a split and score it with the recipe's metrics and reward.

    Args:
        recipe: task or data, metrics, decoding; and the model, unless `run_folder` is given.
        run_folder: a finished run of this recipe: its trained model is evaluated, and the KL is to the model that its
            RL started from. A reward that cannot be had again is absent from the result, with the reason.
        split: the recipe's evaluation split where None.
        masked: decode inside the mask that a run ended with; with `start`, inside the one that it began with.
        start: evaluate the model that the run's training started from, its warm start where RL follows one, instead of
            the trained one.
        display: shows the building of assets, and the decoding.

    Raises:
        ConfigError: `masked` without a run that has a mask, settings that do not fit the model, or a split that the
            run was trained on without `evaluation.on_training_data`.
        CheckpointError: the run has no trained model, or no checkpoint with its mask.
        Rl4lmsError: whatever else cannot be loaded or computed.
    """
    refuse_while_executing("rl4lms.evaluate")
    mask = _mask(recipe) if masked else None
    if masked and (run_folder is None or mask is None):
        raise ConfigError(
            "--masked decodes inside the mask that a run ended with: name the folder of a run that has one (nlpo, or a "
            "block `mask`)"
        )
    if masked and recipe.decoding.num_beams > 1:
        raise ConfigError(
            f"--masked: beam search knows no mask, and evaluation.generation.num_beams is {recipe.decoding.num_beams}; "
            "add evaluation.generation.num_beams=1"
        )
    task = task_of(recipe)
    recipe = with_assets(recipe, task, None if display is None else display.report)
    # For updates alone, and those on a GPU
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"attention": "auto"})})
    metrics, absent = metrics_of(recipe, task)
    try:
        reward = reward_of(recipe, task)
    except (ConfigError, UnknownNameError) as error:
        if run_folder is None:
            raise
        # the run's model is there all the same, and so are its metrics
        reward, absent = None, {"reward": _left_out(recipe, error), **absent}
    rule: MaskRule | None = None
    if start and run_folder is not None:
        # without RL the warm start is the training, and what it started from is the recipe's own model
        models = _models(recipe if recipe.algorithm is None else start_of(recipe, run_folder), None)
        if mask is not None:  # every source begins as the policy
            own = MaskConfig(**mask.model_dump() | {"source": "policy", "refresh_every": 10})
            rule = Masking(lambda: own, models).rule
    elif mask is not None:
        assert run_folder is not None
        models, rule = _with_mask(recipe, run_folder)
    else:
        models = _models(recipe, run_folder)
    if run_folder is not None:  # otherwise nothing was trained on these rows
        check_split(recipe, task, split or recipe.evaluation.split)
    evaluator = build_evaluator(recipe, task, models, reward, (metrics, absent), split)
    if run_folder is None:  # a run was checked with the prompts that it was trained on
        evaluator.engine.encoder.check(evaluator.samples)
    if display is None:
        return evaluator(rule)
    return evaluator(rule, lambda done, total: display.report("decoding", done, total))


def has_mask(recipe: Recipe) -> bool:
    """Return whether runs of a recipe end with a mask."""
    return _mask(recipe) is not None


def _mask(recipe: Recipe) -> MaskConfig | None:
    """Return the mask that runs of a recipe begin with, or None."""
    return mask_of(None if recipe.algorithm is None else build_algorithm(recipe.algorithm), recipe.mask)


def _left_out(recipe: Recipe, error: ConfigError | UnknownNameError) -> str:
    """Say why the reward of a run is left out, and how to have it."""
    name = recipe.reward.name if recipe.reward is not None else ""
    if name.startswith("__main__:") or "<" in name:
        return (
            f"{name} was an object of the script that trained this run, and is gone with it; a reward that is "
            "registered by @rl4lms.reward, or named path/to/file.py:name, can be had again"
        )
    if isinstance(error, UnknownNameError):
        return f"nothing here registers {error.name!r}; import the script that does, with --import FILE"
    return f"it cannot be had again: {error}"


def start_of(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with the model that RL started from: the warm start where the run has one."""
    warm = folder / "supervised"
    if not warm.is_dir():
        return recipe
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": str(warm), "tokenizer": None})})


def trained_model(recipe: Recipe, folder: Path) -> ModelConfig:
    """Return how the model that a run trained is loaded, adapters merged.

    Raises:
        CheckpointError: it is not there yet.
    """
    trained = folder / "model"
    if not (trained / "config.json").is_file():
        raise CheckpointError(f"{folder}: the run has no model yet; finish it with: rl4lms train {folder} --resume")
    return recipe.model.model_copy(update={"path": str(trained), "tokenizer": None, "revision": None, "lora": None})


def _models(recipe: Recipe, folder: Path | None) -> Models:
    device = resolve_device(recipe.device)
    if folder is None:
        return build_models(recipe.model, device, value=False)
    plain = trained_model(recipe, folder)
    if recipe.model.lora is not None:  # as in the run: the same numbers, and the reference costs no memory
        models = build_models(start_of(recipe, folder).model, device, value=False)
        read_adapter(models.policy, folder / "adapter")
        return models
    models = build_models(plain, device, value=False)
    start = build_models(start_of(recipe, folder).model, device, value=False)
    models.ref_policy = start.ref_policy
    return models


def _with_mask(recipe: Recipe, folder: Path) -> tuple[Models, MaskRule]:
    """Policies and mask of the last checkpoint: the mask policy is not part of the saved model, nor is what the
    algorithm remembers of its mask.
    """
    assert recipe.algorithm is not None
    checkpoints = Checkpoints(folder / "checkpoints", 1, {})
    step, complaints = checkpoints.latest()
    if step is None:
        raise CheckpointError(
            f"{folder}: no usable checkpoint, which the mask is read from{''.join(f'; {line}' for line in complaints)}"
        )
    algorithm = build_algorithm(recipe.algorithm)
    checkpoints.load_algorithm(step, algorithm)
    mask = mask_of(algorithm, recipe.mask)
    assert mask is not None
    lagged, model = mask.source == "lagged", start_of(recipe, folder).model
    models = build_models(model, resolve_device(recipe.device), value=algorithm.needs_value, mask=lagged)
    load_policy(checkpoints.path(step) / "policy.safetensors", models.policy)
    if models.mask_policy is not None:
        load_policy(checkpoints.path(step) / "mask_policy.safetensors", models.mask_policy)
    return models, Masking(lambda: mask, models).rule
