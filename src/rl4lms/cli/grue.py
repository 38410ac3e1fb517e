"""`rl4lms grue`: systems on tasks, and tables of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rl4lms.grue.executors import Executor
    from rl4lms.grue.result import Result
    from rl4lms.grue.suite import Cell

RUN_EPILOG = (
    "Examples:  rl4lms grue run --tasks commongen,imdb --seeds 3  ·  "
    "rl4lms grue run --systems supervised,mine=supervised+ppo mine:kl.kl_coef=0.2"
)
TABLE_EPILOG = (
    "Examples:  rl4lms grue table runs/grue --decoding shared --format markdown  ·  "
    "rl4lms grue table --store postgresql://me@host/results"
)


Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[WHICH:]KEY=VALUE...",
        help="Settings of recipes: of all cells, of a system (nlpo:...), of a task ('imdb/*:...') or of both.",
    ),
]
Tasks = Annotated[
    str | None, typer.Option(help="Names with commas between; by default the seven of the paper.", show_default=False)
]
Systems = Annotated[
    str | None,
    typer.Option(
        help="With commas between: zero_shot, supervised, [LABEL=]ALGORITHM, [LABEL=]supervised+ALGORITHM; by default "
        "the six of the paper.",
        show_default=False,
    ),
]
Base = Annotated[
    str | None,
    typer.Option(help="The model that every system begins with, instead of the task's.", show_default=False),
]
People = Annotated[
    list[Path] | None,
    typer.Option(
        "--human",
        metavar="FILE",
        help="What people said, as rl4lms human report --format leaderboard writes it (repeat the option).",
        show_default=False,
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|URL", help="Database for results; by default OUTPUT/results.sqlite.", show_default=False
    ),
]


def run(
    settings: Settings = None,
    tasks: Tasks = None,
    systems: Systems = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each system is trained with.")] = 5,
    edition: Annotated[Literal["mini", "full"], typer.Option(help="Generated tasks, or the real data.")] = "mini",
    model: Base = None,
    reward: Annotated[str | None, typer.Option(help="The reward of RL, instead of the task's.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the grid; what is finished there is not run again.")] = Path(
        "runs/grue"
    ),
    store: Database = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cells at a time, each with one thread; by default 2, with Ray as many as the cluster has CPUs.",
            show_default=False,
        ),
    ] = None,
    executor: Annotated[
        Literal["processes", "ray"], typer.Option(help="Processes of this machine, or tasks of a Ray cluster.")
    ] = "processes",
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Of the cluster, such as auto; by default that of RAY_ADDRESS, else one is started on this machine.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run systems on tasks with several seeds: a grid that can be interrupted, and continues where it was.

    Every cell is an ordinary run folder below OUTPUT/cells, for `rl4lms compare` and `rl4lms report`. Where a cell
    fails, the others are run all the same, and the exit code is 1.
    """
    import functools
    import sys

    from rl4lms.cli import common
    from rl4lms.grue.progress import live
    from rl4lms.grue.runner import Grid
    from rl4lms.grue.store import Store
    from rl4lms.grue.suite import SYSTEMS, TASKS, System, cells

    common.quiet()
    given = [*(settings or ())]
    given += [] if model is None else [f"model.path={model}"]
    given += [] if reward is None else [f"reward={reward}"]
    names = split_names(tasks) or TASKS
    wanted = [System.read(text) for text in split_names(systems) or SYSTEMS]
    grid = Grid(output, cells(names, wanted, range(seeds), edition=edition, settings=given))
    grid.check()
    place = _executor(executor, output, jobs, ray_address)
    database = None if store is None else Store(store)  # a mistake in it is told before anything is written
    output.mkdir(parents=True, exist_ok=True)
    database = database or Store(output / "results.sqlite")

    def keep(cell: Cell, results: list[Result]) -> None:
        database.add(results, str(grid.place(cell).resolve()))

    console = common.console(stderr=True)
    console.quiet = quiet
    with place as where:
        failed = grid.run(executor=where, show=functools.partial(live, console=console, executor=where), finished=keep)
    database.close()
    for job in failed:
        print(f"error: {job.error or f'{job.name} was skipped, since what it begins with failed'}", file=sys.stderr)
    finished = sum(bool(grid.results(cell)) for cell in grid.cells)
    print(f"{finished} of {len(grid.cells)} cells are finished in {output}")
    print(f"table:  rl4lms grue table {output}")
    if failed:
        raise typer.Exit(1)


def _executor(
    name: str, folder: Path, jobs: int | None, ray_address: str | None
) -> contextlib.AbstractContextManager[Executor]:
    """Return where cells run; what it needs is started when it is entered."""
    if name == "ray":
        from rl4lms.grue.ray_tasks import RayTasks

        return RayTasks(folder, jobs, ray_address)
    from rl4lms.errors import ConfigError
    from rl4lms.grue.executors import Processes

    if ray_address is not None:
        raise ConfigError(f"--ray-address {ray_address}: cells run in processes; add --executor ray, or leave it out")
    return contextlib.nullcontext(Processes(jobs or 2))


def table(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of a grid, or of submissions; by default runs/grue.", show_default=False),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="FILE|URL", help="Every result of this database instead.", show_default=False),
    ] = None,
    decoding: Annotated[
        Literal["own", "shared"],
        typer.Option(help="Each system at its own decoding (NLPO inside its mask), or all at the same."),
    ] = "own",
    metric: Annotated[list[str] | None, typer.Option("--metric", help="Show this metric (repeat the option).")] = None,
    human: People = None,
    format: Annotated[
        Literal["text", "markdown", "csv", "latex"], typer.Option("--format", help="How it is written.")
    ] = "text",
) -> None:
    """Print an overall table and one for each task: means over prompts and seeds, with errors that cover both, and
    ranks as intervals.
    """
    from rl4lms.cli import common
    from rl4lms.errors import ConfigError
    from rl4lms.grue import formats
    from rl4lms.grue.board import boards_of, read_groups
    from rl4lms.grue.overall import overall_boards
    from rl4lms.grue.people import people_rows, people_sheet, read_all
    from rl4lms.reporting.inert import comma_separated

    if store is None:
        groups = read_groups(folder or Path("runs/grue"), decoding)
    elif folder is not None:
        raise ConfigError(f"{folder} and --store {store}: a table is of one of them; leave the other out")
    else:
        from rl4lms.grue.store import Store
        from rl4lms.grue.stored import read_stored

        with contextlib.closing(Store(store, create=False)) as database:
            groups = read_groups(read_stored(database), decoding)
    overall, tables = overall_boards(groups), boards_of(groups, metric or ())
    studies = read_all(human or (), [task for task, _, _ in groups])
    if format == "csv":
        print(comma_separated([*formats.all_rows(overall, tables), *people_rows(studies)]), end="")
        return
    for one in (*map(formats.overall_sheet, overall), *map(formats.sheet, tables), *map(people_sheet, studies)):
        if format == "text":
            formats.show(one, common.console())
            print()
        else:
            print(formats.markdown(one) if format == "markdown" else formats.latex(one))


def split_names(text: str | None) -> list[str]:
    """Split names at commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]
