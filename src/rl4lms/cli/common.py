"""What several verbs share: finding recipes, quiet libraries, tables of results. Imports nothing heavy at the top."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl4lms import recipes
from rl4lms.errors import ConfigError
from rl4lms.log_keys import below_zero
from rl4lms.runs.layout import is_run

if TYPE_CHECKING:
    from rich.console import Console

    from rl4lms.checks.doctor import Verdict
    from rl4lms.config.recipe import Recipe

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def find_recipe(name: str) -> Path:
    """Return a recipe file, or the packaged recipe of that name; see `rl4lms.recipes.find`.

    Raises:
        ConfigError: there is neither, or it is the folder of a run.
    """
    if is_run(Path(name)):
        raise ConfigError(f"{name} is the folder of a run; add --resume to continue it")
    return recipes.find(name)


def read(
    path: Path,
    overrides: Iterable[str] = (),
    unread: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> Recipe:
    """Read a recipe, packaged or not; a run folder's recipe keeps the run in that folder, and what a file of the
    original RL4LMs amounts to is told on standard error.

    Args:
        path: of the recipe or run.
        overrides, settings: replace its own; see `read_recipe`.
        unread: of a run: blocks whose components need not be known.
        strict: refuse a file of the original that has faults.

    Raises:
        ConfigError: it cannot be understood; or `strict`, and the file is none of the original.
    """
    from rl4lms.config import read_recipe
    from rl4lms.integrations import legacy
    from rl4lms.runs.recipe import read_run

    if not is_run(path) and legacy.is_original(path):
        found = legacy.convert(path, strict)
        if is_first():
            for line in (f"{path}: a file of the original RL4LMs, which is run as:", *legacy.report(found)):
                print(line, file=sys.stderr)
        return legacy.recipe_of(found, overrides, settings)
    if strict:
        raise ConfigError(f"--strict is about faults in files of the original RL4LMs, and {path} is none; leave it out")
    if is_run(path):
        return read_run(path, list(overrides), unread, settings)
    return read_recipe(path, overrides, settings=settings)


def is_first() -> bool:
    """Return whether this is the first of several processes, also before they know of each other, and afterwards."""
    return os.environ.get("RANK", "0") == "0"


def run_imports(files: Iterable[Path] | None) -> None:
    """Execute what `--import` names, before anything is looked up.

    Raises:
        ConfigError: a file is not there, or raises an error.
    """
    from rl4lms.plugins.files import run_file

    for file in files or ():
        run_file(file)


def quiet() -> None:
    """Turn off what other libraries print; see `quiet_libraries`."""
    from rl4lms.runs.display import quiet_libraries

    quiet_libraries()


def console(stderr: bool = False) -> Console:
    """Return a console that does not colour numbers; in a pipe it keeps 80 columns."""
    from rich.console import Console

    return Console(file=sys.stderr if stderr else sys.stdout, highlight=False)


def number(value: float) -> str:
    """Four significant digits, as people write them: 1234.5 -> 1234, 0.012345 -> 0.01234, 0 -> 0."""
    if value == 0:
        return "0"
    return f"{value:.4g}" if 1e-4 <= abs(value) < 1e5 else f"{value:.3e}"


def results_table(title: str, results: Mapping[str, Mapping[str, Any]], absent: Iterable[str] = ()) -> Any:
    """Results by key (`mean`, `stderr`, `n`) as a rich table; what could not be computed is `absent`, never a
    number.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("metric")
    for name in ("mean", "± std. error", "n"):
        table.add_column(name, justify="right")
    for key, result in results.items():
        stderr = result["stderr"]
        table.add_row(
            Text(key), number(result["mean"]), "" if stderr is None else f"± {number(stderr)}", str(result["n"])
        )
    for key in absent:
        table.add_row(Text(key), "absent", "", "")
    said = below_zero({key: result["mean"] for key, result in results.items()})
    return Group(Text(title, style="bold"), table, *([Text(said, style="dim")] if said else []))


def override(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """Return the recipe with some settings replaced, read again from its YAML so that every rule applies."""
    import tempfile

    from rl4lms.config import dump_recipe, read_recipe

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(dump_recipe(recipe), encoding="utf-8")
        return read_recipe(path, overrides)


def task_recipe(name: str, settings: Iterable[str]) -> Recipe:
    """Return the recipe of a task with its defaults, or the recipe of that name."""
    from rl4lms.config import recipe_from_dict

    if name.endswith((".yaml", ".yml")) or name in recipes.names():
        return read(find_recipe(name), settings)
    return recipe_from_dict({"task": {"name": name}}, "<arguments>", settings)


def show_verdicts(verdicts: Iterable[Verdict]) -> int:
    """Print checks as they are made, and how many there were of each kind; return how many failed."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = console()
    counts = {"ok": 0, "warn": 0, "fail": 0}
    for verdict in verdicts:
        counts[verdict.status] += 1
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=4)
        grid.add_column(width=18)
        grid.add_column()
        grid.add_row(Text(verdict.status, _STYLES[verdict.status]), Text(verdict.name), Text(verdict.figure))
        out.print(grid)
        if verdict.why:
            out.print(Padding(Text(verdict.why), (0, 0, 0, 5)))
    out.print(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
    return counts["fail"]
