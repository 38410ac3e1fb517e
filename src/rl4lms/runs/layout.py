"""How a run folder is recognised. Imports nothing heavy, so that verbs can ask before they load torch."""

from __future__ import annotations

import os
from pathlib import Path

from rl4lms.errors import ConfigError

CONFIG_FILE = "config.resolved.yaml"
RESULT_FILE = "result.json"  # written last: a run that has it is finished


def is_run(folder: Path) -> bool:
    """Return whether a run began in a folder."""
    return (folder / CONFIG_FILE).is_file()


def looks_like_path(name: str) -> bool:
    """Return whether a name can only be a path: a name of the Hub is `name` or `owner/name`."""
    return name.startswith(("/", "./", "../", "~")) or name.endswith(("/", os.sep)) or name.count("/") > 1


def refuse_absent_model(name: str) -> None:
    """Refuse the path of a run or a model that is not there, before it is taken for a name of the Hub and asked for.

    `runs/ppo` could be either: it is a path where runs are kept in `runs`, or that is what the folder is called.

    Raises:
        ConfigError: it is not there.
    """
    folder = Path(name)
    if folder.exists():
        return
    beside = folder.parent
    of_runs = "/" in name and beside.is_dir() and (beside.name == "runs" or any(map(is_run, beside.iterdir())))
    if of_runs or looks_like_path(name):
        raise ConfigError(f"{name}: there is no such folder; name that of a run (rl4lms ls runs), or a model")


def refuse_absent_run(path: Path) -> None:
    """Refuse what is neither the folder of a run nor a file.

    Raises:
        ConfigError: it is neither.
    """
    if not path.is_file() and not is_run(path):
        raise ConfigError(f"{path}: neither the folder of a run nor a file of rl4lms evaluate --output")
