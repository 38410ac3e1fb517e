"""What a resumed run must agree with: the settings that determine its numbers, the files they name, the starting
model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rl4lms.config.data import is_template
from rl4lms.config.recipe import Recipe
from rl4lms.plugins.files import is_path

# Settings that a resumed run may change: they move no number beyond rounding, or (`reward_faults`) let a run that
# stopped be continued.
_FREE = (
    "name",
    "output_dir",
    "device",
    "model.attention",
    "tracking",
    "checkpoint.every",
    "checkpoint.keep_last",
    "push_to_hub",
    "training.iterations",
    "training.on_health",
    "reward_faults",
    "evaluation.on_training_data",
    "checkpoint.best_on_test",
)

WEIGHTS = "model.weights"  # of the starting model
_FILE = "sha256 of "


def file_key(path: str) -> str:
    """Return the key of a fingerprint under which the content of a file stands."""
    return f"{_FILE}{path}"


def difference(key: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Return what is not the same in two fingerprints, in words; nobody compares digests by eye."""
    if key == WEIGHTS:
        return "the starting model has changed"
    if key.startswith(_FILE) and key in theirs and key in ours:
        return f"the file {key.removeprefix(_FILE)} has changed"
    if key.startswith(_FILE):
        return f"the file {key.removeprefix(_FILE)} is used {'now, and was not then' if key in ours else 'no more'}"
    return f"{key}: {theirs.get(key)!r} in the checkpoint, {ours.get(key)!r} now"


def fingerprint(recipe: Recipe) -> dict[str, Any]:
    """Return the flat settings that determine the numbers of a run, and digests of the files that they name."""

    def flat(value: Any, path: str) -> dict[str, Any]:
        if path in _FREE:
            return {}
        if isinstance(value, Mapping) and value:
            return {
                k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}" if path else key).items()
            }
        return {path: value}

    settings = flat(recipe.model_dump(mode="json"), "")
    if recipe.optimizer.lr_scheduler_type in ("linear", "cosine"):
        settings["training.iterations"] = recipe.training.iterations
    # Files that a path names may change while the path stays.
    files = [recipe.data.train, recipe.data.validation, recipe.data.test] if recipe.data is not None else []
    template = recipe.prompt.chat_template
    for path in [*files, *code_files(recipe), None if is_template(template) else template]:
        if path is not None and Path(path).is_file():
            settings[file_key(path)] = _digest([Path(path)])
        elif path is not None and Path(path).is_dir():  # a data set that was saved to disk
            settings[file_key(path)] = _digest(sorted(file for file in Path(path).rglob("*") if file.is_file()))
    return settings


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def code_files(recipe: Recipe) -> list[str]:
    """Return the Python files that components of the recipe come from: rewards and what is inside them, metrics,
    task, algorithm.
    """

    def names(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            if isinstance(value.get("name"), str):
                yield value["name"]
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from names(item)

    components = (recipe.reward, recipe.algorithm, recipe.task, *recipe.evaluation.metrics)
    found = names([component.model_dump(mode="json") for component in components if component is not None])
    return sorted({name.rpartition(":")[0] for name in found if is_path(name)})


def identity(model: nn.Module) -> str:
    """Return a digest of a model's weights: names, shapes, types, and evenly spaced numbers of each, so that it
    costs no pass over the disk.
    """
    digest = hashlib.sha256()
    for name, tensor in model.named_parameters():
        flat = tensor.detach().flatten()
        picked = flat[:: max(1, len(flat) // _PICKED)].contiguous().cpu().view(torch.uint8)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode() + picked.numpy().tobytes())
    return digest.hexdigest()[:16]


_PICKED = 1024
