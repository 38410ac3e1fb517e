"""Packages that only some uses need: how they are imported, and what is said where they are not there, or broken."""

from __future__ import annotations

import importlib
from typing import Any

from rl4lms.errors import BrokenPackageError, MissingExtraError, Rl4lmsError

#: Which extra of `pyproject.toml` brings a package.
EXTRAS = {
    "peft": "peft",
    "tensorboard": "track",
    "wandb": "track",
    "trackio": "track",
    "sqlalchemy": "grue",
    "alembic": "grue",
    "psycopg": "postgresql",
    "ray": "ray",
    "fastapi": "human",
    "uvicorn": "human",
    "statsmodels": "human",
    "stable_baselines3": "sb3",
    "sb3_contrib": "sb3",
}


def of_extra(package: str) -> Any:
    """Import a package that one of the extras brings.

    Raises:
        MissingExtraError: it is not installed.
        BrokenPackageError: it is, and cannot be imported.
    """
    return import_optional(package, MissingExtraError(package, EXTRAS[package]))


def import_optional(module: str, absent: Rl4lmsError) -> Any:
    """Import a module of a package that is no dependency.

    Args:
        module: with the package before its first dot.
        absent: raised where there is no such package.

    Raises:
        BrokenPackageError: the package is there, and cannot be imported: something that it needs is missing or of
            another version.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
        return importlib.import_module(module)
    except Exception as error:  # whatever its code raises
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise absent from error
        raise BrokenPackageError(package, f"{type(error).__name__}: {error}") from error
