"""`rl4lms doctor`: what could be wrong with a recipe, before it costs hours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example:  rl4lms doctor recipe.yaml optimizer.learning_rate=1e-5"

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


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
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from rl4lms.checks.doctor import examine
    from rl4lms.runs.display import Display

    out = common.console()
    counts = {"ok": 0, "warn": 0, "fail": 0}
    with tempfile.TemporaryDirectory(prefix="rl4lms-doctor-") as folder, Display(not quiet, texts=False) as display:
        for verdict in examine(settings, Path(folder), rows=rows, display=display):
            counts[verdict.status] += 1
            grid = Table.grid(padding=(0, 1))
            grid.add_column(width=4)
            grid.add_column(width=16)
            grid.add_column()
            grid.add_row(Text(verdict.status, _STYLES[verdict.status]), Text(verdict.name), Text(verdict.figure))
            out.print(grid)
            if verdict.why:
                out.print(Padding(Text(verdict.why), (0, 0, 0, 5)))
    out.print(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
    if counts["fail"]:
        raise typer.Exit(1)
