"""How far a result is to be trusted: *reported*; *re-scored*, every metric computed again from the predictions;
*re-run*, trained again from recipe and seed with the same texts.

A cell that passed has a file that says so, with the hashes of what was checked: what is altered later has not passed.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from rl4lms.errors import ConfigError, DataError, did_you_mean
from rl4lms.grue.cell import RESULTS_FILE, SPEC_FILE
from rl4lms.grue.executors import Processes
from rl4lms.grue.jobs import Job, Show
from rl4lms.grue.rescore import Scorer
from rl4lms.grue.result import Result, read_results
from rl4lms.grue.runner import CELLS, Grid
from rl4lms.grue.scores import documents_of, read_scores
from rl4lms.grue.suite import Cell, cell_from_dict, task_of_cell
from rl4lms.runs.storage import write_text

Tier = Literal["reported", "re-scored", "re-run"]
TIERS: tuple[Tier, ...] = ("reported", "re-scored", "re-run")
TIER_FILE = "verified.json"
# Between two computations of one metric: models in metrics may batch differently.
_CLOSE = 1e-6
_CHECKED = (RESULTS_FILE, "own.parquet", "shared.parquet")


def find_cells(folder: Path, keys: Sequence[str] = ()) -> list[Path]:
    """Return the folders of finished cells.

    Args:
        folder: of the grid.
        keys: `TASK/SYSTEM/seed-N`; all where there are none.

    Raises:
        ConfigError: one is not there.
    """
    there = {"/".join(path.parent.parts[-3:]): path.parent for path in (folder / CELLS).glob(f"*/*/*/{RESULTS_FILE}")}
    for key in keys:
        if key not in there:
            raise ConfigError(f"{folder}: no finished cell {key!r}; {did_you_mean(key, there)}")
    if not there:
        raise ConfigError(f"{folder}: no cell of a grid is finished there")
    return [there[key] for key in keys or sorted(there)]


def verify(place: Path, scorers: dict[str, Scorer]) -> list[str]:
    """Compute every metric of a cell again from its predictions; return what is wrong.

    What the model itself is needed for (its KL, entropy, perplexities of references) and the reward cannot be computed
    from texts, and are left as reported. A cell with nothing wrong is *re-scored*.

    Args:
        place: folder of the cell.
        scorers: those of other cells, by task and metrics; this one's is added.

    Raises:
        DataError: a file is damaged.
    """
    cell, results = _read(place)
    found = []
    if {result.decoding for result in results} != {"own", "shared"}:
        found.append(f"{place / RESULTS_FILE}: needs one result of each decoding")
    for result in results:
        where = f"{cell.key}, {result.decoding}"
        about = (result.task, result.edition, result.system, result.seed, result.fingerprint)
        if about != (cell.task, cell.edition, cell.system.label, cell.seed, cell.fingerprint):
            found.append(f"{where}: the result is of another task, edition, system, seed or recipe than {SPEC_FILE}")
            continue
        if result.scores != f"{result.decoding}.parquet":
            found.append(f"{where}: the scores are in {result.decoding}.parquet, not in {result.scores}")
            continue
        if result.task_version != (version := task_of_cell(cell).version):
            found.append(f"{where}: of version {result.task_version} of the task, which is {version} here")
            continue
        found += [f"{where}: {fault}" for fault in _faults(place, cell, result, scorers)]
    if not found:
        _pass(place, "re-scored")
    return found


def _faults(place: Path, cell: Cell, result: Result, scorers: dict[str, Scorer]) -> list[str]:
    path = place / result.scores
    scores = read_scores(path)
    recipe = cell.recipe(place / "run")
    task = {key: value for key, value in cell.blocks["task"].items() if key != "preset"}
    kind = json.dumps([task, cell.blocks["evaluation"]["metrics"]])
    if kind not in scorers:
        scorers[kind] = Scorer.of(recipe, "test")
    try:
        again = scorers[kind](scores.predictions(scorers[kind].samples), every=False)
    except DataError as error:
        return [str(error)]
    wanted, there = min(again.prompts, recipe.evaluation.prompts or again.prompts), len(scores.ids)
    found = []
    if not there == result.prompts == wanted:
        found.append(f"{there} predictions, {result.prompts} in the result, {wanted} prompts asked for")
    documents = documents_of(task_of_cell(cell), "test")
    if scores.documents != [documents[name] for name in scores.ids]:
        found.append(f"prompts of {path.name} are from other documents than in the task")
    for key, value in again.results.items():
        reported = result.metrics.get(key)
        if reported is None:
            found.append(f"{key} is missing in the result")
        elif not _equal(reported.mean, value.mean):
            found.append(f"{key} is {reported.mean} in the result, {value.mean} from the predictions")
        if value.values is not None:
            rows = zip(scores.texts["id"], scores.columns.get(key, [math.nan] * there), value.values, strict=True)
            found += [
                f"{key} of {name} is {ours} in {path.name}, {theirs} from the prediction"
                for name, ours, theirs in rows
                if not _equal(None if ours != ours else float(ours), theirs)
            ]
    return found


def _equal(one: float | None, other: float) -> bool:
    if one is None or other != other:
        return one is None and other != other
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)


def reproduce(place: Path, show: AbstractContextManager[Show]) -> list[str]:
    """Run a cell again, and the one that it begins with, in a temporary folder; return what differs.

    Texts and numbers must be equal to the last bit, as they are on processors of one kind. A cell with nothing
    different is *re-run*.

    Raises:
        DataError: a file is damaged, or the cell fails when it is run again.
    """
    cell, results = _read(place)
    cells = [one for one in (cell.after, cell) if one is not None]
    with tempfile.TemporaryDirectory(prefix="rl4lms-grue-") as temporary:
        grid = Grid(Path(temporary), cells)
        failed: list[Job] = grid.run(executor=Processes(1), show=lambda *_: show, finished=lambda *_: None)
        if failed:
            raise DataError(f"{cell.key}: it could not be run again: {failed[0].error}")
        again = {result.decoding: result for result in grid.results(cell)}
        found = []
        for result in results:
            where, name = f"{cell.key}, {result.decoding}", result.scores
            ours, theirs = (read_scores(path / name).completions() for path in (place, grid.place(cell)))
            if [prompt for prompt, _ in ours] != [prompt for prompt, _ in theirs]:
                found.append(f"{where}: other prompts")
            elif different := sum(one != two for one, two in zip(ours, theirs, strict=True)):
                found.append(f"{where}: {different} of {len(ours)} texts are others")
            for key, value in result.metrics.items():
                if value != again[result.decoding].metrics.get(key):
                    found.append(f"{where}: {key} {value.mean}, now {again[result.decoding].metrics[key].mean}")
    if not found:
        _pass(place, "re-run")
    return found


def tier_of(place: Path) -> Tier:
    """Return how far the results of a cell were checked, as its files are now."""
    path = place / TIER_FILE
    if not path.is_file():
        return "reported"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        tier: Tier = said["tier"]
        return tier if tier in TIERS and said["files"] == _hashes(place) else "reported"
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged; remove it, and run rl4lms grue verify again") from error


def _pass(place: Path, tier: Tier) -> None:
    before = tier_of(place)
    highest = max(tier, before, key=TIERS.index)
    write_text(place / TIER_FILE, json.dumps({"tier": highest, "files": _hashes(place)}, indent=1) + "\n")


def _hashes(place: Path) -> dict[str, str]:
    names = (SPEC_FILE, *_CHECKED)
    return {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in names if (place / name).is_file()}


def _read(place: Path) -> tuple[Cell, list[Result]]:
    path = place / SPEC_FILE
    try:
        cell = cell_from_dict(json.loads(path.read_text(encoding="utf-8"))["cell"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    return cell, read_results(place / RESULTS_FILE)
