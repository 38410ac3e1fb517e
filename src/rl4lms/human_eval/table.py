"""What raters said as tidy values: a number for a text, or which of two texts was better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from rl4lms.errors import DataError
from rl4lms.human_eval.answers import right
from rl4lms.human_eval.forms import Form
from rl4lms.human_eval.records import Rating, Settings


@dataclass(frozen=True, slots=True)
class Answered:
    """The answers of a study, or of a file that another tool wrote.

    Attributes:
        name: of the study, for people.
        form: that was asked with.
        ratings: every answer; those of raters who withdrew are not there.
        settings: of the study; None where the answers come from another tool.
        missing: ratings of items that nobody has given yet.
        raters: how many raters are in each state, such as `finished`.
        notes: what people should know of how the answers were read.
    """

    name: str
    form: Form
    ratings: Sequence[Rating]
    settings: Settings | None = None
    missing: int = 0
    raters: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def rated(self) -> list[Rating]:
        """The answers that count: neither practice, nor checks, nor repeats."""
        return [rating for rating in self.ratings if rating.purpose == "rate"]


@dataclass(frozen=True, slots=True)
class Value:
    """A number that a rater gave to a text, or the number of errors that they marked in it."""

    rater: int
    item: int
    prompt: str
    system: str
    question: str
    value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a rater said of two texts.

    Attributes:
        rater, item, prompt: who, and of what.
        first, second: the systems, in the order of their names.
        outcome: 1 where the first was preferred, 0 the second, 0.5 for a tie.
        first_left: whether the first stood before the second on the page.
        answer: number of the answer; several comparisons come from one where more than two texts are compared.
    """

    rater: int
    item: int
    prompt: str
    first: str
    second: str
    outcome: float
    first_left: bool
    answer: int


@dataclass(frozen=True, slots=True)
class Excluded:
    """Which raters were left out, and why.

    Attributes:
        min_checks: the least share of checks of attention that are right; None where nobody is left out for it.
        raters: who was left out, with how many of how many checks they got right.
        ratings: how many of their answers of items do not count.
    """

    min_checks: float | None
    raters: Mapping[int, tuple[int, int]]
    ratings: int


def questions_of(form: Form) -> dict[str, str]:
    """Return the questions that give a number for every text, with their wording; a span question counts errors."""
    if form.kind != "likert":
        return {}
    return {one.key: one.text for one in form.questions if one.type in ("scale", "spans")}


def values_of(answered: Answered) -> list[Value]:
    """Return the numbers that were given to texts of systems, question by question."""
    spans = {one.key for one in answered.form.questions if one.type == "spans"}
    found = []
    for rating in answered.rated if answered.form.kind == "likert" else ():
        system = rating.systems[0]
        if system is None:
            continue
        for key in questions_of(answered.form):
            value = rating.answers.get(key)
            number = float(len(value or ())) if key in spans else value
            if number is not None:
                found.append(Value(rating.rater, rating.item, rating.prompt_id, system, key, float(number)))
    return found


def comparisons_of(answered: Answered) -> list[Comparison]:
    """Return every comparison of two systems. The best of several texts beats all others, and the worst loses to all:
    2 n - 3 comparisons of n texts, since of the others nothing is known.
    """
    found: list[Comparison] = []
    for number, rating in enumerate(answered.rated if answered.form.kind != "likert" else ()):
        for one, other, outcome in _implied(rating):
            first, second = rating.systems[one], rating.systems[other]
            if first is None or second is None or first == second:
                continue
            left = rating.order.index(one) < rating.order.index(other)
            if first > second:
                first, second, outcome, left = second, first, 1 - outcome, not left
            found.append(Comparison(rating.rater, rating.item, rating.prompt_id, first, second, outcome, left, number))
    return found


def _implied(rating: Rating) -> list[tuple[int, int, float]]:
    """Return pairs of outputs of an answer, with 1 where the first is better."""
    answers = rating.answers
    if "choice" in answers:
        choice = answers["choice"]
        return [(0, 1, 0.5 if choice == "tie" else float(choice == 0))]
    best, worst = answers.get("best"), answers.get("worst")
    found = []
    for one, other in combinations(range(len(rating.systems)), 2):
        if one == best or other == worst:
            found.append((one, other, 1.0))
        elif other == best or one == worst:
            found.append((one, other, 0.0))
    return found


def with_identical(answered: Answered) -> list[Comparison]:
    """Return the ties of pairs that nobody was asked about because both systems wrote the same: as many for each as an
    item has raters, of a rater 0 who is nobody.
    """
    if answered.settings is None or not answered.form.tie or answered.form.kind != "pairwise":
        return []
    number = -1
    found = []
    for one, other, prompts in answered.settings.identical:
        first, second = sorted((one, other))
        for prompt in prompts:
            for _ in range(answered.settings.per_item):
                found.append(Comparison(0, number, prompt, first, second, 0.5, True, number))
                number -= 1
    return found


def checks_of(ratings: Sequence[Rating]) -> dict[int, tuple[int, int]]:
    """Return by rater how many checks of attention they got right, and of how many."""
    correct: Counter[int] = Counter()
    every: Counter[int] = Counter()
    for rating in ratings:
        if rating.purpose == "check":
            every[rating.rater] += 1
            correct[rating.rater] += right(rating.expected, rating.answers)
    return {rater: (correct[rater], every[rater]) for rater in sorted(every)}


def kept(answered: Answered, min_checks: float | None) -> tuple[Answered, Excluded]:
    """Leave out raters who got too few checks of attention right. Who had no check stays.

    Args:
        answered: everything.
        min_checks: the least share, from 0 to 1; None keeps everybody.

    Raises:
        DataError: the share is none, or nobody is left.
    """
    if min_checks is None:
        return answered, Excluded(None, {}, 0)
    if not 0 <= min_checks <= 1:
        raise DataError(f"min_checks is a share from 0 to 1, got {min_checks:g}")
    checks = checks_of(answered.ratings)
    out = {rater: counts for rater, counts in checks.items() if counts[0] < min_checks * counts[1]}
    left = [rating for rating in answered.ratings if rating.rater not in out]
    dropped = len(answered.rated) - sum(rating.purpose == "rate" for rating in left)
    if answered.rated and not any(rating.purpose == "rate" for rating in left):
        raise DataError(
            f"no rater got {min_checks:.0%} of the checks of attention right, so no answers are left; lower min_checks"
        )
    return replace(answered, ratings=left), Excluded(min_checks, out, dropped)
