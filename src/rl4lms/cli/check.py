"""`rl4lms check task`: the data of a task, before anything is trained on it."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = "Examples:  rl4lms check task commongen  ·  rl4lms check task totto task.edition=full task.data_dir=totto_data"


def check_task(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|RECIPE", help="A task (rl4lms ls tasks), or a recipe that names one or has data."),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Settings of a recipe, such as task.edition=full or model.tokenizer=gpt2."
        ),
    ] = None,
) -> None:
    """Check the data of a task: ids, empty texts, splits that share prompts or documents, rows as published, lengths,
    and that references score as they should. Exit code 1 if a check fails.
    """
    from rl4lms.cli import common

    recipe = common.task_recipe(name, settings or ())
    common.quiet()
    from rl4lms.checks.task import check_task as examine

    if common.show_verdicts(examine(recipe)):
        raise typer.Exit(1)
