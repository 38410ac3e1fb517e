"""`rl4lms ls`: what there is, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = "Example:  rl4lms ls rewards  ·  rl4lms ls runs"

Kind = Literal["rewards", "metrics", "tasks", "algorithms", "recipes", "runs"]


def ls(
    kind: Annotated[
        Kind | None,
        typer.Argument(
            metavar="KIND",
            help="Only these: rewards, metrics, tasks, algorithms, recipes; or runs.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="Of runs: where they are; by default runs/.", show_default=False),
    ] = None,
) -> None:
    """List rewards, metrics, tasks, algorithms and recipes, with where they come from; or the runs in a folder."""
    from rich.table import Table
    from rich.text import Text

    from rl4lms.cli import common
    from rl4lms.errors import ConfigError
    from rl4lms.plugins import registry

    if folder is not None and kind != "runs":
        raise ConfigError(f"{folder}: a folder is listed with: rl4lms ls runs {folder}")
    out = common.console()
    if kind == "runs":
        _runs(out, folder or Path("runs"))
        return
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


def _runs(out: Console, folder: Path) -> None:
    """One line for each run below a folder, the last one first."""
    from rich.table import Table
    from rich.text import Text

    from rl4lms.errors import ConfigError
    from rl4lms.runs.layout import CONFIG_FILE

    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: there is no such folder; name the one that your runs are in: rl4lms ls runs FOLDER"
        )
    files = sorted(folder.glob(f"**/{CONFIG_FILE}"), key=lambda file: file.parent.stat().st_mtime, reverse=True)
    if not files:
        out.print(f"no runs in {folder}", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "algorithm", "iterations", "reward", ""):
        table.add_column(column, overflow="fold")
    for file in files:
        table.add_row(*(Text(cell) for cell in _run(file.parent, folder)))
    out.print(table)
    out.print("reward: of the evaluations, first → last. More: rl4lms report RUN")


def _run(run: Path, folder: Path) -> tuple[str, ...]:
    from rl4lms.cli.common import number
    from rl4lms.config.reader import read_file
    from rl4lms.errors import Rl4lmsError
    from rl4lms.runs.history import read_history
    from rl4lms.runs.layout import CONFIG_FILE, RESULT_FILE

    name = str(run.relative_to(folder)) if run != folder else str(run)
    try:
        recipe, _ = read_file(run / CONFIG_FILE)
        history = read_history(run) if (run / "metrics.jsonl").is_file() else None
    except Rl4lmsError as error:
        return name, "", "", "", f"cannot be read: {error}"
    rewards = [value for _, value in history.series("eval/reward")] if history else []
    of = recipe["training"]["iterations"]
    return (
        name,
        (recipe.get("algorithm") or {"name": "supervised"})["name"],
        f"{history[-1]['step'] if history else 0} of {of}",
        f"{number(rewards[0])} → {number(rewards[-1])}" if rewards else "–",
        "" if (run / RESULT_FILE).is_file() else "not finished",
    )


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


def headline(path: Path) -> str:
    """Return the first comment line of a recipe."""
    with path.open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()
