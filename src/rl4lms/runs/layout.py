"""How a run folder is recognised. Imports nothing heavy, so that verbs can ask before they load torch."""

from __future__ import annotations

from pathlib import Path

CONFIG_FILE = "config.resolved.yaml"
RESULT_FILE = "result.json"  # written last: a run that has it is finished


def is_run(folder: Path) -> bool:
    """Return whether a run began in a folder."""
    return (folder / CONFIG_FILE).is_file()
