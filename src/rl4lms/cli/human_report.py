"""`rl4lms human report`, `export`, `to-reward` and `power`: what people said, and what it is good for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rl4lms.human_eval.table import Answered

REPORT_EPILOG = (
    "Examples:  rl4lms human report studies/commongen --min-checks 0.7  ·  "
    "rl4lms human report turk.csv --format html --output report.html"
)
EXPORT_EPILOG = "Example:  rl4lms human export studies/commongen --format trl --output preferences.jsonl"
TO_REWARD_EPILOG = (
    "Example:  rl4lms human to-reward studies/commongen --base distilbert-base-uncased --output liked --epochs 3"
)
POWER_EPILOG = (
    "Examples:  rl4lms human power --difference 0.3 --noise 0.8 --interaction 0.4 --raters 3  ·  "
    "rl4lms human power --difference 0.3 --study studies/pilot"
)

Place = Annotated[
    str,
    typer.Argument(
        metavar="STUDY|FILE",
        help="Folder with study.sqlite, database file or URL; or a file of answers (CSV, TSV, JSONL, JSON, Parquet).",
    ),
]
MinChecks = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Leave out raters who got a smaller share of their checks of attention right.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file to write; by default it is printed.", show_default=False)
]


def report(
    study: Place,
    format: Annotated[
        Literal["text", "csv", "latex", "json", "html", "leaderboard"],
        typer.Option("--format", help="For people, as numbers, for a paper, as a page, or as scores of a leaderboard."),
    ] = "text",
    output: Output = None,
    min_checks: MinChecks = None,
    confidence: Annotated[float, typer.Option(help="Mass of all intervals, between 0 and 1.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of resampling.")] = 0,
) -> None:
    """Say what people found: scores, preferences, agreement, raters, power, and how well metrics agree with people.

    A study that is not finished is reported as far as it is.
    """
    from rl4lms.cli import common
    from rl4lms.errors import ConfigError
    from rl4lms.human_eval.analysis import analyse
    from rl4lms.human_eval.reading import read_answered

    if not 0 < confidence < 1:
        raise ConfigError(f"--confidence {confidence:g}: it lies between 0 and 1, such as 0.95")
    answered = read_answered(study)
    analysis = analyse(answered, min_checks=min_checks, confidence=confidence, seed=seed)
    if format == "text" and output is None:
        from rl4lms.human_eval.report import show

        show(analysis, common.console())
        return
    if format == "html" and output is None:
        raise ConfigError("--format html: a page is a file; name it with --output")
    _write(_written(format, answered, analysis), output)


def _written(format: str, answered: Answered, analysis: object) -> str:
    from rl4lms.human_eval import leaderboard, report_page
    from rl4lms.human_eval import report as reports
    from rl4lms.human_eval.analysis import Analysis

    assert isinstance(analysis, Analysis)
    if format == "html":
        return report_page.html(analysis, answered)
    if format == "leaderboard":
        return leaderboard.as_text(leaderboard.human_scores(analysis))
    if format == "text":
        from io import StringIO

        from rich.console import Console

        out = StringIO()
        reports.show(analysis, Console(file=out, width=80, highlight=False))
        return out.getvalue()
    return {"csv": reports.as_csv, "latex": reports.latex, "json": reports.as_json}[format](analysis)


def _write(content: str | bytes, output: Path | None) -> None:
    """Write a file, whole or not at all, or print it."""
    from rl4lms.runs.storage import temporary_of

    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    new = temporary_of(output)
    try:
        new.write_bytes(data)
        new.replace(output)
    finally:
        new.unlink(missing_ok=True)
    print(f"written to {output}")


def export(
    study: Place,
    format: Annotated[
        Literal["csv", "jsonl", "parquet", "trl", "argilla", "label-studio", "potato"],
        typer.Option("--format", help="A row for each answer, preferences for training, or another tool's file."),
    ] = "csv",
    output: Output = None,
    gap: Annotated[
        float, typer.Option(help="Of trl, from ratings: by how much the means of two texts must differ.")
    ] = 1.0,
    min_checks: MinChecks = None,
) -> None:
    """Write the answers of a study, systems named. Raters who withdrew are not there."""
    from rl4lms.errors import ConfigError
    from rl4lms.human_eval.exports import export as exported
    from rl4lms.human_eval.reading import read_answered
    from rl4lms.human_eval.table import kept

    if format == "parquet" and output is None:
        raise ConfigError("--format parquet: it is no text; name a file with --output")
    answered, excluded = kept(read_answered(study), min_checks)
    if excluded.raters:
        names = ", ".join(map(str, excluded.raters))
        print(f"left out for their checks of attention: raters {names}", file=sys.stderr)
    _write(exported(answered, format, gap=gap), output)


def to_reward(
    study: Place,
    base: Annotated[str, typer.Option(help="Pretrained model: Hub id or folder of an encoder or decoder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write: the model, its data, a report.")],
    kind: Annotated[
        Literal["preferences", "ratings"], typer.Option(help="Pairs of texts, or the mean ratings of a Likert form.")
    ] = "preferences",
    question: Annotated[
        str | None,
        typer.Option(help="Of a Likert form; by default the mean over its scales.", show_default=False),
    ] = None,
    gap: Annotated[float, typer.Option(help="Pairs from ratings: by how much means must differ.")] = 1.0,
    holdout: Annotated[float, typer.Option(help="Share of the prompts that are held out.")] = 0.2,
    join: Annotated[str, typer.Option(help="Put between prompt and text.")] = " ",
    min_checks: MinChecks = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 2.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak of a linear schedule.")] = 1e-4,
    max_tokens: Annotated[int, typer.Option(min=8, help="Longer texts are cut.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Of the split and the training.")] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to train.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train a reward model on what people said, and say how well it agrees with raters of prompts it has not seen."""
    from rl4lms.cli import common
    from rl4lms.human_eval.reading import read_answered
    from rl4lms.human_eval.table import kept
    from rl4lms.human_eval.to_reward import to_reward as train

    answered, _ = kept(read_answered(study), min_checks)
    common.quiet()
    from rl4lms.runs.display import Display

    with Display(not quiet) as display:
        made = train(
            answered,
            base,
            output,
            kind=kind,
            question=question,
            gap=gap,
            holdout=holdout,
            join=join,
            seed=seed,
            device=device,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_tokens=max_tokens,
            progress=lambda step, of: display.report("reward model", step, of),
        )
    print(f"trained on  {made.train_rows} rows of {made.train_prompts} prompts")
    print(f"held out    {made.test_rows} rows of {made.test_prompts} prompts, {made.judgements} choices of raters")
    print(f"model       agrees with a rater in {_share(made.model)}")
    ceiling = "not known: no two raters judged the same texts" if made.people is None else _share(made.people)
    print(f"people      agree with each other in {ceiling}")
    print(f"use it as   {made.use}")


def _share(found: object) -> str:
    from rl4lms.stats.base import Estimate

    assert isinstance(found, Estimate)
    return f"{100 * found.value:.1f} % (95 %: {100 * found.low:.1f} to {100 * found.high:.1f})"


def power(
    difference: Annotated[float, typer.Option(help="Of two systems' means, in points of the scale.")],
    study: Annotated[
        str | None,
        typer.Option(help="Measure the noise in this study or file, of every question.", show_default=False),
    ] = None,
    noise: Annotated[
        float, typer.Option(help="Standard deviation of a rater's ratings of one text, without --study.")
    ] = 0.8,
    interaction: Annotated[
        float, typer.Option(help="Standard deviation over prompts of a system's advantage, without --study.")
    ] = 0.4,
    raters: Annotated[int, typer.Option(min=1, help="Of each item.")] = 3,
    items: Annotated[
        int | None, typer.Option(min=2, help="Also say the power of a study with so many prompts.", show_default=False)
    ] = None,
    systems: Annotated[int, typer.Option(min=2, help="Whose pairs are all tested.")] = 2,
    target: Annotated[float, typer.Option("--power", help="Probability of finding the difference.")] = 0.8,
) -> None:
    """Say how many prompts a study needs to find a difference of two systems."""
    from rl4lms.errors import DataError
    from rl4lms.human_eval.needed import Noise
    from rl4lms.stats.power import items_for_ratings, power_of_ratings

    pairs = systems * (systems - 1) // 2
    measured: dict[str, Noise | str] = {"": Noise(noise, interaction, 0, raters, pairs)}
    if study is not None:
        from rl4lms.human_eval.analysis import noise_of
        from rl4lms.human_eval.reading import read_answered

        measured = dict(noise_of(read_answered(study)))
    for key, one in measured.items():
        if isinstance(one, str):
            raise DataError(f"{study}: {key}: {one}")
        about = {"noise": one.noise, "interaction": one.interaction, "comparisons": pairs}
        count = items_for_ratings(difference, raters, power=target, **about)  # type: ignore[arg-type]
        name = f"{key}: " if key else ""
        print(f"{name}noise {one.noise:.2f}, interaction {one.interaction:.2f}")
        print(f"{name}{count:,} prompts, each text rated by {raters}, find {difference:g} with a power of {target:g}")
        if items is not None:
            found = power_of_ratings(difference, items, raters, **about)  # type: ignore[arg-type]
            print(f"{name}{items:,} prompts find it with a power of {found:.2f}")
