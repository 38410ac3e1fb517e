"""`rl4lms reward train`: fine-tune a model that serves as a reward."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

EPILOG = (
    "Example:  rl4lms reward train --base distilbert-base-uncased --train preferences.jsonl --output helpful "
    "--curve 0.1,0.3"
)


def train(
    base: Annotated[str, typer.Option(help="Pretrained model: Hub id or folder of an encoder or decoder.")],
    data: Annotated[
        str, typer.Option("--train", help="Labels, ratings or preferences: JSONL, JSON, CSV, TSV, Parquet or a Hub id.")
    ],
    output: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    test: Annotated[
        str | None, typer.Option(help="Held-out data to report on. Without it a part of --train is held out.")
    ] = None,
    kind: Annotated[
        Literal["labels", "ratings", "preferences"] | None,
        typer.Option(
            help="What the rows are; by default their columns say it.",
            show_default=False,
        ),
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    rating_column: Annotated[
        str, typer.Option(help="Column with the rating; several of one text are averaged.")
    ] = "rating",
    group_column: Annotated[
        str | None,
        typer.Option(
            help="Rows with the same value are held out together; by default those with the same prompt.",
            show_default=False,
        ),
    ] = None,
    join: Annotated[
        str, typer.Option(help="Put between prompt and text; without it they follow each other as they are.")
    ] = "",
    label_names: Annotated[
        str | None, typer.Option(help="Names for the sorted labels, such as negative,positive for 0 and 1.")
    ] = None,
    min_gap: Annotated[
        float | None,
        typer.Option(help="Make preferences of ratings: pairs within a group whose ratings differ by this or more."),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(help="Share held out where there is no --test; 0: none; by default 0.1.", show_default=False),
    ] = None,
    curve: Annotated[
        str | None, typer.Option(help="Learning curve: also train on these shares of the data, such as 0.1,0.3.")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 2.0,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak of a linear schedule.")] = 1e-4,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longer texts are cut.")] = 128,
    truncation_side: Annotated[Literal["left", "right"], typer.Option(help="Which end is cut.")] = "left",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to train.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Fine-tune a reward model on labels (text, label), ratings (text, rating) or preferences (TRL's format: prompt,
    chosen, rejected).

    Writes an HF folder with a model card, a calibration plot and the numbers on held-out data.
    """
    import json

    from rl4lms.cli import common
    from rl4lms.errors import ConfigError

    if output.is_dir() and any(output.iterdir()):  # quickly; that it can be written is tried later
        raise ConfigError(f"{output}: the folder is not empty; name another --output")
    try:
        shares = [float(part) for part in curve.split(",")] if curve else []
    except ValueError as error:
        raise ConfigError(f"--curve {curve}: name shares of the data between 0 and 1, such as 0.1,0.3") from error
    _refuse_missing(data, test)
    common.quiet()
    from rl4lms.runs.display import Display
    from rl4lms.supervised.reward_model import train_reward_model
    from rl4lms.supervised.reward_rows import Columns

    names = [name.strip() for name in label_names.split(",")] if label_names else None
    with Display(not quiet) as display:
        train_reward_model(
            base=base,
            train=data,
            test=test,
            output=output,
            kind=kind,
            columns=Columns(text=text_column, label=label_column, rating=rating_column, group=group_column, join=join),
            label_names=names,
            min_gap=min_gap,
            holdout=holdout,
            curve=shares,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_tokens=max_tokens,
            truncation_side=truncation_side,
            seed=seed,
            device=device,
            progress=lambda step, of: display.report("reward model", step, of),
        )
    about = json.loads((output / "reward_model.json").read_text(encoding="utf-8"))
    _print(about)
    print(f"card        {output / 'README.md'}")
    print(f"use it as   {about['use']}")


def _refuse_missing(*paths: str | None) -> None:
    """Tell of a file that is not there before anything that imports for seconds."""
    from rl4lms.data.rows import SUFFIXES, open_rows

    for path in paths:
        if path is not None and path.lower().endswith(SUFFIXES) and not Path(path).exists():
            open_rows(path)  # raises what reading it would


def _print(about: dict[str, Any]) -> None:
    """Print what is known about the model, from its `reward_model.json`."""
    from rl4lms.supervised.reward_report import shown

    result = about["result"]
    if "labels" in result:
        print(f"labels      {', '.join(result['labels'])}")
    print(f"trained on  {result['train_rows']} rows")
    if "join" in about:
        print(f"texts       prompt + {about['join']!r} + text")
    if "note" in result:
        print(f"note        {result['note']}")
    if "accuracy" in result:
        spread = f" ± {result['accuracy_stderr']:.4f}" if result.get("accuracy_stderr") is not None else ""
        print(f"accuracy    {shown(result['accuracy'])}{spread} on {result['n']} held-out rows")
        names = {"auc": "ROC AUC", "spearman": "Spearman"}
        names["calibration_error"] = "rms error" if about["kind"] == "ratings" else "calibration error"
        for name, text in names.items():
            if result.get(name) is not None:
                print(f"{text:<11} {result[name]:.4f}")
    for point in result.get("curve", []):
        print(f"  {point['rows']:>8} rows  accuracy {shown(point['accuracy'])}")
