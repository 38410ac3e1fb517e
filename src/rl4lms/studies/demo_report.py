"""What the demo shows beside the comparison of its runs: what the metrics are, and how it was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from rl4lms import reporting
from rl4lms.stats.paired import Contrast
from rl4lms.studies import compare_page
from rl4lms.studies.compare import Comparison
from rl4lms.studies.compare_text import error_note
from rl4lms.studies.demo_systems import SYSTEMS

_TITLE = "RL on language models: the comparison of the RL4LMs paper in miniature"
_ONE_SEED = "One seed and one run per system."
_QUICK = "This is a --quick run: far too short for RL to show anything."


def show(console: Console, comparison: Comparison, about: Mapping[str, Any]) -> None:
    """Print tables and texts for an 80-column terminal."""
    console.print()
    comparison.show(console)
    console.print(
        Text(
            f"\n{_ONE_SEED} “reward (optimised)” is what RL optimised and no evidence; the other columns were never a "
            "reward. Decoding inside the mask changes untrained models, too: compare such rows with each other.",
            style="dim",
        )
    )
    if about["quick"]:
        console.print(Text(f"\n{_QUICK} Run without it for the comparison.", style="yellow"))


def write(output: Path, comparison: Comparison, about: Mapping[str, Any]) -> None:
    """Write `report.html` and `results.json`."""
    systems = {}
    for system in SYSTEMS:
        differences = [d for d in comparison.differences if d.system == system.label]
        systems[system.key] = {
            "label": system.label,
            "start": system.start,
            "results": _numbers(comparison.results[system.label]),
        }
        if system.label in comparison.masked:
            systems[system.key]["inside_its_mask"] = _numbers(comparison.masked[system.label])
        if differences:
            systems[system.key]["gain_over_start"] = {d.metric: asdict(d) for d in differences if d.stderr is not None}
    meanings = {column.key: column.meaning for column in comparison.columns}
    numbers = {**about, "error": f"{error_note(comparison)} {_ONE_SEED}", "metrics": meanings, "systems": systems}
    (output / "results.json").write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (output / "report.html").write_text(html(comparison, about), encoding="utf-8")


def _numbers(row: Mapping[str, Contrast]) -> dict[str, Any]:
    return {key: {"mean": c.value, "stderr": c.stderr, "n": c.prompts} for key, c in row.items()}


def html(comparison: Comparison, about: Mapping[str, Any]) -> str:
    """Return the report as one HTML file."""
    prompts = len(comparison.systems[0].evaluations[0].prompts)
    subtitle = (
        f"Task imdb, mini edition · GPT-2 of two layers · one seed · {prompts} test prompts · {about['seconds']:.0f} s"
    )
    subtitle += f" · {_QUICK}" if about["quick"] else ""
    method = reporting.Section("How it was measured", _method(comparison, about))
    return compare_page.html(comparison, _TITLE, subtitle, [method])


def _method(comparison: Comparison, about: Mapping[str, Any]) -> list[reporting.Block]:
    meanings = [[column.heading, column.meaning] for column in comparison.columns]
    return [
        reporting.Table(["column", "what it is"], meanings, numeric=False),
        reporting.Paragraph(
            "Every system is evaluated with the model that its training ended with, sampling at temperature 1 without "
            "the mask, with the same random numbers. The warm start is maximum likelihood on the positive reviews; RL "
            "after it starts from that model and is anchored to it. These commands made the runs; the small models "
            "that they need are trained once and cached:"
        ),
        reporting.Preformatted("\n".join(about["commands"])),
        reporting.Paragraph(
            f"rl4lms {about['rl4lms']}, Python {about['python']}; {about['seconds']:.0f} s in all. Seconds of each "
            f"job: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in about["seconds_by_job"].items()) + "."
        ),
    ]
