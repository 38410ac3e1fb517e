"""What people said of systems, beside what is computed: a tier of its own, since no command can compute it again.

`rl4lms human report --format leaderboard` writes the file of a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rl4lms.errors import ConfigError, DataError, plural
from rl4lms.grue.formats import Sheet

FILE = "human.json"
#: Larger files are none of ours.
MOST_BYTES = 4_000_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class HumanScore(_Strict):
    """What people said of a system.

    Attributes:
        mean: rating, or strength in log-odds.
        low, high: its interval; None where it is not known.
        n: ratings or comparisons.
    """

    mean: float
    low: float | None
    high: float | None
    n: int = Field(ge=1)


class HumanColumn(_Strict):
    """One question of a study.

    Attributes:
        question, text: its key and wording.
        scale: what the numbers are.
        confidence: mass of the intervals.
        alpha: Krippendorff's (ordinal for ratings, nominal for choices); None where it is not known.
        systems: by name.
    """

    question: str = Field(min_length=1, max_length=100)
    text: str
    scale: Literal["rating", "log-odds"]
    confidence: float = Field(gt=0, lt=1)
    alpha: float | None
    systems: dict[str, HumanScore] = Field(min_length=1)


class HumanScores(_Strict):
    """The scores of a study.

    Attributes:
        format: version of this file.
        tier: always `human`: no command can compute these scores again.
        study, task, form, kind: which study.
        version: of the task, where it is known.
        finished: whether no rating was missing.
        raters, ratings, excluded: how many there were, and how many raters were left out.
        columns: of each question.
    """

    format: Literal[1] = 1
    tier: Literal["human"] = "human"
    study: str
    task: str | None
    version: str | None = None
    form: str
    kind: Literal["likert", "pairwise", "best_worst"]
    finished: bool
    raters: int = Field(ge=1)
    ratings: int = Field(ge=1)
    excluded: int = Field(ge=0)
    columns: list[HumanColumn] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for column in self.columns:
            for system, score in column.systems.items():
                if score.low is not None and score.high is not None and not score.low <= score.mean <= score.high:
                    raise ValueError(f"column {column.question!r}, system {system!r}: the mean is not in its interval")
        return self


def read_human_scores(path: str | Path) -> HumanScores:
    """Read and check a file of human scores.

    Raises:
        DataError: it cannot be read, is too large, or something in it is wrong; says what.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: larger than {MOST_BYTES:,} bytes; no file of human scores is")
        return HumanScores.model_validate_json(file.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: {where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}; rl4lms human report "
            "--format leaderboard writes such a file"
        ) from error


def read_all(paths: Sequence[Path], tasks: Sequence[str]) -> list[HumanScores]:
    """Read the files of studies for a board.

    Args:
        paths: of the files.
        tasks: that the board has.

    Raises:
        ConfigError: a study is of another task, or of none.
        DataError: as `read_human_scores`.
    """
    found = [read_human_scores(path) for path in paths]
    for path, scores in zip(paths, found, strict=True):
        if scores.task not in tasks:
            of = "no task" if scores.task is None else f"the task {scores.task}"
            raise ConfigError(f"{path}: a study of {of}; the board has {', '.join(sorted(set(tasks)))}")
    return found


def people_sheet(scores: HumanScores) -> Sheet:
    """Return the table of a study: a row for each system, a column for each question."""
    systems = list(dict.fromkeys(system for column in scores.columns for system in column.systems))
    header = ["system", "tier", *(f"{column.question} ↑" for column in scores.columns)]
    rows = [[system, scores.tier, *(score_text(column, system) for column in scores.columns)] for system in systems]
    notes = [f"{column.question}: {_about(column)}" for column in scores.columns]
    if not scores.finished:
        notes.append("the study is not finished")
    return Sheet(people_title(scores), header, rows, notes=notes)


def people_rows(studies: Sequence[HumanScores]) -> list[list[object]]:
    """Return all scores, one to a row, with the columns of `formats.all_rows`."""
    found: list[list[object]] = []
    for scores in studies:
        for column in scores.columns:
            for system, score in column.systems.items():
                about: list[object] = [
                    scores.task,
                    scores.version or "",
                    "",
                    "own",
                    system,
                    scores.tier,
                    column.question,
                ]
                low, high = ("" if end is None else end for end in (score.low, score.high))
                found.append([*about, score.mean, "", low, high, "", "", "", "", score.n, ""])
    return found


def people_title(scores: HumanScores) -> str:
    """Return what a study is, in one line."""
    left_out = f", {scores.excluded} left out" if scores.excluded else ""
    what = {"likert": "rating", "pairwise": "choice", "best_worst": "choice"}[scores.kind]
    who = "1 person" if scores.raters == 1 else f"{scores.raters} people"
    return f"{scores.task}, judged by people ({scores.study}): {who}{left_out}, {plural(scores.ratings, what)}"


def score_text(column: HumanColumn, system: str) -> str:
    """Return a score with its interval; a dash where there is none."""
    score = column.systems.get(system)
    if score is None:
        return "—"
    known = score.low is not None and score.high is not None
    return f"{score.mean:z.2f}" + (f" [{score.low:z.2f}, {score.high:z.2f}]" if known else "")


def _about(column: HumanColumn) -> str:
    kind = "mean rating" if column.scale == "rating" else "strength by the model of Bradley and Terry, in log-odds"
    alpha = "" if column.alpha is None else f", Krippendorff's α {column.alpha:.2f}"
    return f"{column.text} {kind}, {column.confidence:.0%} interval{alpha}"
