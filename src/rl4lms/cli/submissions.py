"""`rl4lms grue` for results that others should believe: score, submit, verify, reproduce."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rl4lms.cli.grue import People

if TYPE_CHECKING:
    from rl4lms.grue.access import Access

SCORE_EPILOG = (
    "Examples:  rl4lms grue score predictions.jsonl --task commongen  ·  "
    "rl4lms grue score seed-0.jsonl --task commongen --into runs/grue --system mine --model 'my model, 3B'"
)
SUBMIT_EPILOG = (
    "Example:  rl4lms grue submit runs/grue submissions/mine --name mine --tried 3 --systems mine "
    "--training-data 'CommonGen train' --training-data extra.jsonl"
)
VERIFY_EPILOG = "Examples:  rl4lms grue verify runs/grue  ·  rl4lms grue verify runs/grue commongen/ppo/seed-0"
REPORT_EPILOG = "Example:  rl4lms grue report runs/grue --output grue.html"
SITE_EPILOG = "Example:  rl4lms grue site public runs/grue --title 'Our leaderboard'"
EXPORT_EPILOG = (
    "Examples:  rl4lms grue export runs/grue eee --format eee --organization my-lab  ·  "
    "rl4lms grue export runs/grue grue.yaml --format huggingface --system nlpo --dataset commongen=allenai/common_gen"
)
REPRODUCE_EPILOG = "Example:  rl4lms grue reproduce runs/grue commongen/ppo/seed-0"

DataOfTasks = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="TASK=PLACE",
        help="Where the data of a task's full edition is, if not on the Hub (repeat the option).",
        show_default=False,
    ),
]

RunCode = Annotated[
    bool, typer.Option("--run-code", help="Run the Python files that recipes name; read them before you do.")
]


def score(
    file: Annotated[
        Path,
        typer.Argument(help="JSONL, JSON, CSV or Parquet with `id` (or `prompt`) and `completion` of each prompt."),
    ],
    task: Annotated[str, typer.Option(help="Name of the task.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...", help="Settings, such as task.data_dir=... or evaluation.metrics=[chrf]."
        ),
    ] = None,
    edition: Annotated[Literal["mini", "full"], typer.Option(help="Generated tasks, or the real data.")] = "mini",
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="Where the prompts are from.")] = "test",
    output: Annotated[Path | None, typer.Option(help="Write each text with its values to this JSONL file.")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Add them to this grid, as a cell that tables show and `submit` packs.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="With --into: the label of the system.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --into: which of its runs, from 0.")] = 0,
    model: Annotated[str | None, typer.Option(help="With --into: who made them, in words.")] = None,
) -> None:
    """Score anybody's predictions on a task, with its metrics and references. Every prompt must be answered once."""
    import json
    import sys

    from rl4lms.cli import common
    from rl4lms.config import recipe_from_dict
    from rl4lms.grue.outside import add_outside, place_of
    from rl4lms.grue.rescore import Scorer, read_predictions
    from rl4lms.runs.outputs import check_file
    from rl4lms.runs.storage import write_text

    common.quiet()
    recipe = recipe_from_dict({"task": {"name": task, "edition": edition}}, "<arguments>", settings or ())
    if output is not None:
        check_file(output, "--output")
    _check_into(into, system, model, seed, split)
    place = None if into is None else place_of(into, recipe, str(system), seed)
    scorer = Scorer.of(recipe, split)
    predictions = read_predictions(str(file), list(scorer.samples.values()))
    wanted = None
    if into is not None:  # the prompts that every cell of a grid answers, in their order
        wanted = scorer.drawn(recipe)
        place_in = {name: number for number, name in enumerate(wanted)}
        predictions = [row for row in predictions if row.id in place_in or row.id not in scorer.samples]
        predictions.sort(key=lambda row: place_in.get(row.id, -1))
    scored = scorer(predictions, wanted=wanted)
    results = {key: result.summary() for key, result in scored.results.items()}
    title = f"{file} on the {split} split of {task} {edition}"
    common.console().print(common.results_table(title, results, scored.absent))
    for name, why in scored.absent.items():
        print(f"absent: {name}: {why}", file=sys.stderr)
    if output is not None:
        write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in scored.samples))
        print(f"written to {output}")
    if place is not None:
        add_outside(place, scored, recipe, system=str(system), seed=seed, model=str(model))
        print(f"added to {into} as {'/'.join(place.parts[-3:])}")


def _check_into(into: Path | None, system: str | None, model: str | None, seed: int, split: str) -> None:
    from rl4lms.errors import ConfigError

    if into is None:
        if system is not None or model is not None or seed:
            raise ConfigError("--system, --model and --seed are of a cell; name its grid with --into")
    elif system is None or model is None:
        raise ConfigError("--into needs --system, the label of its row, and --model, which says who made the texts")
    elif split != "test":
        raise ConfigError(f"--into: a grid is of the test split, and these are scored on {split}")


def submit(
    grid: Annotated[Path, typer.Argument(help="Folder of a grid.")],
    output: Annotated[Path, typer.Argument(help="Folder of the submission, which is made.")],
    name: Annotated[str, typer.Option(help="What the submission is called.")],
    tried: Annotated[
        int, typer.Option(min=1, help="How many settings of the systems were tried, on any split, with these.")
    ],
    systems: Annotated[
        str | None, typer.Option(help="With commas between; by default all.", show_default=False)
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="With commas between; by default all.", show_default=False)] = None,
    training: Annotated[
        list[str] | None,
        typer.Option(
            "--training-data",
            metavar="NAME|FILE",
            help="What the models were trained on; how much of the test sets stands in a file is measured (repeat the "
            "option).",
            show_default=False,
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="One line for readers of the board.")] = "",
    supersedes: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of an earlier submission that this one replaces (repeat the option).", show_default=False
        ),
    ] = None,
) -> None:
    """Pack cells as a folder of files that a pull request can add to a board: predictions, recipes, numbers, hashes.

    Every seed that was begun must be finished. Prompts and references are not packed: they are those of the task.
    """
    from rl4lms.cli import common
    from rl4lms.cli.grue import split_names
    from rl4lms.grue.submission import pack

    common.quiet()
    packed = pack(
        grid,
        output,
        name=name,
        tried=tried,
        note=note,
        training=training or (),
        supersedes=supersedes or (),
        systems=split_names(systems),
        tasks=split_names(tasks),
    )
    for declared in packed.training:
        for task, overlap in declared.overlap.items():
            print(f"{declared.name}: {overlap} with the test set of {task}")
    for key, overlap in packed.outputs.items():
        print(f"{key}: of its texts, {overlap} with references that are not in the prompt")
    print(f"{len(packed.files)} files in {output}; check them:  rl4lms grue verify {output}")


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a grid, or of submissions.")] = Path("runs/grue"),
    cells: Annotated[
        list[str] | None, typer.Argument(metavar="TASK/SYSTEM/seed-N...", help="Cells; by default all.")
    ] = None,
    data: DataOfTasks = None,
    run_code: RunCode = False,
) -> None:
    """Compute every metric again from the predictions: what passes is *re-scored*. Exit code 1 if a cell does not.

    Of a submission, hashes and seeds are checked first.
    """
    from rl4lms.cli import common
    from rl4lms.grue.submission import check_files, grids
    from rl4lms.grue.submission_file import read_submission
    from rl4lms.grue.verify import Checker, find_cells
    from rl4lms.grue.verify import verify as check

    common.quiet()
    checkers: dict[str, Checker] = {}
    places = find_cells(folder, cells or ())
    access = _access(data, places, run_code)
    faults = [fault for grid in grids(folder) if (said := read_submission(grid)) for fault in check_files(grid, said)]
    for fault in faults:
        print(f"differs: {fault}")
    if faults:
        print("nothing was scored: the files are not those that were submitted")
        raise typer.Exit(1)
    _tell("re-scored", {place: check(place, checkers, access) for place in places})


def _access(data: list[str] | None, cells: list[Path], run_code: bool) -> Access:
    from rl4lms.grue.access import Access
    from rl4lms.grue.export import pairs

    return Access(pairs(data, "--data", sorted({place.parts[-3] for place in cells})), run_code)


def reproduce(
    folder: Annotated[Path, typer.Argument(help="Folder of a grid, or of submissions.")],
    cells: Annotated[list[str], typer.Argument(metavar="TASK/SYSTEM/seed-N...", help="Cells that are run again.")],
    data: DataOfTasks = None,
    run_code: RunCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train cells again from recipe and seed: what comes out the same is *re-run*. Exit code 1 if a cell does not.

    On a processor of the kind that made it, a cell must have the same texts and numbers bit for bit; on another kind,
    numbers within six standard errors of their difference, which is what two seeds differ by at most.
    """
    from rl4lms.cli import common
    from rl4lms.grue.jobs import bars
    from rl4lms.grue.reproduce import reproduce as again
    from rl4lms.grue.verify import find_cells

    common.quiet()
    console = common.console(stderr=True)
    places = find_cells(folder, cells)
    access = _access(data, places, run_code)
    done = {place: again(place, bars(console, not quiet), access) for place in places}
    _tell(
        "re-run", {place: one.faults for place, one in done.items()}, {place: one.note for place, one in done.items()}
    )


def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a grid, or of submissions.")],
    output: Annotated[Path, typer.Argument(help="What is written: a folder for eee, a file for huggingface.")],
    format: Annotated[
        Literal["eee", "huggingface"],
        typer.Option("--format", help="Every Eval Ever with all texts, or `.eval_results` YAML of one system."),
    ],
    organization: Annotated[
        str | None, typer.Option(help="eee: who vouches for the numbers.", show_default=False)
    ] = None,
    data: DataOfTasks = None,
    system: Annotated[str | None, typer.Option(help="huggingface: label of the system.", show_default=False)] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=HUB_ID",
            help="huggingface: the data set that a task's numbers are of (repeat the option).",
            show_default=False,
        ),
    ] = None,
    decoding: Annotated[
        Literal["own", "shared"] | None,
        typer.Option(help="huggingface: which of the two; by default own.", show_default=False),
    ] = None,
    source: Annotated[str | None, typer.Option(help="huggingface: URL of the results.", show_default=False)] = None,
    run_code: RunCode = False,
) -> None:
    """Write results in the formats of others."""
    from rl4lms.cli import common
    from rl4lms.errors import ConfigError
    from rl4lms.grue import export as formats
    from rl4lms.grue.verify import find_cells
    from rl4lms.runs.outputs import check_file
    from rl4lms.runs.storage import write_text

    common.quiet()
    of_hub = {"--system": system, "--dataset": dataset, "--decoding": decoding, "--source": source}
    of_eee = {"--organization": organization, "--data": data, "--run-code": run_code}
    for name, value in (of_hub if format == "eee" else of_eee).items():
        if value:
            raise ConfigError(f"{name} is not for --format {format}; leave it out")
    places = find_cells(folder)
    if format == "eee":
        if organization is None or not formats.ORGANIZATION.fullmatch(organization):
            raise ConfigError("--format eee needs --organization, a name of letters, digits and _.-")
        count = formats.every_eval_ever(folder, output, organization, _access(data, places, run_code))
        print(f"{count} records in {output}")
        return
    tasks = sorted({place.parts[-3] for place in places})
    if system is None or not dataset:
        raise ConfigError(f"--format huggingface needs --system and --dataset, such as --dataset {tasks[0]}=ORG/NAME")
    check_file(output, "OUTPUT")
    datasets = formats.pairs(dataset, "--dataset", tasks)
    write_text(output, formats.hub_results(folder, system, datasets, decoding=decoding or "own", source=source))
    print(f"written to {output}")


Texts = Annotated[
    bool, typer.Option("--texts/--no-texts", help="Show prompts, references and texts, for which the data is read.")
]


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a grid, or of submissions.")] = Path("runs/grue"),
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file.")] = Path("grue.html"),
    title: Annotated[str, typer.Option(help="Of the page.")] = "GRUE",
    texts: Texts = True,
    human: People = None,
    data: DataOfTasks = None,
    run_code: RunCode = False,
) -> None:
    """Write everything on one page: tables with intervals, maps, curves, texts, what was run. It loads nothing."""
    from rl4lms.cli import common
    from rl4lms.grue.page import report as write

    common.quiet()
    write(folder, output, _access_of_pages(folder, data, texts, run_code), title, human or ())
    print(f"written to {output}")


def site(
    output: Annotated[Path, typer.Argument(help="Folder of the pages, which is made.")],
    folder: Annotated[Path, typer.Argument(help="Folder of a grid, or of submissions.")] = Path("runs/grue"),
    title: Annotated[str, typer.Option(help="Of the first page.")] = "GRUE",
    texts: Texts = True,
    human: People = None,
    data: DataOfTasks = None,
    run_code: RunCode = False,
) -> None:
    """Write a page for the board and one for each task, for any server of files. They load nothing from elsewhere."""
    from rl4lms.cli import common
    from rl4lms.grue.page import site as write

    common.quiet()
    pages = write(folder, output, _access_of_pages(folder, data, texts, run_code), title, human or ())
    print(f"{len(pages)} pages in {output}; begin with {output / pages[0]}")


def _access_of_pages(folder: Path, data: list[str] | None, texts: bool, run_code: bool) -> Access | None:
    from rl4lms.errors import ConfigError
    from rl4lms.grue.verify import find_cells

    if not texts and data:
        raise ConfigError("--data is read for the texts; leave it out, or leave out --no-texts")
    if not texts and run_code:
        raise ConfigError("--run-code is for the task of the texts; leave it out, or leave out --no-texts")
    return _access(data, find_cells(folder), run_code) if texts else None


def _tell(tier: str, faults: dict[Path, list[str]], notes: Mapping[Path, str] = MappingProxyType({})) -> None:
    for place, found in faults.items():
        for fault in found:
            print(f"differs: {fault}")
        if not found:
            note = notes.get(place)
            print(f"{tier}: {'/'.join(place.parts[-3:])}{f': {note}' if note else ''}")
    wrong = sum(bool(found) for found in faults.values())
    print(f"{len(faults) - wrong} of {len(faults)} cells are {tier}")
    if wrong:
        raise typer.Exit(1)
