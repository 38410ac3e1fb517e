"""Check that an output path is writable before the work that fills it.

What is written goes to a temporary name first: one that is just short enough may become too long by it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from rl4lms.errors import ConfigError
from rl4lms.runs.storage import temporary_of


def check_folder(output: Path) -> None:
    """Make what is above a folder, and try whether `storage.replacing` could make it.

    Raises:
        ConfigError: it could not, or there is something in it.
    """
    if output.name in ("", ".."):
        raise ConfigError(f"{output}: name the folder that should be made, not one that is there already")
    trial = temporary_of(output)
    try:
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise ConfigError(f"{output}: there is something already; name another output folder")
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(trial, ignore_errors=True)  # of an interrupted training
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        raise ConfigError(f"{output}: the folder cannot be made: {error.strerror}") from error


def check_file(output: Path, option: str) -> None:
    """Try whether `storage.write_text` could write a file; `option` is what messages name.

    Raises:
        ConfigError: it could not, this is a folder, or the folder it should be in is not there: a path with a mistake
            in it should not become a folder.
    """
    try:
        if output.is_dir():
            raise ConfigError(f"{option} {output}: this is a folder; name a file")
        if not output.parent.exists():
            raise ConfigError(f"{option} {output}: there is no folder {output.parent}; make it, or name another file")
        trial = temporary_of(output)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ConfigError(f"{option} {output}: the file cannot be written: {error.strerror}") from error
