"""From a conversion to a recipe: as an object to run, and as a short YAML file to keep."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import rl4lms
from rl4lms.config.recipe import Recipe
from rl4lms.config.resolve import recipe_from_dict, run_name, yaml_value
from rl4lms.errors import ConfigError
from rl4lms.integrations.legacy import algorithms
from rl4lms.integrations.legacy.convert import Conversion
from rl4lms.integrations.legacy.metrics import OURS
from rl4lms.integrations.legacy.old_file import Note

Tree = dict[str, Any]

# Blocks whose components are not looked at, since the modules of most import torch.
_UNREAD = ("algorithm", "reward", "evaluation")
_WIDTH = 118
# In the order of a recipe; the first that a key of the old file begins with says where a comment on it goes.
_BLOCKS = {
    "alg.policy.args.generation_kwargs": "rollout",
    "alg.policy": "algorithm",
    "alg.args.seed": "seed",
    "alg.args": "algorithm",
    "alg.kl_div": "kl",
    "alg.training_args": "supervised",
    "alg.generation_kwargs": "evaluation",
    "env": "prompt",
    "tokenizer": "prompt",
    "datapool": "task",
    "reward_fn": "reward",
    "train_evaluation": "evaluation",
}
_ORDER = ("name", "seed", "device", "task", "model", "prompt", "supervised", "algorithm", "reward", "rollout", "kl")


def recipe_of(found: Conversion, overrides: Iterable[str] = (), settings: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe that an old file amounts to.

    Args:
        found: the conversion.
        overrides: as for `read_recipe`.
        settings: blocks that replace those of the file: another model brings its own tokenizer, data take the place of
            the task.

    Raises:
        ConfigError: an override or a setting is wrong, or an option of a component.
    """
    tree, given = copy.deepcopy(found.settings), dict(settings or {})
    if "model" in given:
        given["model"] = {"path": given["model"], "tokenizer": None}
    if "data" in given and "task" not in given:
        del tree["task"]
    return recipe_from_dict(tree, f"{found.path} (converted)", overrides, settings=given)


def recipe_text(found: Conversion, target: Path) -> str:
    """Return the recipe as YAML: what differs from the defaults, each decision as a comment.

    Args:
        found: the conversion.
        target: the file that it is for; a recipe is called after its file.

    Raises:
        ConfigError: a value is outside of what a recipe allows.
    """
    tree = {key: value for key, value in found.settings.items() if key != "name"}
    tree = shortened(tree, f"{found.path} (converted)")
    if found.settings["name"] != run_name(target):
        tree["name"] = found.settings["name"]
    comments = list(_comments(found))
    order = [*_ORDER, *(key for key in tree if key not in _ORDER)]
    head = f"From {Path(found.path).name} of RL4LMs 0.2.2, by rl4lms {rl4lms.__version__}. "
    lines = _comment(f"{head}What is not here is a default of the task or the library.")
    if found.rollouts:
        lines += _comment(f"Rollouts of {found.rollouts}.")
    lines += [line for block, text in comments if block not in tree for line in _comment(text)]
    for key in order:
        if key in tree:
            lines += [line for block, text in comments if block == key for line in _comment(text)]
            lines += _block(key, _short(key, tree[key]))
    return "\n".join(lines) + "\n"


def shortened(tree: Tree, source: str) -> Tree:
    """Return the settings without those that change nothing, since the task's or the library's default is the same.

    Args:
        tree: the settings.
        source: what messages call them.

    Raises:
        ConfigError: a value is outside of what a recipe allows.
    """
    tree = copy.deepcopy(tree)
    whole = _resolved(tree, source)

    def same() -> bool:
        try:
            return _resolved(tree, source) == whole
        except ConfigError:
            return False  # what is missing is required

    def drop(node: Tree) -> None:
        for key in list(node):
            value = node.pop(key)
            if key not in ("task", "name") and same():
                continue
            node[key] = value
            if isinstance(value, dict) and key != "task":
                drop(value)

    drop(tree)
    return tree


def _resolved(tree: Tree, source: str) -> dict[str, Any]:
    found = recipe_from_dict(copy.deepcopy(tree), source, unread=_UNREAD).model_dump(mode="json")
    if found["algorithm"] is not None:
        found["algorithm"] = algorithms.ours(found["algorithm"]["name"]) | found["algorithm"]
    if found["reward"] is not None:
        found["reward"] = OURS.get(found["reward"]["name"], {}) | found["reward"]
    return found


def _comments(found: Conversion) -> Iterator[tuple[str, str]]:
    """Return what is said, each with the block that it is about."""
    notes = found.notes
    for note in notes.faults:
        yield _block_of(note), f"Fault in line {_line(note)}: {note.key} {note.text}. Repaired: {note.repair}."
    for note in notes.to_do:
        yield _block_of(note), f"To do: {note.text}."
    for note in notes.decided:
        yield _block_of(note), note.text


def _line(note: Note) -> str:
    return note.place.rpartition(":")[2]


def _block_of(note: Note) -> str:
    return next((block for start, block in _BLOCKS.items() if note.key.startswith(start)), "")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="#   ")


def _short(key: str, value: Any) -> Any:
    """Return a block as people write it: a component without options is its name."""
    if key == "model" and value.keys() == {"path"}:
        return value["path"]
    return _named(value)


def _named(value: Any) -> Any:
    if isinstance(value, list):
        return [_named(item) for item in value]
    if not isinstance(value, dict):
        return value
    ours = OURS.get(str(value.get("name")), {})
    value = {key: item for key, item in value.items() if key not in ours or item != ours[key]}
    if value.keys() in ({"name"}, {"reward"}):
        return _named(next(iter(value.values())))
    return {key: _named(item) for key, item in value.items()}


def _block(key: str, value: Any) -> list[str]:
    """Return a block on one line where it fits, else a line for each of its keys."""
    line = f"{key}: {yaml_value(value)}"
    if len(line) <= _WIDTH or not isinstance(value, dict):
        return [line]
    return [f"{key}:", *(f"  {name}: {yaml_value(item)}" for name, item in value.items())]
