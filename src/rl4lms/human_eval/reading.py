"""Finds the answers that a user means: those of a study in a folder, a database file or at a URL, or of a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rl4lms.errors import ConfigError
from rl4lms.human_eval.folder import database_of
from rl4lms.human_eval.imports import SUFFIXES, read_answers_file
from rl4lms.human_eval.store import Study
from rl4lms.human_eval.table import Answered


def read_study(given: str) -> Answered:
    """Read the answers of a study.

    Args:
        given: the folder of a study, its database file, or the URL of its database.

    Raises:
        ConfigError: there is no study.
    """
    study = Study(database_of(given))
    try:
        return answers_of(study)
    finally:
        study.close()


def answers_of(study: Study) -> Answered:
    """Return the answers of a study that is open."""
    missing, _ = study.open_ratings()
    states = Counter(one.state for one in study.progress())
    return Answered(study.settings.name, study.form, study.ratings(), study.settings, missing, dict(states))


def read_answered(given: str) -> Answered:
    """Read the answers of a study, or of a file that was exported from here or by another tool.

    Raises:
        ConfigError: there is no such study or file.
        DataError: the file is damaged.
    """
    if "://" not in given and Path(given).suffix.lower() in SUFFIXES:
        if not Path(given).is_file():
            raise ConfigError(f"{given}: there is no such file")
        return read_answers_file(given)
    return read_study(given)
