"""Models and data that a recipe names: local paths must be there; a name of the Hub is not looked up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from rl4lms.config.recipe import Recipe
from rl4lms.data.rows import SUFFIXES
from rl4lms.errors import ConfigError, cut
from rl4lms.runs.layout import looks_like_path
from rl4lms.supervised.assets import PREFIX

_KEYS = ("model", "tokenizer", "corpus")  # options of rewards and metrics that name something to load
_SPLITS = ("train", "validation", "test")


def unchecked(recipe: Recipe) -> list[str]:
    """Return models and tokenizers that may be names of the Hub, and so were not checked, as `key: name`.

    Raises:
        ConfigError: a path that the recipe names is not there.
    """
    left = []
    for key, name in _named(recipe):
        if os.path.exists(name):  # of a name that no file can have, pathlib raises an error
            continue
        if max(map(len, name.encode(errors="replace").split(b"/"))) > 255:
            raise ConfigError(
                f"{key}: {cut(name)} is longer than names of files and models can be ({len(name)} characters)"
            )
        if looks_like_path(name) or name.lower().endswith(SUFFIXES):
            raise ConfigError(f"{key}: {name} is not there; correct the path, or name a model or data set of the Hub")
        if not key.startswith("data.") and not key.endswith(".corpus"):  # a dry run reads data, wherever they are
            left.append(f"{key}: {name}")
    return left


def _named(recipe: Recipe) -> Iterator[tuple[str, str]]:
    yield from ((f"model.{key}", name) for key in ("path", "tokenizer") if _loads(name := getattr(recipe.model, key)))
    if recipe.data is not None:
        yield from ((f"data.{key}", name) for key in _SPLITS if _loads(name := getattr(recipe.data, key)))
    if recipe.reward is not None:
        yield from _options(recipe.reward.model_dump(), "reward")
    for place, metric in enumerate(recipe.evaluation.metrics):
        yield from _options(metric.model_dump(), f"evaluation.metrics.{place}")


def _options(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Return what components, and those inside them, name; a judge behind a server is its own affair."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in _KEYS and _loads(item) and "url" not in value:
                yield f"{path}.{key}", item
            else:
                yield from _options(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _options(item, f"{path}.{place}")


def _loads(name: Any) -> bool:
    return isinstance(name, str) and not name.startswith(PREFIX) and name not in _SPLITS
