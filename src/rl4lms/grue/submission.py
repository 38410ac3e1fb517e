"""A submission: cells of a grid as a folder of files that others can check, and that a pull request can add to a board.

    SUBMISSION/
      submission.json                    who, with which training data, after how many tries; hashes of all files
      cells/TASK/SYSTEM/seed-N/          cell.json, results.json, the Parquet files and curves.json of each cell
      code/                              the Python files that recipes name, if any

It has the layout of a grid, so that everything that reads a grid reads it. A board is a folder of submissions. Nothing
is taken back: a submission that supersedes another names it, and tables show the later one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rl4lms.data.rows import SUFFIXES, open_rows
from rl4lms.errors import ConfigError, did_you_mean
from rl4lms.grue.access import code_of, code_place, texts_in
from rl4lms.grue.curves import curves_of, write_curves
from rl4lms.grue.overlap import Overlap, of_outputs, of_training
from rl4lms.grue.result import RESULTS_FILE, read_results
from rl4lms.grue.scores import read_scores
from rl4lms.grue.spec import SPEC_FILE, Outside, read_spec, recipe_of, with_data, write_spec
from rl4lms.grue.submission_file import SUBMISSION_FILE, Submission, checked, read_submission
from rl4lms.grue.suite import CELLS, Cell
from rl4lms.runs.outputs import check_folder
from rl4lms.runs.storage import replacing, write_text
from rl4lms.tasks import samples_of, task_of
from rl4lms.types import Sample

# Written by those who check a submission, so no part of it.
_NOT_PACKED = {SUBMISSION_FILE, "verified.json"}

_CELL = re.compile(rf"{CELLS}/([^/]+)/([^/]+)/seed-(\d+)/{re.escape(RESULTS_FILE)}")


def pack(
    grid: Path,
    output: Path,
    *,
    name: str,
    tried: int,
    note: str = "",
    training: Sequence[str] = (),
    supersedes: Sequence[str] = (),
    systems: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> Submission:
    """Write a submission from a grid.

    Args:
        grid: folder of the grid.
        output: of the submission; must not be there.
        name, note, tried, supersedes: as in `Submission`.
        training: names of training data, or files of it, whose overlap with the test sets is measured.
        systems, tasks: those that are submitted; all where there are none.

    Raises:
        ConfigError: there is nothing to submit, a seed that was begun is not finished, or one is missing.
        DataError: a file is damaged.
    """
    check_folder(output)
    chosen = _chosen(grid, systems, tasks)
    _check_seeds(chosen)
    code = _code(chosen)
    samples = {task: _test_set(place) for task, place in {what.task: place for place, what in chosen}.items()}
    declared = [_declared(text, samples) for text in training]
    outputs = _outputs(chosen, samples)
    with replacing(output) as folder:
        for place, what in chosen:
            there = folder / CELLS / what.key
            write_spec(there, with_data(what, None))
            for path in (RESULTS_FILE, *(result.scores for result in read_results(place / RESULTS_FILE))):
                shutil.copyfile(place / path, there / path)
            write_curves(there, curves_of(place))
        for name, path in code.items():
            (folder / path).parent.mkdir(exist_ok=True)
            shutil.copyfile(Path(name).expanduser(), folder / path)
        submission = checked(
            {
                "name": name,
                "note": note,
                "created": time.strftime("%Y-%m-%d"),
                "tried": tried,
                "supersedes": list(supersedes),
                "training": declared,
                "outputs": outputs,
                "code": code,
                "files": hashes(folder),
            },
            output / SUBMISSION_FILE,
        )
        write_text(folder / SUBMISSION_FILE, submission.model_dump_json(indent=1) + "\n")
    return submission


def _chosen(grid: Path, systems: Sequence[str], tasks: Sequence[str]) -> list[tuple[Path, Cell | Outside]]:
    begun = [(path.parent, read_spec(path.parent)) for path in sorted((grid / CELLS).glob(f"*/*/*/{SPEC_FILE}"))]
    if not begun:
        raise ConfigError(f"{grid}: no cell of a grid is there; run one: rl4lms grue run --output {grid}")
    for given, known in ((systems, {label(what) for _, what in begun}), (tasks, {what.task for _, what in begun})):
        for name in given:
            if name not in known:
                raise ConfigError(f"{grid}: no cell is of {name!r}; {did_you_mean(name, known)}")
    chosen = [
        (place, what)
        for place, what in begun
        if (not systems or label(what) in systems) and (not tasks or what.task in tasks)
    ]
    for place, what in chosen:
        if not (place / RESULTS_FILE).is_file():
            raise ConfigError(
                f"{place}: the cell {what.key} was begun and is not finished; every seed that was run is submitted: "
                f"finish it with rl4lms grue run --output {grid}"
            )
    return chosen


def _code(chosen: Sequence[tuple[Path, Cell | Outside]]) -> dict[str, str]:
    """Return where the Python files that recipes name go, by their names there."""
    found = {}
    for name, key in {name: what.key for _, what in chosen for name in code_of(what)}.items():
        file = Path(name).expanduser()
        if not file.is_file():
            raise ConfigError(
                f"{key}: its recipe names {name}, and there is no such file here; run this where the grid was run"
            )
        found[name] = code_place(file)
    return found


def label(what: Cell | Outside) -> str:
    """Return what the system of a cell is called."""
    return what.system if isinstance(what, Outside) else what.system.label


def _check_seeds(chosen: Sequence[tuple[Path, Cell | Outside]]) -> None:
    for fault in missing_seeds([(what.task, label(what), what.seed) for _, what in chosen]):
        raise ConfigError(f"{fault}; run it, since a choice of seeds is no estimate")


def missing_seeds(cells: Sequence[tuple[str, str, int]]) -> list[str]:
    """Say which seeds are missing of cells (task, system, seed): those below the highest of any of the task, from 0."""
    found = []
    for task in dict.fromkeys(task for task, _, _ in cells):
        wanted = set(range(max(seed for name, _, seed in cells if name == task) + 1))
        for system in dict.fromkeys(system for name, system, _ in cells if name == task):
            there = {seed for name, other, seed in cells if (name, other) == (task, system)}
            found += [f"{task}/{system}: seed {seed} is missing" for seed in sorted(wanted - there)]
    return found


def _test_set(place: Path) -> list[Sample]:
    return list(samples_of(task_of(recipe_of(read_spec(place))), "test"))


def _declared(text: str, samples: Mapping[str, Sequence[Sample]]) -> dict[str, Any]:
    path = Path(text)
    if not path.is_file():
        if path.suffix.lower() in (*SUFFIXES, ".txt"):
            raise ConfigError(f"training data {text}: no such file; give the path of a file, or a name such as C4")
        return {"name": text}
    return {"name": path.name, "overlap": {task: of_training(_texts(text), rows) for task, rows in samples.items()}}


def _texts(path: str) -> Iterator[str]:
    """Return every text of a file: of its columns, or of its lines where it has none."""
    if Path(path).suffix.lower() not in SUFFIXES:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from file
        return
    rows = open_rows(path)
    for number in range(len(rows)):
        yield from texts_in(rows[number])


def _outputs(
    chosen: Sequence[tuple[Path, Cell | Outside]], samples: Mapping[str, Sequence[Sample]]
) -> dict[str, Overlap]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for place, what in chosen:
        groups.setdefault(f"{what.task}/{label(what)}", []).extend(read_scores(place / "own.parquet").completions())
    by_id = {task: {sample.id: sample for sample in rows} for task, rows in samples.items()}
    return {key: of_outputs(rows, by_id[key.partition("/")[0]]) for key, rows in groups.items()}


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a submission but those that are no part of it, by its path."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in _NOT_PACKED)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def grids(folder: Path) -> list[Path]:
    """Return the grids or submissions of a folder: itself, or those in it that no other one supersedes.

    Raises:
        ConfigError: there is none.
        DataError: what a submission says of itself cannot be read.
    """
    if (folder / CELLS).is_dir():
        return [folder]
    found = {path.parent: read_submission(path.parent) for path in sorted(folder.glob(f"*/{CELLS}"))}
    if not found:
        raise ConfigError(f"{folder}: neither a grid nor a folder of submissions; run a grid: rl4lms grue run")
    gone = {name for said in found.values() if said is not None for name in said.supersedes}
    return [place for place, said in found.items() if said is None or said.name not in gone]


def check_files(folder: Path, submission: Submission) -> list[str]:
    """Return what is wrong with the files of a submission: hashes, files that are missing or not named, and seeds."""
    there, said = hashes(folder), submission.files
    found = [f"{path} is named in {SUBMISSION_FILE} and is missing" for path in said.keys() - there.keys()]
    found += [f"{path} is not named in {SUBMISSION_FILE}" for path in there.keys() - said.keys()]
    found += [f"{path} was altered" for path in there.keys() & said.keys() if there[path] != said[path]]
    found += [f"{path.relative_to(folder)} is a link" for path in folder.rglob("*") if path.is_symlink()]
    cells = [cell.groups() for path in said if (cell := _CELL.fullmatch(path))]
    seeds = [(task, system, int(seed)) for task, system, seed in cells]
    return [f"{folder.name}: {fault}" for fault in [*sorted(found), *missing_seeds(seeds)]]
