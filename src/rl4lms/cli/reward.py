"""`rl4lms reward train`: fine-tune a classifier that serves as a reward."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EPILOG = "Example:  rl4lms reward train --base distilbert-base-uncased --train sst2.csv --output sentiment --label-names negative,positive"


def train(
    base: Annotated[str, typer.Option(help="Pretrained model: Hub id or folder.")],
    data: Annotated[str, typer.Option("--train", help="Labelled texts: JSONL, JSON, CSV, TSV, Parquet or a Hub id.")],
    output: Annotated[Path, typer.Option(help="Folder to write the classifier to.")],
    test: Annotated[str | None, typer.Option(help="Held-out labelled texts, to report accuracy on.")] = None,
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    label_names: Annotated[str | None, typer.Option(help="Names for the sorted labels, such as negative,positive for 0 and 1.")] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 2.0,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak of a linear schedule.")] = 1e-4,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longer texts are cut.")] = 128,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to train.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Fine-tune a classifier on labelled texts, to be used as reward {name: classifier, model: OUTPUT, label: ...}."""
    from rl4lms.cli import common

    if output.is_dir() and any(output.iterdir()):
        from rl4lms.errors import ConfigError

        raise ConfigError(f"{output}: the folder is not empty; name another --output")
    common.quiet()
    from rl4lms.training.display import Display
    from rl4lms.training.reward_model import train_reward_model

    names = [name.strip() for name in label_names.split(",")] if label_names else None
    with Display(not quiet) as display:
        result = train_reward_model(
            base=base,
            train=data,
            test=test,
            output=output,
            text_column=text_column,
            label_column=label_column,
            label_names=names,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_tokens=max_tokens,
            seed=seed,
            device=device,
            progress=lambda step, of: display.report("reward model", step, of),
        )
    print(f"labels      {', '.join(result['labels'])}\ntrained on  {result['train_rows']} texts")
    if "accuracy" in result:
        print(f"accuracy    {result['accuracy']:.4f} on {result['n']} test texts")
    print(f"use it as   reward: {{name: classifier, model: {output}, label: {result['labels'][-1]}}}")
