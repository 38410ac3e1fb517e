"""Everything that is said of a study, computed once, for every form of its report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rl4lms.errors import DataError
from rl4lms.human_eval.automatic import MetricAgreement, MetricContrast, metrics_of, of_comparisons, of_values
from rl4lms.human_eval.forms import Kind
from rl4lms.human_eval.mixed import MixedModel, fit_mixed
from rl4lms.human_eval.needed import (
    DIFFERENCES,
    WIN_RATES,
    Needed,
    Noise,
    needed,
    noise_of_comparisons,
    noise_of_values,
)
from rl4lms.human_eval.pairs import Preferred, score_pairs
from rl4lms.human_eval.raters import (
    RaterAccuracy,
    RaterQuality,
    RaterScale,
    accuracies_of,
    quality_of,
    scales_of,
)
from rl4lms.human_eval.scores import QuestionScores, mean_estimate, score_question
from rl4lms.human_eval.table import (
    Answered,
    Excluded,
    Value,
    comparisons_of,
    kept,
    questions_of,
    values_of,
    with_identical,
)
from rl4lms.stats.agreement import SCALES, Scale, krippendorff_alpha
from rl4lms.stats.base import Estimate

CHOICE = "choice"
BEST_WORST = "best - worst"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Krippendorff's α of a question, by scale; none where `absent` says why."""

    question: str
    alpha: Mapping[Scale, Estimate]
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a study is.

    Attributes:
        ratings: answers of items that count.
        planned: those, those that were left out, and those that are missing.
        items, prompts, systems, raters: that were rated.
        states: how many raters are in each state.
        other: answers of practice, checks and repeats.
    """

    ratings: int
    planned: int
    items: int
    prompts: int
    systems: Sequence[str]
    raters: int
    states: Mapping[str, int]
    other: Mapping[str, int]

    @property
    def finished(self) -> bool:
        """Whether no rating is missing."""
        return self.ratings >= self.planned


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is said of a study.

    Attributes:
        name, task, form, kind: of the study.
        wording: by question what was asked, with its scale.
        confidence: mass of all intervals.
        progress: how far it is.
        excluded: raters who do not count.
        questions: scores of a Likert form; of a best-worst form, those of +1 for the best and -1 for the worst.
        mixed: by question the mixed model, or why there is none.
        unstable: by question raters without whom the order of systems would be another.
        pairs: of forms that compare texts.
        agreement: of every question.
        raters, scales, accuracies: how well raters work.
        noise, needed: what makes ratings differ, and how large a study must be.
        metrics, contrasts: agreement of automatic metrics with people.
        everyone: by question and system the mean with all raters, where some were left out.
        everyone_pairs: the same for forms that compare texts.
        blinded: whether raters were not told whose texts they saw; False where the answers come from another tool.
        identical: (first, second, prompts) for which both systems wrote the same.
        notes: what else people should know.
    """

    name: str
    task: str | None
    form: str
    kind: Kind
    wording: Mapping[str, str]
    confidence: float
    progress: Progress
    excluded: Excluded
    questions: Sequence[QuestionScores] = ()
    mixed: Mapping[str, MixedModel | str] = field(default_factory=dict)
    unstable: Mapping[str, Sequence[tuple[int, tuple[str, ...]]]] = field(default_factory=dict)
    pairs: Preferred | None = None
    agreement: Sequence[Agreement] = ()
    raters: Sequence[RaterQuality] = ()
    scales: Mapping[str, Sequence[RaterScale]] = field(default_factory=dict)
    accuracies: Sequence[RaterAccuracy] = ()
    noise: Mapping[str, Noise | str] = field(default_factory=dict)
    needed: Mapping[str, Sequence[Needed]] = field(default_factory=dict)
    metrics: Sequence[MetricAgreement] = ()
    contrasts: Sequence[MetricContrast] = ()
    everyone: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    everyone_pairs: Preferred | None = None
    blinded: bool = False
    identical: Sequence[tuple[str, str, int]] = ()
    notes: Sequence[str] = ()


def analyse(
    answered: Answered, *, min_checks: float | None = None, confidence: float = 0.95, seed: int = 0
) -> Analysis:
    """Analyse a study, finished or not.

    Args:
        answered: its answers.
        min_checks: leave out raters who got a smaller share of the checks of attention right.
        confidence: mass of all intervals.
        seed: of resampling.

    Raises:
        DataError: there are no answers of items, or none is left.
        MissingExtraError: statsmodels is not installed.
    """
    counted, excluded = kept(answered, min_checks)
    if not counted.rated:
        raise DataError(f"{answered.name}: nobody has rated an item yet, so there is nothing to report")
    common = {
        "name": answered.name,
        "task": None if answered.settings is None else answered.settings.task,
        "form": answered.form.name,
        "kind": answered.form.kind,
        "wording": _wording(answered),
        "confidence": confidence,
        "progress": progress_of(counted, answered, excluded),
        "excluded": excluded,
        "raters": quality_of(answered.ratings),
        "blinded": answered.settings is not None,
        "identical": [] if answered.settings is None else [(a, b, len(p)) for a, b, p in answered.settings.identical],
    }
    everybody = answered if excluded.raters else None
    parts = _of_values if answered.form.kind == "likert" else _of_pairs
    found = Analysis(**common, **parts(counted, everybody, confidence, seed))  # type: ignore[arg-type]
    return replace(found, notes=[*found.notes, *_beside(counted)])


def progress_of(counted: Answered, answered: Answered, excluded: Excluded) -> Progress:
    """Return how far a study is; see `Progress`."""
    rated = counted.rated
    other: dict[str, int] = defaultdict(int)
    for rating in answered.ratings:
        if rating.purpose != "rate":
            other[rating.purpose] += 1
    return Progress(
        len(rated),
        len(rated) + answered.missing,
        len({rating.item for rating in rated}),
        len({rating.prompt_id for rating in rated}),
        sorted({system for rating in rated for system in rating.systems if system is not None}),
        len({rating.rater for rating in rated}),
        answered.raters,
        dict(other),
    )


def _wording(answered: Answered) -> dict[str, str]:
    form = answered.form
    if form.kind != "likert":
        return {CHOICE if form.kind == "pairwise" else BEST_WORST: form.question}
    return questions_of(form)


def _beside(counted: Answered) -> list[str]:
    """Say what was answered to questions that give no number for a text, so that nothing stands above of them."""
    found = []
    for question in counted.form.questions:
        given = (rating.answers.get(question.key) for rating in counted.rated)
        answers = [answer for answer in given if answer is not None and answer not in ("", [])]
        if not answers or question.key in questions_of(counted.form):
            continue
        if question.type == "scale":  # of several texts at once
            often = Counter(answers)
            shares = ", ".join(f"{value}: {often[value]}" for value in question.values if often[value])
            found.append(f"{question.key}, of texts together: mean {np.mean(answers):.2f} of {len(answers)} ({shares})")
        else:
            what = "free texts" if question.type == "text" else "answers with marked words"
            found.append(f"{question.key}: {len(answers)} {what}, which rl4lms human export has")
    return found


def _of_values(counted: Answered, everybody: Answered | None, confidence: float, seed: int) -> dict[str, object]:
    of_question = _by_question(values_of(counted))
    metrics = metrics_of(counted)
    questions, agreement, metric_rows, contrasts, notes = [], [], [], [], list(counted.notes)
    mixed: dict[str, MixedModel | str] = {}
    for key, text in questions_of(counted.form).items():
        values = of_question.get(key, [])
        if not values:
            continue
        questions.append(score_question(key, text, values, confidence=confidence, seed=seed))
        mixed[key] = fit_mixed(values, confidence=confidence)
        agreement.append(_agreement(key, [(v.item, v.rater, v.value) for v in values], confidence))
        rows, tests, absent = of_values(metrics, values, key, confidence=confidence, seed=seed)
        notes += [f"{key}: {one}" for one in absent]
        metric_rows += rows
        contrasts += tests
    noise = {key: noise_of_values(values) for key, values in of_question.items()}
    return {
        "questions": questions,
        "mixed": mixed,
        "unstable": {key: _unstable(values) for key, values in of_question.items()},
        "agreement": agreement,
        "scales": {key: scales_of(values) for key, values in of_question.items()},
        "noise": noise,
        "needed": {key: needed(one, DIFFERENCES) for key, one in noise.items() if isinstance(one, Noise)},
        "metrics": metric_rows,
        "contrasts": contrasts,
        "notes": notes,
        "everyone": {} if everybody is None else _means(_by_question(values_of(everybody)), confidence),
    }


def _of_pairs(counted: Answered, everybody: Answered | None, confidence: float, seed: int) -> dict[str, object]:
    comparisons, identical = comparisons_of(counted), with_identical(counted)
    key = CHOICE if counted.form.kind == "pairwise" else BEST_WORST
    metrics, contrasts, absent = of_comparisons(metrics_of(counted), comparisons, confidence=confidence, seed=seed)
    noise = noise_of_comparisons(comparisons)
    questions = []
    if counted.form.kind == "best_worst":
        questions.append(
            score_question(key, counted.form.question, best_worst_values(counted), confidence=confidence, seed=seed)
        )
    cells = [((c.item, c.first, c.second), c.rater, c.outcome) for c in comparisons]
    return {
        "questions": questions,
        "pairs": score_pairs(comparisons, identical, confidence=confidence),
        "agreement": [_agreement(key, cells, confidence)],
        "accuracies": accuracies_of(comparisons),
        "noise": {key: noise},
        "needed": {key: needed(noise, [rate - 0.5 for rate in WIN_RATES])} if isinstance(noise, Noise) else {},
        "metrics": metrics,
        "contrasts": contrasts,
        "notes": [*counted.notes, *absent],
        "everyone_pairs": None
        if everybody is None
        else score_pairs(comparisons_of(everybody), identical, confidence=confidence),
    }


def best_worst_values(answered: Answered) -> list[Value]:
    """Return +1 for the best text of an answer, -1 for the worst and 0 for the others: their mean is a system's share
    of bests less that of worsts (Louviere, Flynn and Marley, 2015, "Best-Worst Scaling").
    """
    found = []
    for rating in answered.rated:
        for place, system in enumerate(rating.systems):
            if system is not None:
                value = float(rating.answers.get("best") == place) - float(rating.answers.get("worst") == place)
                found.append(Value(rating.rater, rating.item, rating.prompt_id, system, BEST_WORST, value))
    return found


def _by_question(values: Sequence[Value]) -> dict[str, list[Value]]:
    found: dict[str, list[Value]] = defaultdict(list)
    for value in values:
        found[value.question].append(value)
    return found


def _means(of_question: Mapping[str, Sequence[Value]], confidence: float) -> dict[str, dict[str, Estimate]]:
    return {
        key: {
            system: mean_estimate([v for v in values if v.system == system], confidence=confidence)
            for system in sorted({value.system for value in values})
        }
        for key, values in of_question.items()
    }


def _agreement(key: str, cells: Sequence[tuple[Hashable, int, float]], confidence: float) -> Agreement:
    items = {item: place for place, item in enumerate(dict.fromkeys(item for item, _, _ in cells))}
    raters = {rater: place for place, rater in enumerate(dict.fromkeys(rater for _, rater, _ in cells))}
    table = np.full((len(items), len(raters)), np.nan)
    for item, rater, value in cells:
        table[items[item], raters[rater]] = value
    try:
        alpha: dict[Scale, Estimate] = {
            scale: krippendorff_alpha(table, scale, confidence=confidence) for scale in SCALES if scale != "ratio"
        }
    except DataError as error:
        return Agreement(key, {}, str(error))
    return Agreement(key, alpha)


def _unstable(values: Sequence[Value]) -> list[tuple[int, tuple[str, ...]]]:
    """Return raters without whom the systems' means would stand in another order."""

    def order(of: Sequence[Value]) -> tuple[str, ...]:
        of_text: dict[tuple[str, str], list[float]] = defaultdict(list)
        for value in of:
            of_text[value.system, value.prompt].append(value.value)
        means: dict[str, list[float]] = defaultdict(list)
        for (system, _), own in of_text.items():
            means[system].append(float(np.mean(own)))
        return tuple(sorted(means, key=lambda system: (-float(np.mean(means[system])), system)))

    whole, raters = order(values), sorted({value.rater for value in values})
    if len(raters) < 2 or len(whole) < 2:
        return []
    without = {rater: order([value for value in values if value.rater != rater]) for rater in raters}
    return [(rater, names) for rater, names in without.items() if len(names) == len(whole) and names != whole]


def noise_of(answered: Answered) -> dict[str, Noise | str]:
    """Measure the noise of every question, or say why it cannot be measured."""
    if answered.form.kind != "likert":
        return {CHOICE: noise_of_comparisons(comparisons_of(answered))}
    return {key: noise_of_values(values) for key, values in _by_question(values_of(answered)).items()}
