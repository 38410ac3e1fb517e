"""How far the raters of a study agree so far."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl4lms.errors import DataError
from rl4lms.human_eval.forms import Form
from rl4lms.human_eval.queries import Answered
from rl4lms.human_eval.store import Study
from rl4lms.stats.agreement import Scale, alpha

#: For how long agreement is not computed anew.
AGREEMENT_S = 60.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """Krippendorff's α of one question.

    Attributes:
        question: its key.
        scale: what differences of its answers mean.
        value: None where it cannot be told yet.
        items: that several raters have answered.
        note: why there is none.
    """

    question: str
    scale: Scale
    value: float | None
    items: int
    note: str = ""


def agreements(form: Form, answers: Sequence[Answered]) -> list[Agreement]:
    """Return the agreement about every question that has one: scales are ordinal, choices are names of systems' places
    in the item.

    Args:
        form: of the study.
        answers: about items that are rated.
    """
    scales: dict[str, Scale] = {question.key: "ordinal" for question in form.scales}
    choices: dict[str, Scale] = dict.fromkeys(
        {"pairwise": ["choice"], "best_worst": ["best", "worst"]}.get(form.kind, []), "nominal"
    )
    found = []
    for key, scale in {**choices, **scales}.items():
        by_item: dict[int, list[float]] = defaultdict(list)
        for answered in answers:
            value = answered.answers.get(key)
            if value is not None:
                by_item[answered.item].append(-1.0 if value == "tie" else float(value))
        several = [values for values in by_item.values() if len(values) > 1]
        table = np.full((len(several), max(map(len, several), default=0)), np.nan)
        for row, values in zip(table, several, strict=True):
            row[: len(values)] = values
        try:
            found.append(Agreement(key, scale, alpha(table, scale), len(several)))
        except DataError as error:
            found.append(Agreement(key, scale, None, len(several), str(error)))
    return found


class AgreementSoFar:
    """Agreement, computed again after a while at the earliest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._found: list[Agreement] = []

    def __call__(self, study: Study) -> list[Agreement]:
        """Return the agreement about every question."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = agreements(study.form, study.answers())
                self._until = time.monotonic() + AGREEMENT_S
            return self._found
