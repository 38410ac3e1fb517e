"""What a finished run leaves: the model, the best model, the result."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rl4lms
from rl4lms import distributed
from rl4lms.config.recipe import Recipe
from rl4lms.errors import CheckpointError
from rl4lms.evaluation.evaluator import EvalResult
from rl4lms.models.saving import save_adapter, save_model
from rl4lms.plugins.component import Component
from rl4lms.runs.checkpoint import load_policy, verify
from rl4lms.runs.environment import model_card
from rl4lms.runs.signals import StopSignals
from rl4lms.runs.storage import replacing, write_text
from rl4lms.training.loop import Loop
from rl4lms.types import MetricResult

UPLOAD = "the upload"


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: the run folder.
        model: the trained model, an HF folder.
        metrics: the last evaluation, by log key.
    """

    folder: Path
    model: Path
    metrics: dict[str, float]


def save_result(recipe: Recipe, loop: Loop, version: int, stop: StopSignals) -> RunResult:
    """Write `model/`, with LoRA the `adapter/` that is merged into it, `best/` where a best checkpoint was asked for,
    and, last, `result.json`; then upload the model where asked to.

    Args:
        recipe: as the user wrote it.
        loop: of the run.
        version: of the task.
        stop: lets a signal end the upload.

    Raises:
        CheckpointError: the best checkpoint is damaged.
        ModelError: a saved folder, loaded again, is not the model that was trained.
    """
    folder, evaluated = loop.log.folder, loop.evaluate.results
    numbers = {prefix + key: r for prefix, result in evaluated.items() for key, r in result.results.items()}
    distributed.only_main(lambda: _write(recipe, loop, evaluated, numbers, version, stop))
    return RunResult(folder, folder / "model", {key: r.mean for key, r in numbers.items()})


def _write(
    recipe: Recipe,
    loop: Loop,
    evaluated: Mapping[str, EvalResult],
    numbers: Mapping[str, MetricResult],
    version: int,
    stop: StopSignals,
) -> None:
    folder, models = loop.log.folder, loop.models
    card = model_card(recipe, numbers, loop.state.step)
    with replacing(folder / "model") as target:
        save_model(models.policy, models.tokenizer, target, card)
    if models.policy.adapter is not None:
        with replacing(folder / "adapter") as target:
            save_adapter(models.policy, models.tokenizer, target, loop.recipe.model.path)
    task = loop.recipe.task or Component(name="data")
    result = {
        "name": recipe.name,
        "seed": recipe.seed,
        "task": {"name": task.name, **task.options, "version": version},
        "algorithm": recipe.algorithm_name,
        "iterations": loop.state.step,
        "best": loop.state.best,
        "rl4lms": rl4lms.__version__,
        "python": platform.python_version(),
        "eval": {key: r.summary() for key, r in sorted(numbers.items())},
        "absent": {name: why for result in evaluated.values() for name, why in result.absent.items()},
    }
    if loop.state.best:
        best = loop.checkpoints.path(int(loop.state.best["step"]))
        problem = verify(best)
        if problem is not None:
            raise CheckpointError(
                f"{best}, the best checkpoint: {problem}; the model of the last iteration is in {folder / 'model'}"
            )
        load_policy(best / "policy.safetensors", models.policy)
        key, step = str(recipe.checkpoint.best), int(loop.state.best["step"])
        known = {key: MetricResult(key, loop.state.best["value"], None, len(loop.evaluate.evaluator.samples))}
        with replacing(folder / "best") as target:  # of its own evaluation only this number is kept
            save_model(models.policy, models.tokenizer, target, model_card(recipe, known, step))
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    if recipe.push_to_hub is not None:
        from huggingface_hub import HfApi

        with stop.during(UPLOAD, at_once=True):
            api = HfApi()
            api.create_repo(recipe.push_to_hub.repo_id, private=recipe.push_to_hub.private, exist_ok=True)
            api.upload_folder(repo_id=recipe.push_to_hub.repo_id, folder_path=folder / "model")
