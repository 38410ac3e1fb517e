"""The folder of a study: its database and the links of its raters."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rl4lms.errors import ConfigError
from rl4lms.human_eval.creation import Created, create_study
from rl4lms.human_eval.forms import Form
from rl4lms.human_eval.plan import Plan
from rl4lms.human_eval.records import Settings

DATABASE = "study.sqlite"
INVITES = "invites.csv"
#: Of a study whose database is elsewhere: its URL.
_ELSEWHERE = "database.txt"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the folder, the file of links, and what is told once."""

    folder: Path
    invites: Path
    created: Created


def write_study(
    folder: Path, form: Form, settings: Settings, plan: Plan, *, address: str, database: str | None = None
) -> Written:
    """Write a study into a new folder, or nothing.

    Args:
        folder: which is made.
        form, settings, plan: of the study.
        address: under which raters will reach it, such as `https://study.example.org`.
        database: the URL of the database, where it is not to be a file of the folder.

    Raises:
        ConfigError: the folder has a study, or the database cannot be written.
    """
    refuse_study(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if database is None:
        half = folder / f".{DATABASE}.new"
        half.unlink(missing_ok=True)
        try:
            created = create_study(half, form, settings, plan)
            half.chmod(0o600)
            half.rename(folder / DATABASE)
        finally:
            for rest in folder.glob(f".{DATABASE}.new*"):
                rest.unlink()
    else:
        created = create_study(database, form, settings, plan)
        _write_secret(folder / _ELSEWHERE, f"{database}\n")
    kinds = ["rater"] * plan.raters + ["spare"] * plan.spares
    rows = [
        (number, kind, link(address, one))
        for number, (kind, one) in enumerate(zip(kinds, created.invites, strict=True), 1)
    ]
    rows.append((0, "prolific", f"{address.rstrip('/')}/p/{created.platform}?PROLIFIC_PID={{{{%PROLIFIC_PID%}}}}"))
    write_invites(folder / INVITES, rows)
    return Written(folder, folder / INVITES, created)


def refuse_study(folder: Path) -> None:
    """Raise a ConfigError where a folder has a study already."""
    if any((folder / name).exists() for name in (DATABASE, _ELSEWHERE)):
        raise ConfigError(f"{folder}: there is a study already; name another folder with --output")


def link(address: str, invite: str) -> str:
    """Return the link of a rater."""
    return f"{address.rstrip('/')}/i/{invite}"


def write_invites(path: Path, rows: Sequence[tuple[int, str, str]]) -> None:
    """Add links to a file that only its owner can read: (number, kind, link)."""
    new = not path.exists()
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", newline="", encoding="utf-8"
    ) as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(("rater", "kind", "link"))
        writer.writerows(rows)


def _write_secret(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def database_of(study: str) -> str:
    """Return where the database of a study is.

    Args:
        study: its folder, its database file, or the URL of its database.

    Raises:
        ConfigError: there is none.
    """
    if "://" in study:
        return study
    path = Path(study)
    if path.is_dir():
        if (path / _ELSEWHERE).is_file():
            return (path / _ELSEWHERE).read_text(encoding="utf-8").strip()
        path = path / DATABASE
    if not path.is_file():
        raise ConfigError(f"{study}: there is no study; rl4lms human create --output {study} writes one")
    return str(path)
