"""A comparison as a terminal of 80 columns shows it, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rl4lms.errors import plural
from rl4lms.log_keys import below_zero
from rl4lms.stats.paired import BOTH, NOTHING, PROMPTS, SEEDS, Contrast, methods

if TYPE_CHECKING:
    from rich.console import Console

    from rl4lms.studies.findings import Difference, Findings
    from rl4lms.studies.systems import System

TEXTS = 3
# How many differences a terminal shows with every metric; more of them get one table.
_IN_FULL = 2


def digits(value: float) -> int:
    """Return how many decimals a value is shown with: three significant ones, about."""
    return 3 if abs(value) < 2 else 1 if abs(value) >= 10 else 2


def number(found: Contrast | None) -> tuple[str, str]:
    """Return a mean, and its error as `± 0.012`, empty where it is not known; a dash where there is no number."""
    if found is None:
        return "–", ""
    places = digits(found.value)
    return f"{found.value:.{places}f}", "" if found.stderr is None else f"± {found.stderr:.{places}f}"


def signed(difference: Difference, places: int | None = None) -> tuple[str, str, str]:
    """Return a difference, its error, and its interval as `-0.01 to 0.05`, each empty where it is not known."""
    size = max(abs(difference.mean), difference.stderr or 0.0)
    places = digits(size) if places is None else places
    error = "" if difference.stderr is None else f"± {difference.stderr:.{places}f}"
    ends = difference.interval
    interval = f"{ends[0]:+.{places}f} to {ends[1]:+.{places}f}" if all(map(math.isfinite, ends)) else ""
    return tuple(text.replace("-", "−") for text in (f"{difference.mean:+.{places}f}", error, interval))  # type: ignore[return-value]


def seeds(counts: Iterable[int]) -> str:
    """Return how many seeds systems have, in words."""
    each = sorted(set(counts))
    if each == [1]:
        return "one seed each"
    return f"{each[0]} seeds each" if len(each) == 1 else f"{each[0]} to {each[-1]} seeds"


def error_note(comparison: Findings) -> str:
    """Say which error ± is."""
    covered = {d.over for d in comparison.differences} | {
        value.over for row in comparison.results.values() for value in row.values() if value.stderr is not None
    }
    said = []
    if BOTH in covered:
        said.append("± is the standard error over prompts and seeds: it covers other prompts and other training runs.")
    if PROMPTS in covered:
        where = "Where one of the systems has a single seed, ±" if BOTH in covered else "±"
        said.append(
            f"{where} is the standard error over prompts: it does not cover how much another training run would differ."
        )
    if SEEDS in covered:
        said.append("Of numbers of the whole set, such as perplexities, ± is over seeds alone.")
    elif NOTHING in covered:
        said.append("Numbers of the whole set, such as perplexities, have no ± from one run.")
    if comparison.differences:
        how = methods((d.over, d.prompts, d.seeds) for d in comparison.differences)
        said.append(
            "Differences are taken prompt by prompt; intervals are of 95%"
            f"{f' ({how})' if how else ''}, each for one difference alone: of twenty that are true zeros, one leaves "
            "out 0."
        )
    lowest = {
        column.key: min(
            (row[column.key].value for row in comparison.results.values() if column.key in row), default=0.0
        )
        for column in comparison.columns
    }
    if estimates := below_zero(lowest):
        said.append(f"{estimates}.")
    return " ".join(said)


def sentences(comparison: Findings) -> list[str]:
    """Say in two sentences who differs in the metric that matters most, and how sure that is."""
    key = comparison.columns[0].key
    found = [d for d in comparison.differences if d.metric == key]
    if not found:
        return []
    told = []
    for against in dict.fromkeys(d.against for d in found):
        each = [f"{d.system} {' '.join(signed(d)[:2]).rstrip()}" for d in found if d.against == against]
        told.append(f"{listed(each)} against {against}")
    unclear = [d.system for d in found if not d.is_clear]
    if len(unclear) == len(found):
        second = "The runs do not tell: the 95% interval" + (" of each holds 0." if len(found) > 1 else " holds 0.")
    elif unclear:
        second = f"For {listed(unclear)} the 95% interval holds 0: there the runs do not tell."
    else:
        second = "The 95% interval" + (" of each leaves out 0." if len(found) > 1 else " leaves out 0.")
    return [f"{key}: {'; '.join(told)}.", second]


def listed(words: Iterable[str]) -> str:
    """Return words as a sentence lists them."""
    each = list(words)
    return each[0] if len(each) == 1 else f"{', '.join(each[:-1])} and {each[-1]}"


def about(comparison: Findings) -> str:
    """Return what was evaluated, on one line."""
    from rl4lms.studies.systems import decoding

    first = comparison.systems[0].evaluations[0]
    task = first.recipe["task"]["name"] if first.recipe["task"] is not None else "data from files"
    how = decoding(first)
    way = f"beam search, {how.num_beams} beams" if how.num_beams > 1 else f"temperature {how.temperature:g}"
    way += f", top-p {how.top_p:g}" * (how.top_p < 1) + f", top-k {how.top_k}" * (how.top_k > 0)
    many = f", {how.completions_per_prompt} completions each" * (how.completions_per_prompt > 1)
    counts = [len(system.runs) for system in comparison.systems if system.runs]
    return f"{task} · {plural(len(first.prompts), f'{first.split} prompt')}{many} · {way} · {seeds(counts)}"


class Sample(NamedTuple):
    """A prompt with what each system wrote: label, completion, its values by metric."""

    prompt: str
    rows: list[tuple[str, str, dict[str, float]]]


def samples(comparison: Findings, most: int) -> Iterator[Sample]:
    """Return the first prompts with the first completion of each system's first seed."""
    firsts = [(system.label, system.evaluations[0].prompts) for system in comparison.systems]
    for name in list(firsts[0][1])[:most]:
        rows = [(label, prompts[name][0]) for label, prompts in firsts]
        keys = [column.key for column in comparison.columns]
        shown = [(label, r["completion"], {k: r[k] for k in keys if r.get(k) is not None}) for label, r in rows]
        yield Sample(rows[0][1]["prompt"], shown)


def headline(values: dict[str, float]) -> str:
    """Return the value that stands beside a text: of the first metric that texts have."""
    return f"{next(iter(values.values())):.2f}" if values else ""


def show(comparison: Findings, console: Console) -> None:
    """Print everything; see `Comparison.show`."""
    from rich.text import Text

    pairs = list(dict.fromkeys((d.system, d.against) for d in comparison.differences))
    console.print(Text(about(comparison), style="dim"))
    if 0 < len(pairs) <= _IN_FULL:
        for system, against in pairs:
            console.print()
            console.print(_pair_table(comparison, system, against))
    else:
        console.print()
        console.print(_means_table(comparison, console.width))
    if len(pairs) > _IN_FULL:
        console.print()
        console.print(_change_table(comparison, pairs, console.width))
    console.print()
    for line in (*sentences(comparison), error_note(comparison), *comparison.notes):
        console.print(Text(line, style="dim"))
    _show_texts(comparison, console)


def _pair_table(comparison: Findings, system: str, against: str) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.title, table.title_justify, table.title_style = Text(f"{system}  against  {against}"), "left", "bold"
    table.add_column("metric", no_wrap=True, overflow="ellipsis", max_width=24)
    for name in (against, system):
        table.add_column(Text(name), justify="right", overflow="ellipsis", no_wrap=True, max_width=12)
    for name in ("difference", "95% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for column in comparison.columns:
        difference = comparison.difference(column.key, system)
        if difference is None:
            continue
        means = [number(comparison.results[name].get(column.key))[0] for name in (against, system)]
        mean, error, interval = signed(difference)
        style = "bold" if difference.is_clear else ""
        table.add_row(
            Text(column.heading.replace("\n", " ")), *means, Text(f"{mean} {error}".rstrip(), style=style), interval
        )
    return table


def _means_table(comparison: Findings, width: int) -> object:
    """Return systems by metrics, as many as there is room for."""
    blocks = [("", comparison.results), ("inside the mask", comparison.masked)]
    rows: list[tuple[str, list[str]]] = []
    for name, results in blocks:
        if name and results:
            rows.append((name, []))
        for label, row in results.items():
            cells = [_narrow(row.get(column.key)) for column in comparison.columns]
            rows.append((f"  {label}" if name else label, cells))
    return _fitting("system", [column.heading for column in comparison.columns], rows, width)


def _change_table(comparison: Findings, pairs: Sequence[tuple[str, str]], width: int) -> object:
    """Return differences by metrics that have an error, as many as there is room for."""
    columns = [c for c in comparison.columns if any(d.metric == c.key and d.stderr for d in comparison.differences)]
    rows = []
    for system, against in pairs:
        found = (comparison.difference(column.key, system) for column in columns)
        cells = ["–" if d is None else _short(f"{d.mean:+.2f}", d.stderr) for d in found]
        rows.append((f"{system} − {against}", cells))
    return _fitting("change", [column.heading for column in columns], rows, width)


def _fitting(first: str, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], width: int) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    longest = min(max(len(label) for label, _ in rows), 32)
    table.add_column(first, vertical="bottom", width=longest)
    room, kept = width - longest, 0
    for place, heading in enumerate(headings):
        lines = heading.replace("_", "_ ").split()
        lines = [*lines[:-2], f"{lines[-2]} {lines[-1]}"] if len(lines) > 1 and lines[-1] in "↑↓" else lines
        wide = max([len(line) for line in lines] + [len(cells[place]) for _, cells in rows if cells])
        if wide + 1 > room:
            break
        table.add_column(Text("\n".join(lines)), justify="right", no_wrap=True, vertical="bottom", width=wide)
        room, kept = room - wide - 1, place + 1
    for label, cells in rows:
        table.add_row(Text(label, style="" if cells else "dim"), *(Text(cell) for cell in cells[:kept]))
    return table


def _narrow(found: Contrast | None) -> str:
    if found is None:
        return "–"
    return _short(f"{found.value:.2f}" if abs(found.value) < 10 else f"{found.value:.1f}", found.stderr)


def _short(mean: str, stderr: float | None) -> str:
    """Return `0.53±.02`."""
    return (mean if stderr is None else f"{mean}±{stderr:.2f}".replace("±0.", "±.")).replace("-", "−")


def _show_texts(comparison: Findings, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    width = min(20, max(len(system.label) for system in comparison.systems))
    few = len(comparison.systems) <= _IN_FULL + 1
    for sample in samples(comparison, TEXTS if few else 1):
        console.print(Text(f"\n{_one_line(sample.prompt)} …", style="dim"))
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=width)
        grid.add_column(justify="right")
        grid.add_column()
        for label, completion, values in sample.rows:
            grid.add_row(Text(label, style="bold"), Text(headline(values), style="dim"), Text(_one_line(completion)))
        console.print(grid)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def markdown(comparison: Findings) -> str:
    """Return everything as Markdown; see `Comparison.to_markdown`."""
    systems, columns = comparison.systems, comparison.columns
    parts = [about(comparison), "\n".join(sentences(comparison))]
    parts.append("## Results\n\n" + _results(comparison, systems, comparison.results))
    if comparison.masked:
        inside = [system for system in systems if system.masked]
        parts.append("## Decoded inside the mask\n\n" + _results(comparison, inside, comparison.masked))
    if comparison.differences:
        rows = []
        for column in columns:
            for d in comparison.differences:
                if d.metric == column.key:
                    mean, error, interval = signed(d)
                    rows.append(
                        [
                            column.heading,
                            d.system,
                            d.against,
                            f"{mean} {error}".rstrip(),
                            interval,
                            str(d.prompts or ""),
                        ]
                    )
        head = ["metric", "system", "against", "difference", "95% interval", "prompts"]
        parts.append("## Differences\n\n" + _markdown_table(head, rows))
    parts += [error_note(comparison), *comparison.notes]
    parts.append("## Texts")
    for sample in samples(comparison, TEXTS):
        lines = [f"- **{_escaped(label)}** {headline(values)} {_escaped(text)}" for label, text, values in sample.rows]
        parts.append(f"{_escaped(sample.prompt)} …\n\n" + "\n".join(lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(comparison: Findings, systems: Sequence[System], results: object) -> str:
    found: dict[str, dict[str, Contrast]] = results  # type: ignore[assignment]
    rows = []
    for system in systems:
        cells = [" ".join(number(found[system.label].get(column.key))).rstrip() for column in comparison.columns]
        rows.append([_escaped(system.label), *cells])
    return _markdown_table(["system", *(column.heading for column in comparison.columns)], rows)


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(text: str) -> str:
    """Return a text of a model so that Markdown shows it and makes nothing of it."""
    plain = _one_line(text).replace("\\", "\\\\")
    for character in "`*_[]<>|#!":
        plain = plain.replace(character, f"\\{character}")
    return plain
