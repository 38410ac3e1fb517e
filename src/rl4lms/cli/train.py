"""`rl4lms train`: from a recipe to a trained model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rl4lms.runs.layout import is_run

EPILOG = "Example:  rl4lms train imdb-mini-nlpo rollout.top_p=0.95 seed=1"


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A recipe file, the name of one (rl4lms ls recipes), or a run folder with --resume."
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that replace those of the recipe.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run from its last checkpoint.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings and what they amount to; train nothing.")
    ] = False,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Execute this Python file first, for what it registers (repeat the option)."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train a language model as a recipe says."""
    from rl4lms.cli import common

    common.run_imports(imports)
    resumed = resume and is_run(Path(recipe))
    settings = common.read(Path(recipe) if resumed else common.find_recipe(recipe), overrides or ())
    if dry_run:
        _dry_run(settings, resume)
        return
    common.quiet()
    from rl4lms.errors import Interrupted
    from rl4lms.runs.folder import how_to_go_on, resume_command
    from rl4lms.training.run import run, run_folder

    try:
        result = run(settings, resume=resume, progress=False if quiet else None)
    except Interrupted as stopped:
        how = f"; continue with:\n  {resume_command(stopped.folder)}" if stopped.folder is not None else ""
        print(f"{stopped.args[0]}{how}", file=sys.stderr)
        return
    except KeyboardInterrupt:  # the second one
        print(f"stopped at once; {how_to_go_on(run_folder(settings))}", file=sys.stderr)
        raise typer.Exit(130) from None
    out = common.console()
    if not quiet:
        out.print(common.results_table(f"Evaluation on the {settings.evaluation.split} split", _results(result.folder)))
    out.print(f"run folder  {result.folder}\nmodel       {result.model}", soft_wrap=True, markup=False)


def _results(folder: Path) -> dict[str, dict[str, float]]:
    import json

    results: dict[str, dict[str, float]] = json.loads((folder / "result.json").read_text(encoding="utf-8"))["eval"]
    return {key.removeprefix("eval/"): value for key, value in results.items()}


def _dry_run(settings: object, resume: bool) -> None:
    from rl4lms.checks.dry_run import Line, describe
    from rl4lms.cli import common
    from rl4lms.config import Recipe, dump_recipe

    assert isinstance(settings, Recipe)
    common.quiet()
    lines = describe(settings)
    if resume:
        from rl4lms.runs.folder import last_good, refuse_nothing_to_resume
        from rl4lms.training.run import run_folder

        folder = run_folder(settings)
        refuse_nothing_to_resume(folder)
        lines.insert(1, Line("continues from", str(last_good(folder) or "the start, since no checkpoint is usable")))
    print(dump_recipe(settings), end="")
    print("\n# What this amounts to")
    width = max(len(line.name) for line in lines)
    for line in lines:
        print(f"# {line.name:<{width}}  {line.value}")
