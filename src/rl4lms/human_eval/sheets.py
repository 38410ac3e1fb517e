"""An analysis as tables of texts and as sentences, for the terminal, LaTeX and the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

from rl4lms.errors import plural
from rl4lms.grue.formats import Sheet
from rl4lms.human_eval.analysis import Analysis
from rl4lms.human_eval.needed import Needed
from rl4lms.human_eval.pairs import Preferred
from rl4lms.human_eval.scores import QuestionScores
from rl4lms.stats.base import Estimate

NONE = "—"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, or a dash where there is none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:z.{digits}f}"


def interval(found: Estimate, digits: int = 2) -> str:
    """Return `3.12, 3.58`."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return NONE
    return f"{found.low:z.{digits}f}, {found.high:z.{digits}f}"


def p_text(p: float | None) -> str:
    """Return a p-value as papers write it."""
    return NONE if p is None else "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def percent(share: float | None) -> str:
    """Return `82 %`."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.0f} %"


def joined(notes: Sequence[str]) -> str:
    """Return notes as sentences."""
    return " ".join(f"{note[:1].upper()}{note[1:]}{'' if note[-1:] in '.?!' else '.'}" for note in notes if note)


def summary(analysis: Analysis) -> list[str]:
    """Return what a report says first: how far the study is, who counts, and what was found."""
    progress = analysis.progress
    said = [
        f"{plural(progress.ratings, 'rating')} of {plural(progress.items, 'item')} "
        f"({plural(progress.prompts, 'prompt')}, {plural(len(progress.systems), 'system')}) by "
        f"{plural(progress.raters, 'rater')}."
    ]
    if not progress.finished:
        share = progress.ratings / progress.planned
        said.append(
            f"The study is not finished: {progress.ratings:,} of {progress.planned:,} ratings are there "
            f"({share:.0%}), and everything below may change."
        )
    said += _who(analysis)
    said += [_best(one, analysis.confidence) for one in analysis.questions]
    if analysis.pairs is not None:
        said += _preferred(analysis.pairs)
    for first, second, prompts in analysis.identical:
        how = "counted as ties" if analysis.pairs is not None and analysis.pairs.identical else "not counted"
        said.append(f"{first} and {second} wrote the same for {plural(prompts, 'prompt')}, which nobody saw; {how}.")
    return [*said, *analysis.notes]


def _who(analysis: Analysis) -> list[str]:
    excluded = analysis.excluded
    if excluded.min_checks is None:
        failing = [q for q in analysis.raters if q.checks and q.checks_right < 0.7 * q.checks]
        if failing:
            names = ", ".join(f"{q.rater} ({q.checks_right} of {q.checks})" for q in failing)
            return [
                f"No rater is left out. Fewer than 70 % of their checks of attention got right: {names}; --min-checks "
                "0.7 leaves them out."
            ]
        return ["No rater is left out."]
    if not excluded.raters:
        return [f"No rater is left out: all got {excluded.min_checks:.0%} of their checks of attention right, or more."]
    names = ", ".join(f"{rater} ({right} of {checks})" for rater, (right, checks) in excluded.raters.items())
    return [
        f"Left out: {plural(len(excluded.raters), 'rater')} with fewer than {excluded.min_checks:.0%} of their checks "
        f"of attention right, and their {plural(excluded.ratings, 'rating')}: {names}. Results with all raters stand "
        "beside."
    ]


def _best(one: QuestionScores, confidence: float) -> str:
    first = one.systems[0]
    said = f"{one.key}: {first.system} is rated highest, {number(first.mean.value)}"
    clear = [d for d in one.differences if first.system in (d.first, d.second) and d.holm is not None]
    beaten = [
        d.second if d.first == first.system else d.first
        for d in clear
        if d.holm is not None and d.holm < 1 - confidence
    ]
    others = [system.system for system in one.systems[1:] if system.system not in beaten]
    if not one.systems[1:]:
        return f"{said}."
    if not beaten:
        return f"{said}; no difference to another system is clear (p adjusted for all pairs)."
    rest = f"; against {', '.join(others)} it is not clear" if others else ""
    return f"{said}, clearly above {', '.join(beaten)}{rest}."


def _preferred(pairs: Preferred) -> list[str]:
    said = []
    if pairs.strengths:
        said.append(f"Preferred most is {pairs.strengths[0].system}, by the model of Bradley and Terry.")
    else:
        said.append(f"There are no strengths by the model of Bradley and Terry: {pairs.absent}.")
    audit = pairs.audit
    if audit.left is not None and audit.left.p is not None:
        found = "a sign of bias" if audit.left.p < 0.05 else "no sign of bias"
        said.append(
            f"The text that stood first was chosen in {percent(audit.left.value)} of decisions "
            f"({interval(audit.left)}; p {p_text(audit.left.p)}): {found}."
        )
    if audit.cycles:
        triples = "; ".join(" > ".join((*triple, triple[0])) for triple in audit.cycles)
        said.append(f"Majorities go in a circle, so no order of the systems agrees with them: {triples}.")
    if audit.unstable:
        orders = "; ".join(f"without rater {rater}: {' > '.join(order)}" for rater, order in audit.unstable)
        said.append(f"The order hangs on single raters: {orders}.")
    return said


def sheets(analysis: Analysis) -> list[Sheet]:
    """Return all tables of an analysis, in the order of the report."""
    found: list[Sheet] = []
    for one in analysis.questions:
        found += [*_means(analysis, one), *_differences(analysis, one)]
    if analysis.pairs is not None:
        found += _of_pairs(analysis, analysis.pairs)
    found.append(_agreement(analysis))
    found += _raters(analysis)
    found += [_needed(key, rows, analysis) for key, rows in analysis.needed.items() if rows]
    found += _metrics(analysis)
    return found


def _level(analysis: Analysis) -> str:
    return f"{100 * analysis.confidence:g} %"


def _means(analysis: Analysis, one: QuestionScores) -> list[Sheet]:
    level = _level(analysis)
    rows = []
    for system in one.systems:
        row = [system.system, str(system.rank), number(system.mean.value), interval(system.mean)]
        rows.append([*row, interval(system.over_prompts), str(system.ratings)])
    notes = [
        one.text,
        f"{level}: over prompts and raters; prompts alone: a bootstrap over prompts, for these raters",
        f"rank: an interval that holds all ranks at once, {level}",
    ]
    if analysis.progress.raters < _FEW:
        notes.append(f"{plural(analysis.progress.raters, 'rater')}: the intervals say little of what others would say")
    if unstable := analysis.unstable.get(one.key, ()):
        first = [str(rater) for rater, order in unstable if order[0] != one.systems[0].system]
        notes.append(f"the order is another one without rater {', '.join(str(rater) for rater, _ in unstable)}")
        notes += [f"the first place is another one without rater {', '.join(first)}"] if first else []
    header = ["system", "rank", "mean", level, "prompts alone", "n"]
    found = [Sheet(f"{one.key}: means", header, rows, left=1, notes=notes)]
    if everyone := analysis.everyone.get(one.key):
        rows = [
            [system.system, number(everyone[system.system].value), interval(everyone[system.system])]
            for system in one.systems
        ]
        notes = ["those who were left out are in it"]
        found.append(Sheet(f"{one.key}: means with all raters", ["system", "mean", level], rows, left=1, notes=notes))
    return found


_FEW = 6  # raters


def _differences(analysis: Analysis, one: QuestionScores) -> list[Sheet]:
    if not one.differences:
        return []
    tukey = {frozenset((t.first, t.second)): t for t in one.tests.tukey}
    dunn = {frozenset((t.first, t.second)): t for t in one.tests.dunn}
    rows = []
    for found in one.differences:
        pair = frozenset((found.first, found.second))
        row = [f"{found.first} - {found.second}", number(found.estimate.value), interval(found.estimate)]
        row += [p_text(found.holm), p_text(tukey[pair].p if pair in tukey else None)]
        rows.append([*row, p_text(dunn[pair].p if pair in dunn else None)])
    notes = ["p: over prompts and raters, Holm; Tukey, Dunn: of the ratings as if they were independent"]
    tests = one.tests
    if tests.anova is not None and tests.kruskal is not None:
        between, within = tests.anova.freedom
        notes.append(
            f"one-way ANOVA: F({between}, {within}) = {tests.anova.statistic:.2f}, p {p_text(tests.anova.p)}; Kruskal-"
            f"Wallis: H({tests.kruskal.freedom[0]}) = {tests.kruskal.statistic:.2f}, p {p_text(tests.kruskal.p)}"
        )
    elif tests.absent:
        notes.append(f"no ANOVA: {tests.absent}")
    header = ["systems", "difference", _level(analysis), "p", "Tukey", "Dunn"]
    return [Sheet(f"{one.key}: differences", header, rows, left=1, notes=notes), *_of_model(analysis, one)]


def _of_model(analysis: Analysis, one: QuestionScores) -> list[Sheet]:
    model = analysis.mixed.get(one.key)
    title = f"{one.key}: mixed model"
    if model is None:
        return []
    if isinstance(model, str):
        return [Sheet(title, [], [], notes=[f"no mixed model: {model}"])]
    parts = ", ".join(f"{name} {number(math.sqrt(max(value, 0.0)))}" for name, value in model.variances.items())
    notes = [f"p: Wald, not adjusted; standard deviations: {parts}"]
    if not model.converged:
        notes.append("the model did not converge: do not rely on it")
    notes += [f"statsmodels says: {warning}" for warning in model.warnings[:2]]
    z = _z(analysis)
    rows = [
        [f"{a} - {b}", number(e.value), number((e.high - e.value) / z, 3), interval(e), p_text(e.p)]
        for a, b, e in model.contrasts
    ]
    return [Sheet(title, ["systems", "difference", "std. error", _level(analysis), "p"], rows, left=1, notes=notes)]


def _z(analysis: Analysis) -> float:
    return NormalDist().inv_cdf((1 + analysis.confidence) / 2)


def _of_pairs(analysis: Analysis, pairs: Preferred) -> list[Sheet]:
    rows = [
        [
            f"{one.first} : {one.second}",
            percent(one.rate.value),
            f"{100 * one.rate.low:.0f}, {100 * one.rate.high:.0f}",
            p_text(one.holm),
            f"{one.wins}/{one.ties}/{one.losses}",
        ]
        for one in pairs.win_rates
    ]
    notes = ["ties count half; p: of both being preferred equally often, Holm"]
    if pairs.identical:
        notes.append(f"{plural(pairs.identical, 'tie')} of texts that were the same are counted, which nobody judged")
    header = ["systems", "first wins", _level(analysis), "p", "won/tied/lost"]
    found = [Sheet("Win rates", header, rows, left=1, notes=notes)]
    everyone = {} if analysis.everyone_pairs is None else {s.system: s for s in analysis.everyone_pairs.strengths}
    if pairs.strengths:
        header = ["system", "strength", _level(analysis), *(["all raters"] if everyone else [])]
        strengths = [
            [
                one.system,
                number(one.estimate.value),
                interval(one.estimate),
                *(
                    [number(everyone[one.system].estimate.value) if one.system in everyone else NONE]
                    if everyone
                    else []
                ),
            ]
            for one in pairs.strengths
        ]
        found.append(Sheet("Strengths", header, strengths, left=1, notes=["log-odds against the mean of all systems"]))
    audit = pairs.audit
    checks = [["first text chosen", percent(audit.left.value) if audit.left else NONE]]
    checks += [["p of one half", p_text(audit.left.p) if audit.left else NONE]]
    checks += [["ties", percent(audit.ties)], ["circles of systems", str(len(audit.cycles))]]
    checks += [["circles within prompts", f"{audit.prompt_cycles} of {audit.prompt_triples}"]]
    checks += [["raters with a side", ", ".join(str(rater) for rater, _, _ in audit.left_by_rater) or "none"]]
    checks += [["raters the order hangs on", ", ".join(str(rater) for rater, _ in audit.unstable) or "none"]]
    found.append(Sheet("Audit", ["what", "found"], checks, left=1))
    return found


def _agreement(analysis: Analysis) -> Sheet:
    rows, notes = [], ["Krippendorff's α: 1 is full agreement, 0 that of chance; interval: jackknife over items"]
    for one in analysis.agreement:
        if one.absent:
            notes.append(f"{one.question}: {one.absent}")
        for scale, found in one.alpha.items():
            rows.append([one.question, scale, number(found.value), interval(found), str(found.n)])
    return Sheet("Agreement", ["question", "scale", "α", _level(analysis), "items"], rows, left=2, notes=notes)


def _raters(analysis: Analysis) -> list[Sheet]:
    out = analysis.excluded.raters
    rows = [
        [
            f"{q.rater}{' (out)' if q.rater in out else ''}",
            str(q.ratings),
            f"{q.checks_right}/{q.checks}" if q.checks else NONE,
            f"{q.repeats_same}/{q.repeats}" if q.repeats else NONE,
            f"{q.seconds:.0f} ({percent(q.fast)})",
            percent(q.same_answer),
        ]
        for q in analysis.raters
    ]
    header = ["rater", "ratings", "checks", "repeats", "seconds (fast)", "same"]
    notes = [
        "checks: right of all; repeats: answered as before; seconds: median (share of answers in less than a third of "
        "the study's median); same: share of their most frequent answer"
    ]
    found = [Sheet("Raters", header, rows, left=1, notes=notes)]
    for key, scales in analysis.scales.items():
        rows = [[str(s.rater), number(s.bias), number(s.scale), number(s.noise), str(s.ratings)] for s in scales]
        notes = ["bias: rates higher than others; slope: on the others' means; noise: standard deviation, text + rater"]
        if rows:
            found.append(Sheet(f"{key}: raters", ["rater", "bias", "slope", "noise", "n"], rows, left=1, notes=notes))
    if analysis.accuracies:
        rows = [[str(a.rater), percent(a.accuracy), percent(a.with_others), str(a.items)] for a in analysis.accuracies]
        header = ["rater", "accuracy", "with others", "n"]
        notes = ["accuracy: Dawid and Skene's model, one number for each rater; with others: with most of them"]
        found.append(Sheet("Reliability of raters", header, rows, left=1, notes=notes))
    return found


def _needed(key: str, rows: Sequence[Needed], analysis: Analysis) -> Sheet:
    counts = list(rows[0].prompts)
    what = "difference" if analysis.kind == "likert" else "win rate"
    header = [what, "power here", *(plural(count, "rater") for count in counts)]
    cells = [
        [
            number(one.difference) if analysis.kind == "likert" else percent(0.5 + one.difference),
            percent(one.power),
            *(NONE if one.prompts[count] is None else f"{one.prompts[count]:,}" for count in counts),
        ]
        for one in rows
    ]
    notes = [
        "prompts that find it with a power of 80 %, by raters of each item; from the noise of this study, all pairs"
    ]
    return Sheet(f"{key}: how large a study must be", header, cells, left=1, notes=notes)


def _metrics(analysis: Analysis) -> list[Sheet]:
    found = []
    for question in dict.fromkeys(one.question for one in analysis.metrics):
        own = [one for one in analysis.metrics if one.question == question]
        own.sort(key=lambda one: -abs(one.items["pearson"].value))
        rows = [
            [
                one.metric,
                number(one.items["pearson"].value),
                interval(one.items["pearson"]),
                number(one.items["spearman"].value),
                number(one.items["kendall"].value),
                *([] if one.accuracy is None else [percent(one.accuracy)]),
            ]
            for one in own
        ]
        header = ["metric", "r", _level(analysis), "ρ", "τ", *([] if own[0].accuracy is None else ["right"])]
        notes = [
            f"over {plural(max(one.texts for one in own), 'text')}; intervals take texts of one prompt as dependent"
        ]
        notes += _williams(analysis, question, own[0].metric)
        notes += _once(one.systems_absent for one in own)
        found.append(Sheet(f"{question}: metrics and people, by text", header, rows, left=1, notes=notes))
        level = [one for one in own if one.systems]
        if level:
            rows = [
                [
                    one.metric,
                    *(f"{number(e.value)} [{interval(e)}]" for e in one.systems.values()),
                ]
                for one in level
            ]
            notes = [f"of {level[0].n_systems} systems' means; intervals: other prompts, not other systems"]
            header = ["metric", "r", "ρ", "τ"]
            found.append(Sheet(f"{question}: metrics and people, by system", header, rows, left=1, notes=notes))
    return found


def _williams(analysis: Analysis, question: str, best: str) -> list[str]:
    """Return against which metrics the one with the largest correlation was tested, and with which result."""
    said = []
    for one in analysis.contrasts:
        if one.question == question and best in (one.first, one.second):
            other = one.second if one.first == best else one.first
            said.append(f"{other} p {p_text(one.p)}")
    return [f"Williams's test of {best} against the others, Holm: {', '.join(said)}"] if said else []


def _once(notes: Iterable[str]) -> list[str]:
    return [note for note in dict.fromkeys(notes) if note]
