"""A recipe to begin with, for `rl4lms init`: every block in a sentence, and the keys that people set, from the code."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from rl4lms.config.handed import REGISTRIES
from rl4lms.config.recipe import Recipe
from rl4lms.config.reference import Key, blocks, keys, sentence
from rl4lms.config.resolve import yaml_value
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import options_model, reward_options_model
from rl4lms.plugins.registry import Registry, metrics, rewards

#: The keys of each block that a recipe to begin with shows; docs/config.md has the others.
COMMON: dict[str, tuple[str, ...]] = {
    "": ("name", "seed", "device", "output_dir"),
    "model": ("path", "value", "dtype", "autocast", "gradient_checkpointing"),
    "model.lora": ("r", "alpha", "target_modules"),
    "data": ("train", "validation", "test", "holdout", "prompt_column", "references_column"),
    "prompt": ("max_tokens", "truncation_side", "prefix", "suffix", "system"),
    "supervised": ("epochs", "batch_size", "learning_rate", "max_target_tokens"),
    "reward_faults": ("exception", "timeout", "timeout_s"),
    "rollout": ("max_new_tokens", "min_new_tokens", "temperature", "top_k", "top_p", "stop", "completions_per_prompt"),
    "mask": ("source", "rule", "top_p", "refresh_every"),
    "kl": ("kl_coef", "kl_target"),
    "optimizer": ("learning_rate", "value_learning_rate", "max_grad_norm", "micro_batch_size"),
    "training": ("iterations", "prompts_per_iteration", "on_health"),
    "evaluation": ("every", "split", "prompts", "metrics"),
    "evaluation.generation": ("max_new_tokens", "temperature", "num_beams"),
    "checkpoint": ("every", "keep_last", "best"),
    "tracking": ("report_to", "project"),
    "push_to_hub": ("repo_id", "private"),
}
# What stands where a block that is not in use has a required key.
_EXAMPLES = {"push_to_hub.repo_id": "me/my-model", "data.train": "prompts.jsonl", "mask.source": "lagged"}
_WIDTH, _LONGEST = 100, 120

_HEAD = """\
# A recipe for rl4lms. Try it:  rl4lms doctor {file}    Train:  rl4lms train {file}
#
# What follows a `#` without a space is what holds when nothing is said: to change it, take away the `#` in front of
# the key, and in front of the block that it is in. Further keys: rl4lms show BLOCK, such as rl4lms show rollout; all
# of them are in docs/config.md. A file of Python brings rewards, metrics, tasks and algorithms: path/to/file.py:name.
"""


def starter(recipe: Recipe, given: Mapping[str, Any], file: str) -> str:
    """Return a commented recipe as YAML.

    Args:
        recipe: what `given` amounts to; its settings are what the comments say holds.
        given: the settings that stand in the file, by block; reading the file gives `recipe`.
        file: what the file is called, in the commands that it names.
    """
    holds = recipe.evaluation.model_copy(update={"generation": recipe.decoding})
    recipe = recipe.model_copy(update={"evaluation": holds})
    parts = [_HEAD.format(file=file), *_block("", Recipe, recipe, given)]
    return "\n".join(parts).rstrip() + "\n"


def _block(path: str, model: type[BaseModel], value: Any, given: Any) -> Iterator[str]:
    """Write the lines of a block: its common keys, the blocks inside it, and for the root its components."""
    inner = dict(blocks())
    about = {key.name: key for key in keys(model)}
    for name in dict.fromkeys([*COMMON[path], *about]):
        place, key = f"{path}.{name}".removeprefix("."), about[name]
        is_set = isinstance(given, Mapping) and name in given
        here = getattr(value, name, None)
        if place in inner:
            said = model.model_fields[name].description
            yield from _titled(place, f"{sentence(inner[place])}{f': {said}' if said else ''}", place)
            yield _line(place, "", is_set)
            yield from _block(place, inner[place], here, given[name] if is_set else None)
        elif name in REGISTRIES and not path:
            yield from _titled(place, key.about[:1].upper() + key.about[1:])
            yield from _component(name, here, given.get(name))
        elif name in COMMON[path]:
            unused = _EXAMPLES.get(place, model.model_fields[name].get_default(call_default_factory=True))
            shown = given[name] if is_set else unused if value is None else here
            yield _line(place, yaml_value(_short(shown, name)), is_set, key)


def _short(value: Any, name: str) -> Any:
    """Return a value as people write it: components without the options that are as they are by default."""
    if isinstance(value, list):
        return [_short(item, name) for item in value]
    if not isinstance(value, Component):
        return value
    defaults = {key: field.default for key, field in _options(value, REGISTRIES[name]).items()}
    changed = {key: item for key, item in value.options.items() if key not in defaults or defaults[key] != item}
    return {"name": value.name, **changed} if changed else value.name


def _component(name: str, here: Component | None, given: Any) -> Iterator[str]:
    """Write a component with its options."""
    if here is None:
        yield _line(name, "null", False)
        return
    yield _line(name, "", given is not None)
    yield _line(f"{name}.name", yaml_value(here.name), given is not None)
    known = _options(here, REGISTRIES[name])
    for option, value in here.options.items():
        yield _line(f"{name}.{option}", yaml_value(value), False, known.get(option))


def _options(component: Component, kind: Registry) -> dict[str, Any]:
    """Return the options of a component by name; none of one in a file, which runs when it is built."""
    if component.name in kind:
        model = options_model(kind, component.name)
    elif kind is rewards and component.name in metrics:
        model = reward_options_model(component.name)
    else:
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _titled(place: str, text: str, more: str = "") -> Iterator[str]:
    depth = place.count(".")
    if not depth:
        yield ""
    yield from _prose(f"{text}.{f' More: rl4lms~show~{more}' if more else ''}", depth)


def _prose(text: str, depth: int) -> Iterator[str]:
    """Write a comment; where it says ~, no line ends."""
    for line in textwrap.wrap(text, _WIDTH, initial_indent=f"{'  ' * depth}# ", subsequent_indent=f"{'  ' * depth}# "):
        yield line.replace("~", " ")


def _line(place: str, value: str, is_set: bool, about: Any = None) -> str:
    depth, name = place.count("."), place.rpartition(".")[2]
    text = f"{'' if is_set else '#'}{'  ' * depth}{name}:{f' {value}' if value else ''}"
    said = _FIRST.split(about.about if isinstance(about, Key) else getattr(about, "description", None) or "")[0]
    line = f"{text:<36}  # {said}" if said else text
    return line if len(line) <= _LONGEST else "\n".join([*_prose(f"{name}: {said}", depth), text])


_FIRST = re.compile(r"[;.](?:\s|$)")  # behind a key stands the first part of what is said about it
