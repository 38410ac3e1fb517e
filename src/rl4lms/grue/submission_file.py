"""What a submission says of itself: its file `submission.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rl4lms.errors import DataError
from rl4lms.grue.overlap import Overlap
from rl4lms.grue.result import Name
from rl4lms.plugins.problems import first_problem

SUBMISSION_FILE = "submission.json"
SCHEMA: Literal[1] = 1
#: Of a Python file: nowhere but in the folder of a submission's code.
CodePlace = Annotated[str, Field(pattern=r"^code/[A-Za-z0-9_-]+\.py$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Record):
    """Training data that a submission declares, by a name or as a file."""

    name: str
    overlap: dict[str, Overlap] = Field(
        default_factory=dict,
        description="by task: prompts of its test set that share words with the file, if it is one",
    )


class Submission(_Record):
    """What a submission says of itself."""

    schema_version: Literal[1] = SCHEMA
    name: Name
    note: str = ""
    created: str = Field(description="day, as 2026-01-31")
    tried: Annotated[int, Field(ge=1)] = Field(description="settings that were tried before these, and these")
    supersedes: list[Name] = Field(default_factory=list)
    training: list[Training] = Field(default_factory=list)
    outputs: dict[str, Overlap] = Field(
        default_factory=dict, description="by TASK/SYSTEM: completions that share words with their references alone"
    )
    code: dict[str, CodePlace] = Field(
        default_factory=dict, description="where the Python files are that recipes name, by how they name them"
    )
    files: dict[str, str] = Field(description="SHA-256 of every file, by its path")


def read_submission(folder: Path) -> Submission | None:
    """Read what a submission says of itself; None where a folder is no submission.

    Raises:
        DataError: the file is damaged, or not of this schema; the message names the key.
    """
    path = folder / SUBMISSION_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    return checked(content, path)


def checked(content: Any, path: Path) -> Submission:
    """Return what a submission says of itself, if it may say so.

    Args:
        content: of its file.
        path: names the file in errors.

    Raises:
        DataError: the content is not of this schema; the message names the key.
    """
    try:
        return Submission.model_validate(content)
    except ValidationError as error:
        problem = first_problem(Submission, content if isinstance(content, Mapping) else {}, error)
        keys, reason = problem or ((), str(error))
        raise DataError(f"{path}: {'.'.join(str(key) for key in keys)}: {reason}") from error
