"""A comparison as a page: what it says in short, tables, curves, texts side by side, what differs between the runs."""

from __future__ import annotations

import functools
import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from markupsafe import escape

from rl4lms import reporting
from rl4lms.log_keys import describe
from rl4lms.reporting import Cell, LinePlot, Section, Table
from rl4lms.runs.health import health_of
from rl4lms.runs.history import History
from rl4lms.runs.layout import CONFIG_FILE
from rl4lms.stats.paired import Contrast
from rl4lms.studies.compare_text import about, error_note, number, sentences, signed
from rl4lms.studies.findings import Column, Findings
from rl4lms.studies.systems import Run, System

PROMPTS = 8
# Metrics that fit beside each other; the others get a table with a row each.
_WIDE = 9
#: Title, log key, unit, caption.
CURVES = (
    ("Training reward", "rollout/score", "score", "What RL optimises, on the completions that it trains on."),
    (
        "Distance from the start",
        "rollout/kl_per_sequence",
        "nats per completion",
        "KL to the model that RL started from, full softmax.",
    ),
    (
        "Entropy",
        "rollout/entropy",
        "nats per token",
        "Of the distributions that tokens are drawn from: for NLPO, inside the mask.",
    ),
    ("Mask", "train/mask_size", "tokens allowed", "Mean size of the mask over the tokens of a rollout."),
)
#: What tells of a run's health: log key, how a run's values are summed up, in words.
_HEALTH: tuple[tuple[str, Callable[[Sequence[float]], float], str], ...] = (
    ("rollout/sampler_error", max, "largest"),
    ("train/first_ratio_error", max, "largest"),
    ("train/approx_kl", max, "largest"),
    ("train/clip_fraction", fmean, "mean"),
    ("train/early_stop", fmean, "mean"),
    ("train/explained_variance", lambda values: values[-1], "last"),
    ("rollout/masked_rows", math.fsum, "sum"),
    ("rollout/reward_exceptions", math.fsum, "sum"),
    ("rollout/reward_timeouts", math.fsum, "sum"),
    ("rollout/terminated", lambda values: values[-1], "last"),
    ("time/iteration_s", fmean, "mean"),
)
# Settings that say who a run is and how it is watched: they change nothing of what is trained.
_UNTOLD = ("seed", "name", "output_dir", "tracking", "push_to_hub", "evaluation", "checkpoint")


def html(comparison: Findings, title: str = "", subtitle: str = "", further: Sequence[Section] = ()) -> str:
    """Return the page.

    Args:
        comparison: what is shown.
        title, subtitle: of the page; by default they say who is compared on what.
        further: sections at the end.
    """
    labels = [system.label for system in comparison.systems if system.runs]
    sections = [
        Section("", _summary(comparison)),
        Section("Results", _results(comparison)),
        *([Section("Differences", _differences(comparison))] if comparison.differences else []),
        *([Section("Learning curves", [curves])] if (curves := learning_curves(comparison.systems)) else []),
        Section("Texts side by side", [texts(comparison)]),
        *_about_runs(comparison.systems),
        *further,
    ]
    return reporting.page(title or ", ".join(labels), sections, subtitle=subtitle or about(comparison))


def fragment(comparison: Findings) -> str:
    """Return the page in a frame, for notebooks: its style stays inside."""
    return (
        f'<iframe srcdoc="{escape(html(comparison))}" style="width: 100%; height: 44rem; border: 0" sandbox></iframe>'
    )


def _summary(comparison: Findings) -> list[reporting.Block]:
    blocks: list[reporting.Block] = []
    if said := sentences(comparison):
        blocks.append(reporting.Paragraph(" ".join(said), lead=True))
    key = comparison.columns[0].key
    found = [d for d in comparison.differences if d.metric == key]
    if found:
        dots = [reporting.Dot(f"{d.system} − {d.against}", d.mean, *d.interval) for d in found]
        title = f"Differences in {comparison.columns[0].heading}"
        caption = "Dots are differences prompt by prompt, bars their 95% intervals."
        chart = reporting.dot_plot(title, dots, x_label="difference", caption=caption, zero=True)
    else:
        means = {label: row[key] for label, row in comparison.results.items() if key in row}
        dots = [
            reporting.Dot(label, m.value, *((m.low, m.high) if m.over else (m.value, m.value)))
            for label, m in means.items()
        ]
        chart = reporting.dot_plot(
            comparison.columns[0].heading, dots, x_label="mean", caption="Bars are 95% intervals."
        )
    return [*blocks, reporting.Charts([chart])] if dots else blocks


def _headings(columns: Sequence[Column]) -> list[str]:
    """Return what the metrics are called, which may break after `_`, and not at a hyphen or before an arrow."""
    spaces = {" ↑": "\u00a0↑", " ↓": "\u00a0↓", "_": "_\u200b", "-": "-\u2060"}
    return [functools.reduce(lambda text, pair: text.replace(*pair), spaces.items(), c.heading) for c in columns]


def _results(comparison: Findings) -> list[reporting.Block]:
    columns = comparison.columns[:_WIDE]
    rows = _rows(comparison.results, columns)
    if comparison.masked:
        inside = _rows(comparison.masked, columns)
        rows = [*rows, ["Decoded inside the mask"], *inside]
    notes = ["Bold: the best of its block.", error_note(comparison)]
    if comparison.masked:
        notes.append(
            "Inside the mask: the same models, decoded within NLPO's top-p mask, for a trained model the one that its "
            "training ended with, for a start the one that NLPO begins with. It changes every model, trained or not, "
            "so compare these rows with each other."
        )
    blocks: list[reporting.Block] = [Table(["system", *_headings(columns)], rows, note=" ".join(notes))]
    if rest := comparison.columns[_WIDE:]:
        labels = [system.label for system in comparison.systems]
        cells: list[Sequence[str | Cell]] = [
            [c.heading, *(_cell(comparison.results[label].get(c.key)) for label in labels)] for c in rest
        ]
        blocks.append(Table(["metric", *labels], cells, "Further metrics"))
    return [*blocks, *map(reporting.Paragraph, comparison.notes)]


def _rows(results: Mapping[str, Mapping[str, Contrast]], columns: Sequence[Column]) -> list[Sequence[str | Cell]]:
    best = {}
    for column in columns:
        values = [row[column.key].value for row in results.values() if column.key in row]
        if column.higher_is_better is not None and len(values) > 1:
            best[column.key] = max(values) if column.higher_is_better else min(values)
    return [
        [label, *(_cell(row.get(column.key), best.get(column.key)) for column in columns)]
        for label, row in results.items()
    ]


def _cell(found: Contrast | None, best: float | None = None) -> Cell:
    text, error = number(found)
    return Cell(text, error, strong=found is not None and found.value == best)


def _differences(comparison: Findings) -> list[reporting.Block]:
    columns = [c for c in comparison.columns if any(d.metric == c.key and d.over for d in comparison.differences)]
    pairs = list(dict.fromkeys((d.system, d.against) for d in comparison.differences))
    rows: list[list[str | Cell]] = []
    for system, against in pairs:
        row: list[str | Cell] = [f"{system} − {against}"]
        for column in columns[:_WIDE]:
            difference = comparison.difference(column.key, system)
            if difference is None:
                row.append("–")
                continue
            mean, error, interval = signed(difference)
            row.append(Cell(mean, f"{error}\n{interval}".strip(), strong=difference.is_clear))
        rows.append(row)
    note = "Small: the standard error and the 95% interval. Bold: it leaves out 0."
    return [Table(["systems", *_headings(columns[:_WIDE])], rows, note=note)]


def learning_curves(systems: Sequence[System]) -> reporting.Charts | None:
    """Return the curves of all systems that were trained by RL: single runs faint, their mean on top; of one run its
    values faint, and their running mean.
    """
    trained = [system for system in systems if any(len(run.history) > 1 for run in system.runs)]
    plots = []
    for title, key, unit, caption in CURVES:
        raw = {s.label: [run.history.series(key) for run in s.runs] for s in trained}
        if any(len(line) > 1 for lines in raw.values() for line in lines):
            means = {label: _mean_curve(lines) for label, lines in raw.items()}
            plots.append((LinePlot(title, "iteration", unit, caption, faint=raw), means))
    return reporting.line_charts(plots) if plots else None


def _mean_curve(lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    if len(lines) == 1:
        steps, values = [step for step, _ in lines[0]], [value for _, value in lines[0]]
        return list(zip(steps, reporting.running_mean(values, len(values) // 10), strict=True))
    tables = [dict(line) for line in lines]
    steps = sorted(set.intersection(*(set(table) for table in tables)))  # runs that go on are shorter
    return [(step, fmean(table[step] for table in tables)) for step in steps]


def texts(comparison: Findings, columns: int = 2) -> Table:
    """Return what each system wrote for the first prompts; words are marked that its start, or the system that it is
    compared with, did not write.

    Args:
        comparison: what is shown.
        columns: how many values of each text.
    """
    prompts = [system.evaluations[0].prompts for system in comparison.systems]
    first = list(prompts[0])[:PROMPTS]
    against = {d.system: d.against for d in comparison.differences}
    by_label = {system.label: of for system, of in zip(comparison.systems, prompts, strict=True)}
    shown = [c for c in comparison.columns if all(c.key in of[name][0] for of in prompts for name in first)][:columns]
    rows: list[list[str | Cell]] = []
    for name in first:
        rows.append([f"{prompts[0][name][0]['prompt']} …"])
        for label, of in by_label.items():
            row = of[name][0]
            text = Cell(row["completion"])
            if label in against:
                before = by_label[against[label]][name][0]["completion"]
                text = Cell(pieces=reporting.changed_words(before, row["completion"]) or [(row["completion"], False)])
            values = [row[column.key] for column in shown]
            rows.append([label, text, *("–" if value is None else f"{value:.2f}" for value in values)])
    caption = f"The first {len(first)} prompts, not chosen; of several seeds the first."
    if against:
        caption += " Marked: words that the system it is compared with did not write there."
    return Table(["system", "completion", *_headings(shown)], rows, caption, numeric=False)


def _about_runs(systems: Sequence[System]) -> list[Section]:
    runs = [(system.label, run) for system in systems for run in system.runs]
    sections = []
    trained = [system for system in systems if system.runs and system.evaluations[0].model == "trained"]
    if different := settings_table(trained):
        sections.append(Section("Settings that differ", [different]))
    logged = [(f"{label}, seed {run.final.seed}", run.history) for label, run in runs if len(run.history) > 1]
    if logged:
        sections.append(Section("Health of the runs", [_warnings(logged), _health(logged)]))
    commands = [_command(run) for _, run in runs]
    if any(commands):
        text = reporting.Paragraph("Each run again, into another folder:")
        sections.append(Section("Commands", [text, reporting.Preformatted("\n".join(filter(None, commands)))]))
    return sections


def settings_table(systems: Sequence[System]) -> Table | None:
    """Return the settings in which systems differ, but for seeds and names; None where there are none.

    A block that is null in some is one row, and what is in it is compared between those that have it.
    """
    each = [system.runs[0].settings for system in systems]
    blocks = {key for settings in each for key, value in settings.items() if value is None}
    rows: list[list[str | Cell]] = []
    for key in dict.fromkeys(key for settings in each for key in settings):
        if key.split(".")[0] in _UNTOLD:
            continue
        inside = next((block for block in blocks if key.startswith(f"{block}.")), None)
        having = [settings for settings in each if inside is None or inside not in settings]
        values = [_value(settings, key) for settings in having]
        if len(set(values)) > 1:
            rows.append([key, *(_value(settings, key) for settings in each)])
    return Table(["setting", *(system.label for system in systems)], rows, numeric=False) if rows else None


def _value(settings: Mapping[str, Any], key: str) -> str:
    if key in settings:
        value = settings[key]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "given" if any(other.startswith(f"{key}.") for other in settings) else "–"


def _warnings(logged: Sequence[tuple[str, History]]) -> reporting.Block:
    """Return the thresholds that runs crossed; see `runs/health.py`."""
    rows = []
    for label, history in logged:
        health = health_of(history)
        for warned in health.begun:
            held = f"{health.counts[warned.rule.name]} iterations"
            rows.append([label, f"{warned.seen}. {warned.rule.remedy}.", f"iteration {warned.step}", held])
    if not rows:
        return reporting.Paragraph(
            "No run crossed a threshold of docs/health.md: an audit of the logs, not of the texts."
        )
    return Table(["run", "what was seen, and what to change", "since", "held in all"], rows, numeric=False)


def _health(logged: Sequence[tuple[str, History]]) -> Table:
    rows: list[Sequence[str | Cell]] = []
    for key, total, how in _HEALTH:
        values = [[value for _, value in history.series(key)] for _, history in logged]
        if any(values):
            line = describe(key)
            assert line is not None
            cells = [f"{total(found):.3g}" if found else "–" for found in values]
            rows.append([Cell(f"{key}, {how}", line.unit), *cells])
    return Table(["over all iterations", *(label for label, _ in logged)], rows, note="What each is: docs/log-keys.md.")


def _command(run: Run) -> str:
    if not run.path.is_dir():
        return ""
    return f"rl4lms train {shlex.quote(str(run.path / CONFIG_FILE))} output_dir={shlex.quote(str(run.path) + '-again')}"
