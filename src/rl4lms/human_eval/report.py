"""The report of a study for the terminal, as CSV, JSON and LaTeX."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from rl4lms.errors import plural
from rl4lms.grue import formats
from rl4lms.grue.formats import Sheet, inert_latex
from rl4lms.human_eval.analysis import Analysis
from rl4lms.human_eval.mixed import MixedModel
from rl4lms.human_eval.needed import Needed
from rl4lms.human_eval.pairs import Preferred
from rl4lms.human_eval.scores import QuestionScores
from rl4lms.human_eval.sheets import interval, joined, number, p_text, sheets, summary
from rl4lms.reporting.inert import comma_separated
from rl4lms.stats.base import Estimate

HEADER = ("section", "question", "name", "other", "statistic", "value", "low", "high", "n", "p", "method")


def show(analysis: Analysis, console: Console) -> None:
    """Print the report for people."""
    console.print(Text(analysis.name, style="bold"))
    for sentence in summary(analysis):
        console.print(Text(sentence))
    for sheet in sheets(analysis):
        console.print()
        formats.show(sheet, console)


def as_json(analysis: Analysis) -> str:
    """Return everything as JSON; what is not finite is null."""
    return json.dumps(_plain(analysis), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def as_csv(analysis: Analysis) -> str:
    """Return every number on a row of its own; no text is a formula."""
    return comma_separated([list(HEADER), *_rows(analysis)])


def _row(
    section: str, question: str, name: str, other: str, statistic: str, value: Estimate | float | None
) -> list[object]:
    about: list[object] = [section, question, name, other, statistic]
    if isinstance(value, Estimate):
        numbers: list[object] = [value.value, value.low, value.high, value.n, value.p, value.method]
    else:
        numbers = [value, None, None, None, None, ""]
    return [*about, *("" if one is None or (isinstance(one, float) and math.isnan(one)) else one for one in numbers)]


def _rows(analysis: Analysis) -> Iterator[list[object]]:
    yield from _of_progress(analysis)
    for one in analysis.questions:
        yield from _of_question(one)
    for key, model in analysis.mixed.items():
        if isinstance(model, MixedModel):
            for first, second, estimate in model.contrasts:
                yield _row("mixed model", key, first, second, "difference", estimate)
            for name, variance in model.variances.items():
                yield _row("mixed model", key, name, "", "variance", variance)
    if analysis.pairs is not None:
        yield from _of_preferences(analysis.pairs)
    for agreed in analysis.agreement:
        for scale, alpha in agreed.alpha.items():
            yield _row("agreement", agreed.question, scale, "", "Krippendorff's alpha", alpha)
    for metric in analysis.metrics:
        for level, correlations in (("text", metric.items), ("system", metric.systems)):
            for kind, r in correlations.items():
                yield _row("metrics", metric.question, metric.metric, level, kind, r)
    for q in analysis.raters:
        yield _row("raters", "", str(q.rater), "", "checks right", q.checks_right / q.checks if q.checks else None)
        yield _row("raters", "", str(q.rater), "", "median seconds", q.seconds)
    for key, needed in analysis.needed.items():
        yield from _of_sizes(key, needed)


def _of_sizes(key: str, needed: Sequence[Needed]) -> Iterator[list[object]]:
    for size in needed:
        yield _row("power", key, f"{size.difference:.2f}", "", "power", size.power)
        for raters, prompts in size.prompts.items():
            yield _row("power", key, f"{size.difference:.2f}", str(raters), "prompts", prompts)


def _of_question(one: QuestionScores) -> Iterator[list[object]]:
    for s in one.systems:
        yield _row("means", one.key, s.system, "", "mean", s.mean)
        yield _row("means", one.key, s.system, "", "mean over prompts alone", s.over_prompts)
        yield _row("means", one.key, s.system, "", "standard deviation", s.deviation)
    for d in one.differences:
        yield _row("differences", one.key, d.first, d.second, "difference", d.estimate)
        yield _row("differences", one.key, d.first, d.second, "p, Holm", d.holm)
    for name, tests in (("Tukey's HSD", one.tests.tukey), ("Dunn's test", one.tests.dunn)):
        for t in tests:
            row = _row("differences", one.key, t.first, t.second, name, t.difference)
            yield [*row[:6], t.low if t.low is not None else "", t.high if t.high is not None else "", "", t.p, ""]
    for test in (one.tests.anova, one.tests.kruskal):
        if test is not None:
            freedom = " ".join(map(str, test.freedom))
            yield ["tests", one.key, "", "", f"{test.name} ({freedom})", test.statistic, "", "", "", test.p, ""]


def _of_preferences(pairs: Preferred) -> Iterator[list[object]]:
    for w in pairs.win_rates:
        yield _row("win rates", "", w.first, w.second, "win rate", w.rate)
        yield _row("win rates", "", w.first, w.second, "p, Holm", w.holm)
    for strength in pairs.strengths:
        yield _row("strengths", "", strength.system, "", "Bradley-Terry", strength.estimate)
    if pairs.audit.left is not None:
        yield _row("audit", "", "", "", "first text chosen", pairs.audit.left)


def _of_progress(analysis: Analysis) -> Iterator[list[object]]:
    progress = analysis.progress
    for name, value in (("ratings", progress.ratings), ("planned", progress.planned), ("raters", progress.raters)):
        yield _row("progress", "", name, "", "count", value)
    for rater, (right, checks) in analysis.excluded.raters.items():
        yield ["excluded", "", str(rater), "", "checks right", right, "", "", checks, "", ""]
    for key, means in analysis.everyone.items():
        for system, estimate in means.items():
            yield _row("means, all raters", key, system, "", "mean", estimate)
    if analysis.everyone_pairs is not None:
        for w in analysis.everyone_pairs.win_rates:
            yield _row("win rates, all raters", "", w.first, w.second, "win rate", w.rate)


def latex(analysis: Analysis) -> str:
    """Return a paragraph on methods, filled with the study's numbers, and its tables, for the package booktabs."""
    tables = [_table(sheet, number) for number, sheet in enumerate(sheets(analysis), 1)]
    return "\n".join(["% Methods", methods(analysis), "", *tables])


def _table(sheet: Sheet, place: int) -> str:
    # what is a note for people is a caption here; formats.latex keeps it in comments as well
    caption = inert_latex(joined([sheet.title, *sheet.notes]))
    body = formats.latex(sheet)
    lines = [r"\begin{table}", r"\centering", body.rstrip("\n"), rf"\caption{{{caption}}}"]
    return "\n".join([*lines, rf"\label{{tab:human-{place}}}", r"\end{table}", ""])


def methods(analysis: Analysis) -> str:
    """Return what a paper says of the study, as LaTeX; every text of the study is escaped."""
    progress, e = analysis.progress, inert_latex
    task = f" for the task {e(analysis.task)}" if analysis.task else ""
    said = [
        f"We asked people about {plural(progress.items, 'item')} ({plural(progress.prompts, 'prompt')}, "
        f"{plural(len(progress.systems), 'system')}: {', '.join(map(e, progress.systems))}){task}. "
        f"{plural(progress.raters, 'rater')} gave {plural(progress.ratings, 'rating')}, "
        f"{progress.ratings / max(progress.items, 1):.1f} for each item"
        f"{'; they were not told which system wrote a text' if analysis.blinded else ''}."
    ]
    if not progress.finished:
        said.append(f"These are {progress.ratings:,} of {progress.planned:,} ratings that were planned.")
    for key, text in analysis.wording.items():
        said.append(f"The question {e(key)} was: ``{e(text)}''")
    said += [_excluded(analysis), _agreed(analysis)]
    level = f"{100 * analysis.confidence:g}"
    if analysis.kind == "likert":
        said.append(
            f"Means are over prompts, with {level}\\,\\% intervals of $t$ from variances clustered by prompt and by "
            "rater (Cameron et al., 2011); p-values of pairs are adjusted by Holm's method."
        )
        said += _tested(analysis)
    else:
        said.append(
            f"Win rates count ties half and have Wilson's {level}\\,\\% intervals with variances clustered by prompt "
            "and by rater; p-values are adjusted by Holm's method. Strengths are those of the model of Bradley and "
            "Terry (1952), with a jackknife over prompts and raters."
        )
        said += _of_sides(analysis)
    return "\n".join(filter(None, said))


def _excluded(analysis: Analysis) -> str:
    excluded = analysis.excluded
    if excluded.min_checks is None:
        return "No rater was left out."
    return (
        f"We left out {plural(len(excluded.raters), 'rater')} ({plural(excluded.ratings, 'rating')}) who got fewer "
        f"than {100 * excluded.min_checks:.0f}\\,\\% of their checks of attention right."
    )


def _agreed(analysis: Analysis) -> str:
    scale = "ordinal" if analysis.kind == "likert" else "nominal"
    said = [
        f"{inert_latex(one.question)} {number(one.alpha[scale].value)} ({interval(one.alpha[scale])})"  # type: ignore[index]
        for one in analysis.agreement
        if one.alpha
    ]
    return f"Agreement of raters, Krippendorff's $\\alpha$ ({scale}): {'; '.join(said)}." if said else ""


def _tested(analysis: Analysis) -> list[str]:
    said = []
    for one in analysis.questions:
        key, model = inert_latex(one.key), analysis.mixed.get(one.key)
        if one.tests.anova is not None and one.tests.kruskal is not None:
            between, within = one.tests.anova.freedom
            p, ranks_p = (inert_latex(p_text(test.p)) for test in (one.tests.anova, one.tests.kruskal))
            said.append(
                f"For {key}, a one-way analysis of variance, followed by Tukey's HSD test, gives "
                f"$F({between}, {within}) = {one.tests.anova.statistic:.2f}$, p {p}, and the Kruskal-Wallis test, "
                f"followed by Dunn's, $H({one.tests.kruskal.freedom[0]}) = {one.tests.kruskal.statistic:.2f}$, "
                f"p {ranks_p}."
            )
        if isinstance(model, MixedModel) and model.converged:
            effects = ", ".join(sorted(f"{name}s" for name in model.variances if name != "residual"))
            said.append(f"For {key}, we fitted a linear mixed model by REML with random effects of {effects}.")
    return said


def _of_sides(analysis: Analysis) -> list[str]:
    left = analysis.pairs.audit.left if analysis.pairs is not None else None
    if left is None:
        return []
    p = inert_latex(p_text(left.p))
    return [f"The text shown first was chosen in {100 * left.value:.0f}\\,\\% of decisions (p {p})."]
