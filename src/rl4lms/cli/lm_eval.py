"""`rl4lms grue to-lm-eval` and `from-lm-eval`: tasks for lm-evaluation-harness, and its results as cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rl4lms.cli.grue import split_names
from rl4lms.cli.submissions import DataOfTasks, RunCode

TO_EPILOG = (
    "Example:  rl4lms grue to-lm-eval lm-eval-tasks --tasks commongen 'evaluation.generation={temperature: 0}'  ·  "
    "lm_eval run --model hf --model_args pretrained=MODEL --include_path lm-eval-tasks --tasks rl4lms_commongen_mini "
    "--output_path out --log_samples"
)
FROM_EPILOG = "Example:  rl4lms grue from-lm-eval out/MODEL/results_TIME.json --into runs/grue --system mine"


def to_lm_eval(
    output: Annotated[Path, typer.Argument(help="Folder that is made, for --include_path of lm_eval.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...", help="Settings, such as evaluation.prompts=50 or task.data_dir=DIR, of all tasks."
        ),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Names with commas between; by default the seven of the paper.")
    ] = None,
    edition: Annotated[Literal["mini", "full"], typer.Option(help="Generated tasks, or the real data.")] = "mini",
    join: Annotated[
        str | None,
        typer.Option(
            help="What stands between prompt and completion for metrics that read both as one text: '' or ' '.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write tasks for lm-evaluation-harness: the test prompts of a grid's cells, scored by this library's metrics."""
    import sys

    from rl4lms.cli import common
    from rl4lms.config import recipe_from_dict
    from rl4lms.grue.suite import TASKS
    from rl4lms.integrations.lm_eval import write_tasks

    common.quiet()
    recipes = []
    for name in split_names(tasks) or TASKS:
        blocks = {"task": {"name": name, "edition": edition}, "evaluation": {"split": "test"}}
        recipes.append(recipe_from_dict(blocks, "<arguments>", settings or ()))
    absent = write_tasks(output, recipes, join)
    for task, missing in absent.items():
        for metric, why in missing.items():
            print(f"absent: {task}: {metric}: {why}", file=sys.stderr)
    print(
        f"run:  lm_eval run --include_path {output} --tasks {','.join(absent)} --log_samples --output_path ... --model"
    )


def from_lm_eval(
    results: Annotated[
        Path, typer.Argument(help="results_TIME.json of lm_eval, with the files of --log_samples beside it.")
    ],
    into: Annotated[Path, typer.Option(help="Folder of the grid that the cells are added to.")],
    system: Annotated[str, typer.Option(help="Label of the row.")],
    seed: Annotated[int, typer.Option(min=0, help="Which of its runs, from 0.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Who made the texts, in words; by default as the results say.")
    ] = None,
    data: DataOfTasks = None,
    run_code: RunCode = False,
) -> None:
    """Add results of lm-evaluation-harness on exported tasks to a grid, as cells that tables show and `submit` packs.

    Every number is computed again from the texts; one that differs is refused, and nothing is added.
    """
    from rl4lms.cli import common
    from rl4lms.grue.export import pairs
    from rl4lms.integrations.lm_eval_results import add_results, tasks_in

    common.quiet()
    given = pairs(data, "--data", tasks_in(results)) if data else {}
    added = add_results(results, into, system=system, seed=seed, model=model, data=given, run_code=run_code)
    for cell, numbers in added.items():
        print(f"added to {into} as {cell}: {', '.join(f'{key} {number:.4f}' for key, number in numbers.items())}")
