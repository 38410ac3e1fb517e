"""`rl4lms train`: from a recipe to a trained model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl4lms.runs.layout import is_run

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rl4lms.config.recipe import Recipe
    from rl4lms.runs.evaluations import Evaluation

EPILOG = (
    "Example:  rl4lms train imdb-mini-nlpo rollout.top_p=0.95 seed=1  ·  "
    "rl4lms train --model gpt2 --data prompts.jsonl --reward my_reward.py:function"
)


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe file, the name of one (rl4lms ls recipes), or a run folder with --resume; or --model.",
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that replace those of the recipe.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Hub id or folder of the model.", show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help="File, folder or Hub id of prompts.", show_default=False)] = None,
    task: Annotated[str | None, typer.Option(help="Name of a task, instead of data.", show_default=False)] = None,
    reward: Annotated[
        str | None, typer.Option(help="Name of a reward or metric, or file.py:function.", show_default=False)
    ] = None,
    algorithm: Annotated[str | None, typer.Option(help="Such as nlpo; by default ppo.", show_default=False)] = None,
    output: Annotated[str | None, typer.Option(help="The run folder.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run from its last checkpoint.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings and what they amount to; train nothing.")
    ] = False,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Execute this Python file first, for what it registers (repeat the option)."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every number of the evaluations at the end, diagnostics as well.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train a language model as a recipe says, or as the options do."""
    from rl4lms.cli import common
    from rl4lms.errors import ConfigError

    common.run_imports(imports)
    blocks = {
        "model": model,
        "data": data,
        "task": task,
        "reward": reward,
        "algorithm": algorithm,
        "output_dir": output,
    }
    given = {key: value for key, value in blocks.items() if value is not None}
    settings = _settings(recipe, list(overrides or ()), given, resume)
    if everything and (dry_run or quiet):
        raise ConfigError(
            f"--all: {'a dry run evaluates nothing' if dry_run else '--quiet shows no table'}; leave it out"
        )
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
        for part in _outcome(result.folder, everything):
            out.print(part)
    out.print(f"run folder  {result.folder}\nmodel       {result.model}", soft_wrap=True, markup=False)


def _settings(recipe: str | None, overrides: list[str], given: dict[str, str], resume: bool) -> Recipe:
    """Return what a recipe, or the options alone, amount to."""
    from rl4lms.cli import common
    from rl4lms.config import recipe_from_dict
    from rl4lms.errors import ConfigError

    if recipe is not None and "=" in recipe and not Path(recipe).exists():  # there is no recipe, and this is a setting
        overrides, recipe = [recipe, *overrides], None
    if recipe is None:
        if "model" not in given:
            raise ConfigError(
                "name a recipe (rl4lms ls recipes), or a model with its prompts and a reward: "
                "rl4lms train --model gpt2 --data prompts.jsonl --reward my_reward.py:function"
            )
        return recipe_from_dict(given, "<options>", overrides)
    resumed = resume and is_run(Path(recipe))
    return common.read(Path(recipe) if resumed else common.find_recipe(recipe), overrides, settings=given)


# What an evaluation reports of every policy, beside the KL per completion.
_DIAGNOSTICS = (
    "kl_per_token",
    "kl_k3_per_token",
    "kl_behaviour_per_token",
    "kl_behaviour_per_sequence",
    "entropy",
    "completion_tokens",
    "terminated",
)


def _outcome(folder: Path, everything: bool) -> Iterator[RenderableType]:
    """The last evaluation beside the one before training: the reward first, then the metrics, then the KL."""
    from rich.table import Table
    from rich.text import Text

    from rl4lms.cli.common import number
    from rl4lms.runs.evaluations import kept_evaluations, read_evaluation

    steps = {step: path for (step, masked), path in kept_evaluations(folder).items() if not masked}
    start, end = read_evaluation(steps[min(steps)]), read_evaluation(steps[max(steps)])
    keys = sorted(end.results, key=lambda key: (not key.startswith("reward"), key.startswith("kl_")))
    shown = [key for key in keys if everything or key not in _DIAGNOSTICS]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("metric", "start", "", "end", "difference ± std. error"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for key in shown:
        after, before = end.results[key]["mean"], start.results.get(key, {}).get("mean")
        if after is None:
            continue
        if before is None or start is end:
            table.add_row(Text(key), "", "", number(after), "")
            continue
        table.add_row(Text(key), number(before), "→", number(after), _difference(start, end, key))
    prompts = len(end.prompts)
    yield Text(
        f"Evaluation of {prompts:,} {end.split} prompts, before training and after {end.step} iterations", "bold"
    )
    yield table
    hidden = len(keys) - len(shown)
    more = f"; {hidden} more with --all" if hidden else ""
    yield Text(f"± is over prompts, paired; not over training runs{more}", "dim")


def _difference(start: Evaluation, end: Evaluation, key: str) -> str:
    """Return how much a metric changed, prompt by prompt where it has a value for each."""
    import numpy as np

    from rl4lms.stats import mean_stderr

    before, after = start.values(key), end.values(key)
    if before is None or after is None or start.prompts.keys() != end.prompts.keys():
        return f"{end.results[key]['mean'] - start.results[key]['mean']:+.3g}"
    change = (after - before)[np.isfinite(after - before)]
    if not len(change):
        return ""
    mean, error = mean_stderr(change)
    return f"{mean:+.3g}" + ("" if error is None else f" ± {error:.2g}")


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
