"""`rl4lms train`: from a recipe to a trained model."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl4lms.runs.layout import is_run

if TYPE_CHECKING:
    from rl4lms.config.recipe import Recipe

EPILOG = (
    "Example:  rl4lms train imdb-mini-nlpo rollout.top_p=0.95 seed=1  ·  "
    "rl4lms train --model gpt2 --data prompts.jsonl --reward my_reward.py:function  ·  "
    "rl4lms train imdb-mini-ppo --seeds 0,1,2"
)


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe file, the name of one (rl4lms ls recipes), a file of the original RL4LMs, or a run folder "
            "with --resume; or --model.",
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that replace those of the recipe.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub id or folder of the model; by default the task's.", show_default=False)
    ] = None,
    data: Annotated[str | None, typer.Option(help="File, folder or Hub id of prompts.", show_default=False)] = None,
    task: Annotated[str | None, typer.Option(help="Name of a task, instead of data.", show_default=False)] = None,
    reward: Annotated[
        str | None, typer.Option(help="Name of a reward or metric, or file.py:function.", show_default=False)
    ] = None,
    algorithm: Annotated[str | None, typer.Option(help="Such as nlpo; by default ppo.", show_default=False)] = None,
    output: Annotated[str | None, typer.Option(help="The run folder.", show_default=False)] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Train once with each of these seeds: 0,1,2 or 0-4.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run from its last checkpoint.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings and what they amount to; train nothing.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a file of the original RL4LMs that has faults.")
    ] = False,
    artefacts: Annotated[
        str | None,
        typer.Option(help="rl4lms: at the end, also write the files of the original RL4LMs.", show_default=False),
    ] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Execute this Python file first, for what it registers (repeat the option)."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every number of the evaluations at the end, diagnostics as well.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no table.")] = False,
) -> None:
    """Train a language model as a recipe says, or as the options do.

    Ctrl-C and SIGTERM finish the iteration, save, and end with exit code 0, so
    that `&& next` goes on; a second one stops at once. A script tells a finished
    run by the file result.json in its folder, which no other run has.
    """
    from rl4lms.cli import common
    from rl4lms.cli import seeds as of_seeds
    from rl4lms.errors import ConfigError

    common.run_imports(imports)
    _check_artefacts(artefacts, dry_run)
    blocks = {
        "model": model,
        "data": data,
        "task": task,
        "reward": reward,
        "algorithm": algorithm,
        "output_dir": output,
    }
    given = {key: value for key, value in blocks.items() if value is not None}
    wanted = None if seeds is None else of_seeds.parse(seeds)
    settings = _settings(recipe, list(overrides or ()), given, resume, seeds, strict)
    if everything and (dry_run or quiet):
        raise ConfigError(
            f"--all: {'a dry run evaluates nothing' if dry_run else '--quiet shows no table'}; leave it out"
        )
    if wanted is None:
        _dry_run([settings], resume) if dry_run else _train(settings, resume, everything, quiet, artefacts)
        return
    words = [*([] if recipe is None else [recipe]), *(overrides or ())]
    recipes = of_seeds.recipes_of(settings, wanted, words)
    if dry_run:
        _dry_run(recipes, resume)
        return
    switches = {"--strict": strict, "--all": everything, "--quiet": quiet}
    options = given if artefacts is None else {**given, "artefacts": artefacts}
    command = [*_typed(words, options, imports or (), switches), "--seeds", str(seeds)]
    of_seeds.train_seeds(recipes, command=command, resume=resume, everything=everything, quiet=quiet)
    if artefacts is not None:
        for one in recipes:
            _write_artefacts(one)


def _typed(
    words: Sequence[str], given: Mapping[str, str], imports: Iterable[Path], switches: Mapping[str, bool]
) -> list[str]:
    """Return the command as it was typed, without --resume and --seeds."""
    options = [(f"--{'output' if name == 'output_dir' else name}", value) for name, value in given.items()]
    options += [("--import", str(file)) for file in imports]
    flags = [name for name, on in switches.items() if on]
    return ["rl4lms", "train", *words, *(word for option in options for word in option), *flags]


def _check_artefacts(artefacts: str | None, dry_run: bool) -> None:
    """Refuse files of nobody, and files of a run that is not."""
    from rl4lms.errors import ConfigError, shown

    if artefacts not in (None, "rl4lms"):
        raise ConfigError(f"--artefacts {shown(artefacts)}: only rl4lms, the original RL4LMs; leave it out for none")
    if artefacts is not None and dry_run:
        raise ConfigError("--artefacts: a dry run writes nothing; leave it out")


def _write_artefacts(recipe: Recipe) -> None:
    """Write the original's files into the folder of a run that has ended; the first process alone."""
    from rl4lms.cli import common
    from rl4lms.integrations.legacy.artefacts import write_artefacts
    from rl4lms.runs.layout import RESULT_FILE
    from rl4lms.training.run import run_folder

    folder = run_folder(recipe)
    if common.is_first() and (folder / RESULT_FILE).is_file():
        files = write_artefacts(folder)
        told = f"artefacts   {len(files)} files with the original's names, such as {files[-1].name}"
        common.console().print(told, soft_wrap=True, markup=False)


def _train(settings: Recipe, resume: bool, everything: bool, quiet: bool, artefacts: str | None) -> None:
    from rl4lms.cli import common, outcome

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
        for part in outcome.outcome(result.folder, everything):
            out.print(part)
    else:
        out.print(f"evaluation  rl4lms report {shlex.quote(str(result.folder))}", soft_wrap=True, markup=False)
    out.print(f"run folder  {result.folder}\nmodel       {result.model}", soft_wrap=True, markup=False)
    if artefacts is not None:
        _write_artefacts(settings)


def _settings(
    recipe: str | None,
    overrides: list[str],
    given: dict[str, str],
    resume: bool,
    seeds: str | None,
    strict: bool = False,
) -> Recipe:
    """Return what a recipe, or the options alone, amount to."""
    from rl4lms.cli import common
    from rl4lms.config import recipe_from_dict
    from rl4lms.data.rows import refuse_absent
    from rl4lms.errors import ConfigError
    from rl4lms.runs.layout import refuse_absent_model

    if recipe is not None and "=" in recipe and not Path(recipe).exists():  # there is no recipe, and this is a setting
        overrides, recipe = [recipe, *overrides], None
    if recipe is None:
        if strict:
            raise ConfigError("--strict is about a file of the original RL4LMs, and none is named; leave it out")
        if "model" not in given and "task" not in given:
            raise ConfigError(
                "name a recipe (rl4lms ls recipes), a task with its model (--task imdb), or a model with its prompts "
                "and a reward: rl4lms train --model gpt2 --data prompts.jsonl --reward my_reward.py:function"
            )
        if "model" in given:
            refuse_absent_model(given["model"])
        if "data" in given:
            refuse_absent(given["data"])
        return recipe_from_dict(given, "<options>", overrides)
    resumed = resume and is_run(Path(recipe))
    if resumed and seeds is not None:
        raise ConfigError(f"--seeds {seeds}: {recipe} is the folder of one run; name the recipe, or leave --seeds out")
    path = Path(recipe) if resumed else common.find_recipe(recipe)
    return common.read(path, overrides, settings=given, strict=strict)


def _dry_run(recipes: Sequence[Recipe], resume: bool) -> None:
    """Print the settings of a run, or those of the first of several seeds, and what becomes of the others."""
    from rl4lms.checks.dry_run import Line, describe
    from rl4lms.cli import common
    from rl4lms.cli.seeds import plans_of
    from rl4lms.config import dump_recipe

    common.quiet()
    from rl4lms.runs.folder import last_good, refuse_nothing_to_resume
    from rl4lms.training.run import run_folder

    first = recipes[0]
    lines = describe(first)
    if len(recipes) > 1:
        lines.insert(0, Line("seeds", f"{len(recipes)}, one run after the other; of the first:"))
        plans = plans_of(recipes, resume)
        lines += [
            Line(f"seed {one.seed}", f"{plan}: {run_folder(one)}") for one, plan in zip(recipes, plans, strict=True)
        ]
    elif resume:
        folder = run_folder(first)
        refuse_nothing_to_resume(folder)
        lines.insert(1, Line("continues from", str(last_good(folder) or "the start, since no checkpoint is usable")))
    print(dump_recipe(first), end="")
    print("\n# What this amounts to")
    width = max(len(line.name) for line in lines)
    for line in lines:
        print(f"# {line.name:<{width}}  {line.value}")
