"""`rl4lms ls`: what there is, by name."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

EPILOG = "Example:  rl4lms ls rewards"

Kind = Literal["rewards", "metrics", "tasks", "algorithms", "recipes"]


def ls(
    kind: Annotated[
        Kind | None,
        typer.Argument(
            metavar="KIND", help="Only these: rewards, metrics, tasks, algorithms or recipes.", show_default=False
        ),
    ] = None,
) -> None:
    """List rewards, metrics, tasks, algorithms and recipes, with where they come from."""
    from rich.table import Table
    from rich.text import Text

    from rl4lms.cli import common
    from rl4lms.plugins import registry

    out = common.console()
    registries = {
        "rewards": registry.rewards,
        "metrics": registry.metrics,
        "tasks": registry.tasks,
        "algorithms": registry.algorithms,
    }
    for name in [kind] if kind else [*registries, "recipes"]:
        table = Table(title=name, title_style="bold", title_justify="left", box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column()
        table.add_column(style="dim", overflow="fold")
        rows = _recipes() if name == "recipes" else _components(registries[name])
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        out.print(table)
        if not kind:
            out.print()
    if kind in (None, "rewards"):
        out.print("Any metric can also be a reward. More about one of them: rl4lms show NAME")


def _components(kind: object) -> list[tuple[str, str, str]]:
    from rl4lms.plugins.registry import Registry

    assert isinstance(kind, Registry)
    return [(name, kind.entry(name).summary, _origin(kind.origin(name))) for name in kind.names()]


def _origin(origin: str) -> str:
    """Return the module for what comes with the package; in full for everything else."""
    return origin.removeprefix("rl4lms.").partition(":")[0] if origin.startswith("rl4lms.") else origin


def _recipes() -> list[tuple[str, str, str]]:
    from rl4lms import recipes

    return [(name, headline(recipes.FOLDER / f"{name}.yaml"), "") for name in recipes.names()]


def headline(path: object) -> str:
    """Return the first comment line of a recipe."""
    from pathlib import Path

    assert isinstance(path, Path)
    with path.open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()
