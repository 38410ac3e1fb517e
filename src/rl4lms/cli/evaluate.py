"""`rl4lms evaluate`: the metrics of a task for a trained model, a model before training, or any model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rl4lms.runs.layout import is_run

if TYPE_CHECKING:
    from rl4lms.config.recipe import Recipe
    from rl4lms.evaluation.evaluator import EvalResult
    from rl4lms.runs.evaluations import Which
    from rl4lms.types import Split

EPILOG = (
    "Example:  rl4lms evaluate runs/imdb-mini-nlpo-seed0 --split test --masked  ·  "
    "rl4lms evaluate gpt2 --data prompts.jsonl reward=my_reward.py:function"
)


def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN|RECIPE|MODEL",
            help="A run folder (its trained model), a recipe (its model before training), or any model with --task or "
            "--data.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Settings, such as reward=my_reward.py:function, in place of those of the run or recipe.",
        ),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(
            help="Which prompts; by default as the recipe says with evaluation.split, else (and of a run) test.",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="How many prompts; by default as the recipe says.", show_default=False)
    ] = None,
    masked: Annotated[bool, typer.Option("--masked", help="Decode inside the mask that a run ended with.")] = False,
    task: Annotated[str | None, typer.Option(help="For a model: the task whose prompts and metrics to use.")] = None,
    data: Annotated[Path | None, typer.Option(help="For a model: a file with prompts.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Use these metrics instead (repeat the option).")] = None,
    output: Annotated[Path | None, typer.Option(help="Write numbers and completions to this JSON file.")] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Execute this Python file first, for what it registers (repeat the option)."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Decode prompts and score the completions; prints mean and standard error over completions."""
    from rl4lms.api.unread import Asked, evaluated_split, refuse_unread
    from rl4lms.cli import common
    from rl4lms.runs.outputs import check_file

    if output is not None:
        check_file(output, "--output")  # now, and not after the decoding
    common.run_imports(imports)
    extra = [*(overrides or ()), *([] if prompts is None else [f"evaluation.prompts={prompts}"])]
    extra += [f"evaluation.metrics=[{', '.join(metric)}]"] if metric else []
    recipe, folder = _recipe(target, extra, task, data)
    _refuse_split(split, data)
    split = evaluated_split(recipe, split, is_run=folder is not None)
    asked = Asked(split=split, masked=masked, is_run=folder is not None, is_model=task is not None or data is not None)
    refuse_unread(recipe, overrides or (), asked)
    common.quiet()
    from rl4lms.runs.display import Display
    from rl4lms.runs.evaluations import write_evaluation
    from rl4lms.training.evaluate import evaluate as run_evaluation

    with Display(not quiet, texts=False) as display:
        result = run_evaluation(recipe, run_folder=folder, split=split, masked=masked, display=display)
    _tell(result, recipe)
    results = {key: r.summary() for key, r in result.results.items()}
    where = ", decoded inside the mask" if masked else ""
    rows = f"the {split} split" if data is None else str(data)
    common.console().print(common.results_table(f"{target} on {rows}{where}", results, result.absent))
    for name, why in result.absent.items():
        print(f"absent: {name}: {why}", file=sys.stderr)
    if output is not None:
        trained = folder is not None
        step = recipe.training.iterations if trained and recipe.algorithm is not None else 0
        model: Which = "trained" if trained else "start"
        write_evaluation(output, result, recipe, model=model, step=step, split=split, masked=masked)
        print(f"written to {output}")


def _tell(result: EvalResult, recipe: Recipe) -> None:
    """Say on standard error what a table of means does not."""
    if result.faults:
        print(
            f"note: the reward failed {len(result.faults)} times; its mean leaves rows out. {result.faults[0].message}",
            file=sys.stderr,
        )
    if result.prompts < result.available:
        drawn = f"drawn with evaluation.prompt_seed {recipe.evaluation.prompt_seed}"
        print(f"note: {result.prompts:,} of {result.available:,} prompts, {drawn}", file=sys.stderr)


def _refuse_split(split: Split | None, data: Path | None) -> None:
    """Refuse --split where it would change nothing: a file has none."""
    from rl4lms.data.rows import SUFFIXES
    from rl4lms.errors import ConfigError

    if data is not None and split is not None and data.suffix.lower() in SUFFIXES:
        raise ConfigError(f"--split {split}: {data} is one file, and all of it is evaluated; leave --split out")


def _recipe(target: str, overrides: list[str], task: str | None, data: Path | None) -> tuple[Recipe, Path | None]:
    """Return the settings, and the run folder if it is one."""
    from rl4lms import recipes
    from rl4lms.cli import common
    from rl4lms.config import recipe_from_dict
    from rl4lms.data.rows import refuse_absent
    from rl4lms.errors import ConfigError
    from rl4lms.runs.layout import refuse_absent_model

    folder = Path(target)
    if is_run(folder):
        blocks = {text.partition("=")[0].strip().partition(".")[0] for text in overrides}
        recipe = common.read(folder, overrides, unread={"reward", "algorithm"} - blocks)
        _refuse_prompts("run", target, recipe, task, data)
        return recipe, folder
    if target.endswith((".yaml", ".yml")) or target in recipes.names():
        if task is not None or data is not None:
            _refuse_prompts("recipe", target, common.read(common.find_recipe(target), overrides), task, data)
        return common.read(common.find_recipe(target), overrides), None
    refuse_absent_model(target)
    if (task is None) == (data is None):
        raise ConfigError(
            f"{target} is taken for a model: say what to evaluate it on with either --task NAME or --data FILE"
        )
    if data is not None:
        refuse_absent(str(data))
    where = (
        {"task": task}
        if task is not None
        else {"data": {"train": str(data), "validation": str(data), "test": str(data)}}
    )
    settings = recipe_from_dict({"model": target, **where})
    if not overrides:
        return settings, None
    return common.override(settings, overrides), None


def _refuse_prompts(kind: str, target: str, recipe: Recipe, task: str | None, data: Path | None) -> None:
    """Refuse --task and --data where the target says itself what its prompts are.

    Raises:
        ConfigError: one was given.
    """
    from rl4lms.errors import ConfigError

    if task is None and data is None:
        return
    option, value = ("--task", task) if task is not None else ("--data", str(data))
    model = str(Path(target) / "model") if kind == "run" else recipe.model.path
    model = "MODEL" if model.startswith("asset:") else model  # which only its task knows
    alone = f"rl4lms evaluate {model} {option} {value}"
    ways = f"data.test={value} instead; the model alone, without this {kind}'s reward, decoding and KL: {alone}"
    if data is None or recipe.data is None:
        ways = alone
    raise ConfigError(f"{option} {value}: {target} is a {kind}, which has prompts of its own; write {ways}")
