"""Human scores of a study as a small file, for a column of its own tier beside automatic metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rl4lms.errors import DataError
from rl4lms.human_eval.analysis import Analysis

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


def human_scores(analysis: Analysis, version: str | None = None) -> HumanScores:
    """Return the scores of a study for a leaderboard.

    Raises:
        DataError: there are none, as where the model of Bradley and Terry has no maximum.
    """
    columns = []
    alphas = {one.question: one.alpha for one in analysis.agreement}
    scale: Literal["ordinal", "nominal"] = "ordinal" if analysis.kind == "likert" else "nominal"
    if analysis.kind == "likert":
        for one in analysis.questions:
            alpha = alphas.get(one.key, {})
            columns.append(
                HumanColumn(
                    question=one.key,
                    text=one.text,
                    scale="rating",
                    confidence=analysis.confidence,
                    alpha=alpha[scale].value if scale in alpha else None,
                    systems={s.system: _score(s.mean.value, s.mean.low, s.mean.high, s.ratings) for s in one.systems},
                )
            )
    elif analysis.pairs is not None and analysis.pairs.strengths:
        ((key, text),) = analysis.wording.items()
        alpha = alphas.get(key, {})
        systems = {
            s.system: _score(s.estimate.value, s.estimate.low, s.estimate.high, s.estimate.n)
            for s in analysis.pairs.strengths
        }
        columns.append(
            HumanColumn(
                question=key,
                text=text,
                scale="log-odds",
                confidence=analysis.confidence,
                alpha=alpha[scale].value if scale in alpha else None,
                systems=systems,
            )
        )
    if not columns:
        why = analysis.pairs.absent if analysis.pairs is not None else "no question was answered"
        raise DataError(f"{analysis.name}: there are no scores for a leaderboard: {why}")
    return HumanScores(
        study=analysis.name,
        task=analysis.task,
        version=version,
        form=analysis.form,
        kind=analysis.kind,
        finished=analysis.progress.finished,
        raters=analysis.progress.raters,
        ratings=analysis.progress.ratings,
        excluded=len(analysis.excluded.raters),
        columns=columns,
    )


def _score(mean: float, low: float, high: float, n: int) -> HumanScore:
    known = abs(low) != float("inf") and abs(high) != float("inf")
    return HumanScore(mean=mean, low=float(low) if known else None, high=float(high) if known else None, n=n)


def as_text(scores: HumanScores) -> str:
    """Return what the file holds."""
    return json.dumps(scores.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n"


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
