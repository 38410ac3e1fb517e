"""`rl4lms doctor`: what could be wrong with a recipe, before it costs hours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example:  rl4lms doctor recipe.yaml optimizer.learning_rate=1e-5"


def doctor(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of one (rl4lms ls recipes).")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that replace those of the recipe.")
    ] = None,
    rows: Annotated[int, typer.Option(min=2, help="Prompts of the iteration that is tried.")] = 32,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Execute this Python file first, for what it registers (repeat the option)."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Try one iteration on a throwaway copy and say what is off. Exit code 1 if a check fails."""
    import tempfile

    from rl4lms.cli import common

    common.run_imports(imports)
    settings = common.read(common.find_recipe(recipe), overrides or ())
    common.quiet()
    from rl4lms.checks.doctor import examine
    from rl4lms.runs.display import Display

    with tempfile.TemporaryDirectory(prefix="rl4lms-doctor-") as folder, Display(not quiet, texts=False) as display:
        failed = common.show_verdicts(examine(settings, Path(folder), rows=rows, display=display))
    if failed:
        raise typer.Exit(1)
