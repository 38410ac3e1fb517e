"""`rl4lms init`: a commented recipe to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

EPILOG = (
    "Example:  rl4lms init  ·  "
    "rl4lms init first.yaml --model gpt2 --data prompts.jsonl --reward my_reward.py:function --algorithm nlpo"
)
_TASK = "imdb"  # which brings its models, so that the recipe runs anywhere


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the recipe goes.")] = Path("recipe.yaml"),
    model: Annotated[str | None, typer.Option(help="Hub id or folder of the model.", show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help="File, folder or Hub id of prompts.", show_default=False)] = None,
    task: Annotated[
        str | None,
        typer.Option(help=f"Name of a task, instead of data; by default {_TASK}, as an example.", show_default=False),
    ] = None,
    reward: Annotated[
        str | None, typer.Option(help="Name of a reward or metric, or file.py:function.", show_default=False)
    ] = None,
    algorithm: Annotated[str | None, typer.Option(help="Such as nlpo; by default ppo.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented recipe: every block in a sentence, and the settings that people change."""
    from rl4lms.config import recipe_from_dict
    from rl4lms.config.resolve import run_name
    from rl4lms.config.starter import starter
    from rl4lms.errors import ConfigError
    from rl4lms.runs.outputs import check_file
    from rl4lms.runs.storage import write_text

    if file.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{file}: a recipe is a file *.yaml; name one, such as {file.with_suffix('.yaml')}")
    if file.exists() and not force:
        raise ConfigError(f"{file} is there already; name another file, or add --force to write over it")
    blocks = {"model": model, "data": data, "task": task, "reward": reward, "algorithm": algorithm}
    given: dict[str, Any] = {key: value for key, value in blocks.items() if value is not None}
    if data is None and task is None:
        given["task"] = _TASK
    recipe = recipe_from_dict(given, "<options>")
    if recipe.reward is None:
        raise ConfigError("--reward: none is named, and RL needs one: a name (rl4lms ls rewards), or file.py:function")
    check_file(file, "FILE")
    for key, inner in (("model", "path"), ("data", "train")):
        if key in given:
            given[key] = {inner: given[key]}
    recipe = recipe.model_copy(update={"name": run_name(file) or recipe.name})
    write_text(file, starter(recipe, given, str(file)))
    print(f"written to {file}; next:")
    print(f"  rl4lms doctor {file}   # tries model, data, reward and one update\n  rl4lms train {file}")
