"""The report of a study as a page: what was found in short, plots, tables. It is one file and loads nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rl4lms import reporting
from rl4lms.grue.formats import Sheet
from rl4lms.human_eval.analysis import Analysis
from rl4lms.human_eval.automatic import metrics_of
from rl4lms.human_eval.sheets import interval, joined, number, p_text, percent, sheets, summary
from rl4lms.human_eval.table import Answered, values_of
from rl4lms.reporting import Block, Cell, Chart, Charts, Cloud, Dot, LinePlot, Paragraph, Section, Table
from rl4lms.reporting.inert import plain

#: Metrics that are drawn against people: those that correlate most.
DRAWN = 4


def html(analysis: Analysis, answered: Answered | None = None) -> str:
    """Return the page.

    Args:
        analysis: what is shown.
        answered: the answers, for the plots of metrics against people; None leaves these out.
    """
    first, *rest = summary(analysis)
    tables = _tables(analysis)
    blocks: list[Block] = [Paragraph(first, lead=True), *map(Paragraph, rest)]
    titles = ("Raters", "Reliability of raters")
    sections = [
        Section("", blocks),
        *_scores(analysis, tables),
        *_preferences(analysis, tables),
        Section("Agreement", [*_alpha(analysis), tables["Agreement"]]),
        *_metrics(analysis, answered, tables),
        Section("Raters", [table for title, table in tables.items() if title in titles or title.endswith(": raters")]),
        *_size(tables),
        Section("Methods", list(map(Paragraph, _methods(analysis)))),
    ]
    about = f"{analysis.task}, form {analysis.form}" if analysis.task else f"form {analysis.form}"
    return reporting.page(analysis.name, sections, subtitle=about)


def _name(text: str) -> str:
    """Return a name as charts have room for it."""
    shown = plain(text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


_LONGEST = 44


def _tables(analysis: Analysis) -> dict[str, Table]:
    return {sheet.title: _table(sheet) for sheet in sheets(analysis)}


def _table(sheet: Sheet) -> Table:
    return Table(sheet.header, sheet.rows, sheet.title, joined(sheet.notes))


def _scores(analysis: Analysis, tables: dict[str, Table]) -> list[Section]:
    sections = []
    for one in analysis.questions:
        dots = [Dot(_name(s.system), s.mean.value, s.mean.low, s.mean.high) for s in one.systems]
        charts = [
            reporting.dot_plot(
                f"{one.key}: means",
                dots,
                x_label="mean rating",
                caption=f"Bars: {100 * analysis.confidence:g} % intervals over prompts and raters.",
            )
        ]
        if one.differences:
            differences = [
                Dot(_name(f"{d.first} - {d.second}"), d.estimate.value, d.estimate.low, d.estimate.high)
                for d in one.differences[:_ROWS]
            ]
            charts.append(reporting.dot_plot(f"{one.key}: differences", differences, x_label="difference", zero=True))
        means = tables[f"{one.key}: means"]
        blocks: list[Block] = [Paragraph(one.text), Charts(charts), _with_bars(means, one.systems)]
        titles = [f"{one.key}: {what}" for what in ("means with all raters", "differences", "mixed model")]
        blocks += [tables[title] for title in titles if title in tables]
        sections.append(Section(f"Scores: {one.key}", blocks))
    return sections


_ROWS = 15  # of a plot


def _with_bars(table: Table, systems: Sequence[object]) -> Table:
    """Draw each interval in its cell, on the scale of the column."""
    from rl4lms.human_eval.scores import SystemScore

    found = [one.mean for one in systems if isinstance(one, SystemScore)]
    ends = [end for one in found for end in (one.low, one.high) if abs(end) != float("inf")]
    if not ends or max(ends) == min(ends):
        return table
    low, width = min(ends), max(ends) - min(ends)
    rows: list[list[str | Cell]] = []
    for row, one in zip(table.rows, found, strict=True):
        cells: list[str | Cell] = list(row)
        if abs(one.low) != float("inf"):
            bar = ((one.low - low) / width, (one.value - low) / width, (one.high - low) / width)
            cells[3] = Cell(str(row[3]), bar=bar)
        rows.append(cells)
    return Table(table.columns, rows, table.caption, table.note)


def _preferences(analysis: Analysis, tables: dict[str, Table]) -> list[Section]:
    pairs = analysis.pairs
    if pairs is None:
        return []
    level = f"{100 * analysis.confidence:g} %"
    dots = [
        Dot(_name(f"{w.first} against {w.second}"), 100 * w.rate.value, 100 * w.rate.low, 100 * w.rate.high)
        for w in pairs.win_rates[:_ROWS]
    ]
    charts: list[Chart] = [
        reporting.dot_plot("Win rates", dots, x_label="% won by the first", caption=f"Bars: {level} intervals.")
    ]
    if pairs.strengths:
        strengths = [Dot(_name(s.system), s.estimate.value, s.estimate.low, s.estimate.high) for s in pairs.strengths]
        charts.append(reporting.dot_plot("Strengths", strengths, x_label="log-odds", zero=True))
    blocks: list[Block] = [Charts(charts)]
    blocks += [tables[title] for title in ("Win rates", "Strengths", "Audit") if title in tables]
    return [Section("Preferences", blocks)]


def _alpha(analysis: Analysis) -> list[Block]:
    dots = [
        Dot(f"{one.question}, {scale}", found.value, found.low, found.high)
        for one in analysis.agreement
        for scale, found in one.alpha.items()
    ]
    if not dots:
        return []
    return [Charts([reporting.dot_plot("Krippendorff's α", dots, x_label="α", zero=True)])]


def _metrics(analysis: Analysis, answered: Answered | None, tables: dict[str, Table]) -> list[Section]:
    own = [table for title, table in tables.items() if "metrics and people" in title]
    if not own:
        return []
    charts = [] if answered is None else _clouds(analysis, answered)
    return [Section("Automatic metrics and people", [*charts, *own])]


def _clouds(analysis: Analysis, answered: Answered) -> list[Block]:
    """Return charts of the metrics that correlate most with people, a point for each text."""
    if analysis.kind != "likert":
        return []
    metrics, blocks = metrics_of(answered), list[Block]()
    labels = {system: _name(system) for system in analysis.progress.systems}
    if len(set(labels.values())) < len(labels):  # two begin alike
        labels = {system: _name(f"{number} {system}") for number, system in enumerate(labels, 1)}
    out = analysis.excluded.raters
    for question in dict.fromkeys(one.question for one in analysis.metrics):
        ratings: dict[tuple[str, str], list[float]] = defaultdict(list)
        for value in values_of(answered):
            if value.question == question and value.rater not in out:
                ratings[value.prompt, value.system].append(value.value)
        people = {place: sum(of) / len(of) for place, of in ratings.items()}
        best = sorted(
            (one for one in analysis.metrics if one.question == question),
            key=lambda one: -abs(one.items["pearson"].value),
        )
        plots = []
        for one in best[:DRAWN]:
            clouds = {
                labels[system]: Cloud(
                    [
                        (scores, mean)
                        for place, mean in people.items()
                        if place[1] == system and (scores := metrics[one.metric].get(place)) is not None
                    ]
                )
                for system in analysis.progress.systems
            }
            r = one.items["pearson"]
            caption = f"r = {number(r.value)} ({interval(r)}). Large: means of systems."
            plots.append((LinePlot(_name(one.metric), _name(one.metric), question, caption, whole_x=False), clouds))
        blocks.append(reporting.scatter_charts(plots))
    return blocks


def _size(tables: dict[str, Table]) -> list[Section]:
    own = [table for title, table in tables.items() if "how large" in title]
    return [Section("How large a study must be", own)] if own else []


def _methods(analysis: Analysis) -> list[str]:
    """Return what a reader needs to know of how numbers were found."""
    progress = analysis.progress
    said = [f"{key}: {text}" for key, text in analysis.wording.items()]
    other = ", ".join(f"{count} of {purpose}" for purpose, count in progress.other.items())
    if other:
        said.append(f"Answers that are no part of scores: {other}.")
    said.append(
        "Intervals of means, differences and win rates are of t with variances clustered by prompt and by rater "
        "(Cameron, Gelbach and Miller, 2011), those of win rates Wilson's. Rater quality: checks of attention, "
        "repeats, seconds, and models of what raters add (additive; Dawid and Skene, 1979). "
        "Agreement is Krippendorff's α."
    )
    if analysis.pairs is not None and analysis.pairs.audit.left is not None:
        left = analysis.pairs.audit.left
        said.append(f"The text that stood first was chosen in {percent(left.value)}, p {p_text(left.p)}.")
    return said
