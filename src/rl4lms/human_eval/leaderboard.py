"""Human scores of a study as a small file, for a column of its own tier beside automatic metrics."""

from __future__ import annotations

import json
from typing import Literal

from rl4lms.errors import DataError
from rl4lms.grue.people import HumanColumn, HumanScore, HumanScores
from rl4lms.human_eval.analysis import Analysis


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
