"""The recipe of a run, read from its folder. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rl4lms.config import read_recipe
from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError, UnknownComponentError
from rl4lms.runs.layout import CONFIG_FILE


def read_run(
    folder: Path,
    overrides: Collection[str] = (),
    unread: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return the recipe of a run, which stays in its folder.

    Args:
        folder: of the run, wherever it is now.
        overrides, settings: replace settings of the run; see `read_recipe`.
        unread: blocks whose components need not be known.

    Raises:
        ConfigError: it cannot be understood.
    """
    if "output_dir" in (settings or {}) or any(text.split("=")[0].strip() == "output_dir" for text in overrides):
        raise ConfigError(f"output_dir: the run is in {folder} and stays there; leave it out, or move the folder")
    try:
        recipe = read_recipe(folder / CONFIG_FILE, overrides, unread, settings)
    except UnknownComponentError as error:
        if "did you mean" in str(error):
            raise
        hint = "one that a script registers is known once that script is imported: --import FILE"
        raise ConfigError(f"{error}; {hint}") from error
    return recipe.model_copy(update={"output_dir": str(folder)})
