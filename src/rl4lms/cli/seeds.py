"""`rl4lms train --seeds`: one recipe with several seeds, one run after the other, and one table."""

from __future__ import annotations

import functools
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from rl4lms.runs.layout import RESULT_FILE, is_run

if TYPE_CHECKING:
    from rl4lms.config.recipe import Recipe

_SEED = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")
_MOST = 1000

Plan = Literal["start", "continue", "finished"]


def parse(text: str) -> list[int]:
    """Return the seeds that `0,1,2` or `0-4` or both together name, in their order.

    Raises:
        ConfigError: it cannot be understood, or names a seed twice.
    """
    from rl4lms.errors import ConfigError, shown

    seeds: list[int] = []
    for part in text.split(","):
        found = _SEED.fullmatch(part.strip())
        if found is None:
            raise ConfigError(f"--seeds {text}: {shown(part)} is no seed; write --seeds 0,1,2 or --seeds 0-4")
        low, high = int(found[1]), int(found[2] or found[1])
        if not 0 <= high - low < _MOST:
            raise ConfigError(f"--seeds {text}: {part.strip()} is not a range from a smaller seed to a larger one")
        seeds += range(low, high + 1)
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise ConfigError(f"--seeds {text}: seed {twice} is there twice, and would give the same run")
    return seeds


def recipes_of(recipe: Recipe, seeds: Sequence[int], settings: Sequence[str]) -> list[Recipe]:
    """Return the recipe with each seed, each with a run folder of its own: `<output_dir>/seed-0`, or as without
    --seeds where the recipe names none.

    Args:
        recipe: every other setting.
        seeds: the seeds.
        settings: as they were given on the command line.

    Raises:
        ConfigError: a setting contradicts the seeds, or is for one run alone.
    """
    from rl4lms.errors import ConfigError

    own = next((text for text in settings if text.partition("=")[0].strip() == "seed"), None)
    if own is not None:
        raise ConfigError(f"--seeds says what {own} says; leave one of them out")
    if recipe.push_to_hub is not None:
        raise ConfigError(
            f"--seeds: every run would upload its model to {recipe.push_to_hub.repo_id}, over that of the seed before; "
            "leave push_to_hub out (push_to_hub=null), and upload the model/ that you choose"
        )
    if recipe.output_dir is not None and is_run(Path(recipe.output_dir)):
        raise ConfigError(f"--seeds: {recipe.output_dir} is the folder of one run; name another output_dir")
    return [
        recipe.model_copy(
            update={"seed": seed, "output_dir": recipe.output_dir and str(Path(recipe.output_dir) / f"seed-{seed}")}
        )
        for seed in seeds
    ]


def plans_of(recipes: Sequence[Recipe], resume: bool) -> list[Plan]:
    """Return what is to be done for each seed. Without `resume`, every folder must be free before the first run begins.

    Raises:
        CheckpointError: there is nothing to resume.
        ConfigError: a run folder is not empty.
    """
    from rl4lms.errors import CheckpointError, ConfigError
    from rl4lms.runs.folder import something_to_lose
    from rl4lms.training.run import run_folder

    folders = [run_folder(recipe) for recipe in recipes]
    if not resume:
        taken = next((folder for folder in folders if folder.is_dir() and something_to_lose(folder)), None)
        if taken is not None:
            raise ConfigError(
                f"{taken}: the run folder is not empty; add --resume to finish what is there and skip what is "
                "finished, or name another output_dir"
            )
        return ["start"] * len(recipes)
    if not any(map(is_run, folders)):
        raise CheckpointError(f"no run to resume in any of {', '.join(map(str, folders))}; leave --resume out")
    return [_plan(recipe, folder) for recipe, folder in zip(recipes, folders, strict=True)]


def _plan(recipe: Recipe, folder: Path) -> Plan:
    from rl4lms.runs.recipe import read_run

    if not is_run(folder):
        return "start"
    if not (folder / RESULT_FILE).is_file():
        return "continue"
    # A finished run that is asked for more, such as more iterations, goes on: what may not change is refused there.
    same = read_run(folder) == recipe.model_copy(update={"output_dir": str(folder)})
    return "finished" if same else "continue"


def train_seeds(
    recipes: Sequence[Recipe], *, command: Sequence[str], resume: bool, everything: bool, quiet: bool
) -> None:
    """Train one recipe after the other, and print what came of them.

    Args:
        recipes: see `recipes_of`.
        command: what was typed, without --resume.
        resume: finish the runs that are not finished.
        everything: the table at the end shows diagnostics as well.
        quiet: show no progress and no table.

    Raises:
        Rl4lmsError: a run failed; which ones are finished has been printed.
    """
    from rl4lms.cli import common, outcome

    common.quiet()
    from rl4lms import distributed
    from rl4lms.errors import Interrupted
    from rl4lms.training.run import run, run_folder

    folders = {recipe.seed: run_folder(recipe) for recipe in recipes}
    with distributed.started():
        plans = distributed.from_main(functools.partial(plans_of, recipes, resume))
        tell = functools.partial(print, file=sys.stderr) if distributed.is_main() else _silent
        for number, (recipe, plan) in enumerate(zip(recipes, plans, strict=True), 1):
            where = f"seed {recipe.seed} ({number} of {len(recipes)})"
            if not quiet:
                tell(f"{where}: {folders[recipe.seed]}{' is finished' if plan == 'finished' else ''}")
            if plan == "finished":
                continue
            try:
                run(recipe, resume=plan == "continue", progress=False if quiet else None)
            except Interrupted as stopped:
                tell(f"{where}: {stopped.args[0]}; {_go_on(folders, command)}")
                return
            except KeyboardInterrupt:  # the second one
                tell(f"{where}: stopped at once; {_go_on(folders, command)}")
                raise typer.Exit(130) from None
            except Exception:
                tell(f"{where} failed; {_go_on(folders, command)}")
                raise
        if not distributed.is_main():
            return
    out = common.console()
    if not quiet:
        for part in outcome.of_seeds(folders, everything):
            out.print(part)
    for seed, folder in folders.items():
        out.print(f"seed {seed}  {folder}", soft_wrap=True, markup=False)
    paths = shlex.join(map(str, folders.values()))
    out.print(
        f"what training changed:  rl4lms report {paths}\nagainst another:        rl4lms compare {paths} RUN...",
        soft_wrap=True,
        markup=False,
    )


def _silent(line: str) -> None:
    del line


def _go_on(folders: dict[int, Path], command: Sequence[str]) -> str:
    """Return which seeds are finished, and the command that trains the others."""
    done = [str(seed) for seed, folder in folders.items() if (folder / RESULT_FILE).is_file()]
    began = any(map(is_run, folders.values()))
    finished = f"finished: seed{'s' * (len(done) > 1)} {', '.join(done)}" if done else "no seed is finished"
    return f"{finished}; continue with:\n  {shlex.join([*command, *(['--resume'] if began else [])])}"
