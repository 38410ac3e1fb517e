"""What the demo shows: a table that fits a terminal, texts before and after, an HTML report, and the numbers as
JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from rl4lms import reporting
from rl4lms.studies.demo_systems import GAIN_KEYS, Outcome

_SHOWN_PROMPTS = 3
_REPORT_PROMPTS = 8
_MASKED = "  inside its mask"
_TITLE = "RL on language models: the comparison of the RL4LMs paper in miniature"


class _Column(NamedTuple):
    """A metric: heading in the report and what it is; heading in the terminal, None where it is left out there."""

    key: str
    heading: str
    meaning: str
    narrow: str | None = None


_COLUMNS = (
    _Column(
        "sentiment",
        "sentiment ↑",
        "`positive` under a second classifier: other data, seed and shape than the reward; 0 to 1",
        "senti-\nment ↑",
    ),
    _Column(
        "gold_sentiment",
        "gold label ↑",
        "the grammar's own label of prompt and completion; 0.5 where no sentence has one",
        "gold\nlabel ↑",
    ),
    _Column(
        "derivable",
        "derivable ↑",
        "share of the sentences ending in the completion that the grammar derives",
        "deriv-\nable ↑",
    ),
    _Column(
        "perplexity", "perplexity ↓", "of the completions under a judge LM: other seed and data, clean text", "ppl\n↓"
    ),
    _Column(
        "reference_perplexity",
        "reference perplexity ↓",
        "of the true rest of the reviews under the policy: rises when the language is forgotten",
        "ref.\nppl ↓",
    ),
    _Column("distinct-2", "distinct-2 ↑", "different bigrams / bigrams"),
    _Column("kl_per_sequence", "KL per sequence", "to the model that RL started from, nats, full softmax", "KL\nnats"),
    _Column("completion_tokens", "tokens", "length of the completions"),
    _Column(
        "reward",
        "reward (optimised)",
        "the classifier that RL optimises: no evidence, it is what was trained on",
        "reward\n(opt.)",
    ),
)


#: Title, log key, unit, caption.
_CURVES = (
    (
        "Training reward",
        "rollout/score",
        "mean probability of positive",
        "What RL optimises, on the completions it trains on. NLPO draws its own inside its mask.",
    ),
    (
        "Distance from the start",
        "rollout/kl_per_sequence",
        "KL per sequence (nats)",
        "To the model that RL started from, full softmax.",
    ),
    (
        "Entropy",
        "rollout/entropy",
        "nats per token",
        "Of the distribution that tokens are drawn from: for NLPO, inside the mask.",
    ),
    ("NLPO's mask", "train/mask_size", "tokens allowed", "Mean size of the mask over the tokens of a rollout."),
)


def error_note(about: Mapping[str, Any]) -> str:
    """Return what ± means here."""
    return (
        f"± is the standard error over the {about['prompts']} evaluation prompts. One seed and one run per system: "
        "it does not cover how much another training run would differ."
    )


def rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, Mapping[str, Mapping[str, Any]]]]:
    """Label and results of every row: each system, and below it the same policy decoded inside its mask."""
    for outcome in outcomes:
        yield outcome.system.label, outcome.results
        if outcome.masked:
            yield _MASKED, outcome.masked


def cell(result: Mapping[str, Any] | None, digits: int | None = None) -> str:
    """`0.531 ± 0.012`; without an error where the number is one of the whole set, a dash where there is none."""
    if result is None or result["mean"] is None:
        return "–"
    digits = digits if digits is not None else 3 if abs(result["mean"]) < 2 else 1 if abs(result["mean"]) >= 10 else 2
    mean = f"{result['mean']:.{digits}f}"
    return mean if result["stderr"] is None else f"{mean} ± {result['stderr']:.{digits}f}"


def show(console: Console, outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> None:
    """Table and texts for an 80-column terminal."""
    table = RichTable(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("system", vertical="bottom", no_wrap=True)
    shown = [column for column in _COLUMNS if column.narrow]
    for column in shown:
        table.add_column(column.narrow or "", justify="right", no_wrap=True, vertical="bottom")
    for label, results in rows(outcomes):
        cells = [_narrow(results.get(c.key), error=c.key != "kl_per_sequence") for c in shown]
        style = "dim" if label == _MASKED else ""
        table.add_row(Text(label), *(Text(text) for text in cells), style=style)
    console.print()
    console.print(table)
    console.print()
    console.print(Text(error_note(about), style="dim"))
    console.print(
        Text(
            "“reward (opt.)” is what RL optimised and no evidence; the other columns were never a reward.", style="dim"
        )
    )
    console.print(
        Text("Decoding inside the mask changes untrained models, too: compare such rows with each other.", style="dim")
    )
    console.print()
    console.print(_change_table(outcomes))
    _show_texts(console, outcomes)
    if about["quick"]:
        console.print(
            Text("\n--quick: far too short for RL to show anything; run without it for the comparison.", style="yellow")
        )


def _narrow(result: Mapping[str, Any] | None, error: bool) -> str:
    if result is None or result["mean"] is None:
        return "–"
    if result["stderr"] is None or not error:
        return f"{result['mean']:.2f}" if abs(result["mean"]) < 10 else f"{result['mean']:.1f}"
    return f"{result['mean']:.2f}±{result['stderr']:.2f}".replace("±0.", "±.")


def _change_table(outcomes: Sequence[Outcome]) -> RichTable:
    """Return each trained system against its starting point."""
    labels = {outcome.system.key: outcome.system.label for outcome in outcomes}
    table = RichTable(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    shown = {"sentiment": "sentiment", "gold_sentiment": "gold label", "derivable": "derivable"}
    for heading in ("change", "against", *shown.values()):
        table.add_column(heading, justify="right" if heading in shown.values() else "left", no_wrap=True)
    for outcome in outcomes:
        if outcome.gains:
            table.add_row(
                outcome.system.label,
                labels[outcome.system.start or ""],
                *(_signed(outcome.gains[key]) for key in shown),
            )
    return table


def _signed(gain: tuple[float, float]) -> str:
    return f"{gain[0]:+.2f}±{gain[1]:.2f}".replace("±0.", "±.")


def _show_texts(console: Console, outcomes: Sequence[Outcome]) -> None:
    console.print(
        Text(f"\nThe first {_SHOWN_PROMPTS} test prompts, before and after: sentiment and completion", style="bold")
    )
    chosen = [outcome for outcome in outcomes if outcome.system.key in ("zero-shot", "nlpo", "supervised-nlpo")]
    for i in range(_SHOWN_PROMPTS):
        console.print(Text(f"\n{chosen[0].samples[i]['prompt']} …", style="dim"))
        for outcome in chosen:
            sample = outcome.samples[i]
            grid = RichTable.grid(padding=(0, 1))
            grid.add_column(width=15)
            grid.add_column(width=4)
            grid.add_column()
            grid.add_row(
                Text(outcome.system.label, style="bold"),
                Text(f"{sample['sentiment']:.2f}", style="dim"),
                Text(sample["completion"]),
            )
            console.print(grid)


def write(output: Path, outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> None:
    """Write `report.html` and `results.json`."""
    systems = {
        outcome.system.key: {
            "label": outcome.system.label,
            "start": outcome.system.start,
            "results": outcome.results,
            **({"inside_its_mask": outcome.masked} if outcome.masked else {}),
            **(
                {"gain_over_start": {k: {"mean": m, "stderr": e} for k, (m, e) in outcome.gains.items()}}
                if outcome.gains
                else {}
            ),
        }
        for outcome in outcomes
    }
    note = error_note(about)
    numbers = json.dumps(
        {**about, "error": note, "metrics": {column.key: column.meaning for column in _COLUMNS}, "systems": systems},
        indent=1,
        ensure_ascii=False,
    )
    (output / "results.json").write_text(numbers + "\n", encoding="utf-8")
    (output / "report.html").write_text(html(outcomes, about), encoding="utf-8")


def html(outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> str:
    """Return the report as one HTML file."""
    subtitle = (
        f"Task imdb, mini edition · GPT-2 of two layers · one seed · {about['prompts']} test prompts · "
        f"{about['seconds']:.0f} s"
    )
    quick = (
        [reporting.Paragraph("This is a --quick run: far too short for RL to show anything.")] if about["quick"] else []
    )
    results = reporting.Table(
        ["system", *(column.heading for column in _COLUMNS)],
        [
            [label, *(cell(found.get(c.key), 2 if c.key == "kl_per_sequence" else None) for c in _COLUMNS)]
            for label, found in rows(outcomes)
        ],
        note=error_note(about)
        + " “inside its mask” is the same model, decoded within NLPO's top-p mask: for a trained "
        "model the one that its training ended with, for a starting point the one that NLPO starts with (no ± is kept "
        "there). "
        "Decoding inside it changes every model, trained or not, so compare such rows with each other.",
    )
    sections = [
        reporting.Section("Results", [*quick, results]),
        reporting.Section("Change against the starting point", [_gain_table(outcomes)]),
        reporting.Section("Learning curves", _charts(outcomes)),
        reporting.Section("Texts before and after", [_text_table(outcomes)]),
        reporting.Section("How it was measured", _method(about)),
    ]
    return reporting.page(_TITLE, sections, subtitle=subtitle)


def _gain_table(outcomes: Sequence[Outcome]) -> reporting.Table:
    labels = {outcome.system.key: outcome.system.label for outcome in outcomes}
    names = {column.key: column.heading for column in _COLUMNS}
    found = [
        [
            f"{o.system.label} − {labels[o.system.start or '']}",
            *(f"{m:+.3f} ± {e:.3f}".replace("-", "−") for m, e in (o.gains[key] for key in GAIN_KEYS)),
        ]
        for o in outcomes
        if o.gains
    ]
    note = (
        "Differences prompt by prompt, both systems drawing the same random numbers; ± is their standard error "
        "over prompts."
    )
    return reporting.Table(["systems", *(names[key] for key in GAIN_KEYS)], found, note=note)


def _charts(outcomes: Sequence[Outcome]) -> list[reporting.Chart]:
    charts = []
    for title, key, unit, caption in _CURVES:
        # Systems without the number keep their place, so that a colour means the same system in every chart.
        series = {o.system.label: [(line["step"], line.get(key)) for line in o.curve] for o in outcomes if o.curve}
        if series:
            charts.append(reporting.line_chart(title, series, x_label="iteration", y_label=unit, caption=caption))
    return charts


def _text_table(outcomes: Sequence[Outcome]) -> reporting.Table:
    found = []
    for i in range(min(_REPORT_PROMPTS, len(outcomes[0].samples))):
        found.append([f"{outcomes[0].samples[i]['prompt']} …"])
        for outcome in outcomes:
            sample = outcome.samples[i]
            found.append(
                [
                    outcome.system.label,
                    sample["completion"],
                    f"{sample['sentiment']:.2f}",
                    f"{sample['gold_sentiment']:.1f}",
                ]
            )
    caption = (
        f"The first {_REPORT_PROMPTS} prompts of the test split, not chosen. Decoded without the mask at temperature 1."
    )
    return reporting.Table(["system", "completion", "sentiment", "gold label"], found, caption, numeric=False)


def _method(about: Mapping[str, Any]) -> list[reporting.Block]:
    meanings = [[column.heading, column.meaning] for column in _COLUMNS]
    return [
        reporting.Table(["column", "what it is"], meanings, numeric=False),
        reporting.Paragraph(
            "Every system is evaluated with the model that its training ended with, sampling at temperature 1 without "
            "the mask, with the "
            "same random numbers. The warm start is maximum likelihood on the positive reviews; RL after it starts "
            "from that model and is "
            "anchored to it. These commands made the runs; the small models that they need are trained once and cached:"
        ),
        reporting.Preformatted("\n".join(about["commands"])),
        reporting.Paragraph(
            f"rl4lms {about['rl4lms']}, Python {about['python']}; {about['seconds']:.0f} s in all. Seconds of each "
            f"job: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in about["seconds_by_job"].items()) + "."
        ),
    ]
