"""How far a result is to be trusted: *reported*; *re-scored*, every metric computed again from the predictions;
*re-run*, trained again from recipe and seed (`reproduce.py`).

A cell that passed has a file that says so, with the hashes of what was checked: what is altered later has not passed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError, DataError, did_you_mean
from rl4lms.grue.access import NO_CODE, Access
from rl4lms.grue.judges import judged_by_reward
from rl4lms.grue.rescore import Scorer
from rl4lms.grue.result import RESULTS_FILE, Result, Value, read_results
from rl4lms.grue.scores import Array, Scores, documents_of, fingerprint, read_scores
from rl4lms.grue.spec import SPEC_FILE, Outside, read_spec, recipe_of
from rl4lms.grue.submission import grids
from rl4lms.grue.suite import CELLS
from rl4lms.runs.environment import processor
from rl4lms.runs.storage import write_text
from rl4lms.tasks import task_of
from rl4lms.types import MetricResult

_MODEL_FOLDER = re.compile(r"(?<=\|model:)[^|]*/(?=[^|/])")

Tier = Literal["reported", "re-scored", "re-run"]
TIERS: tuple[Tier, ...] = ("reported", "re-scored", "re-run")
TIER_FILE = "verified.json"
# Between two computations of one metric: models in metrics may batch differently.
_CLOSE = 1e-6
# Of numbers that a model computed in float32 on another kind of processor; SmolLM2-135M differs by up to 8e-6.
_CLOSE_ELSEWHERE = 1e-4
_CHECKED = (RESULTS_FILE, "own.parquet", "shared.parquet")


def find_cells(folder: Path, keys: Sequence[str] = ()) -> list[Path]:
    """Return the folders of finished cells.

    Args:
        folder: of the grid, or of submissions.
        keys: `TASK/SYSTEM/seed-N`; all where there are none.

    Raises:
        ConfigError: one is not there.
    """
    paths = (path.parent for grid in grids(folder) for path in (grid / CELLS).glob(f"*/*/*/{RESULTS_FILE}"))
    there = {"/".join(path.parts[-3:]): path for path in paths}
    for key in keys:
        if key not in there:
            raise ConfigError(f"{folder}: no finished cell {key!r}; {did_you_mean(key, there)}")
    if not there:
        raise ConfigError(f"{folder}: no cell of a grid is finished there")
    return [there[key] for key in keys or sorted(there)]


@dataclass(frozen=True, slots=True)
class Checker:
    """What the cells of a task with the same metrics share: the scorer, and the document of each prompt."""

    scorer: Scorer
    documents: Mapping[str, str]


def verify(place: Path, checkers: dict[str, Checker], access: Access = NO_CODE) -> list[str]:
    """Compute every metric of a cell again from its predictions; return what is wrong.

    What the model itself is needed for (its KL, entropy, perplexities of references) and the reward cannot be computed
    from texts, and are left as reported; of those with a value for each text, the mean must be that of the values. A
    cell with nothing wrong is *re-scored*.

    Args:
        place: folder of the cell.
        checkers: those of other cells, by task and metrics; this one's is added.
        access: how cells are opened.

    Raises:
        ConfigError: the recipe names code that may not be run.
        DataError: a file is damaged.
    """
    what, results = read_spec(place), read_results(place / RESULTS_FILE)
    recipe = recipe_of(access.open(place))
    system = what.system if isinstance(what, Outside) else what.system.label
    version = task_of(recipe).version
    decodings = ["own"] if isinstance(what, Outside) else ["own", "shared"]
    fault = judged_by_reward(recipe)
    found = [] if fault is None else [f"{what.key}: {fault}"]
    if sorted(result.decoding for result in results) != decodings:
        found.append(f"{place / RESULTS_FILE}: needs one result of each decoding: {' and '.join(decodings)}")
    for result in results:
        where = f"{what.key}, {result.decoding}"
        about = (result.task, result.edition, result.system, result.seed, result.fingerprint)
        if about != (what.task, what.edition, system, what.seed, what.fingerprint):
            found.append(f"{where}: the result is of another task, edition, system, seed or recipe than {SPEC_FILE}")
        elif result.scores != f"{result.decoding}.parquet":
            found.append(f"{where}: the scores are in {result.decoding}.parquet, not in {result.scores}")
        elif result.task_version != version:
            found.append(f"{where}: of version {result.task_version} of the task, which is {version} here")
        else:
            scores = read_scores(place / result.scores)
            if isinstance(what, Outside) and fingerprint(scores.completions()) != what.fingerprint:
                found.append(f"{where}: the predictions are others than those that were scored")
            found += [f"{where}: {fault}" for fault in _faults(scores, recipe, result, checkers)]
    if not found:
        passed(place, "re-scored")
    return found


def _faults(scores: Scores, recipe: Recipe, result: Result, checkers: dict[str, Checker]) -> list[str]:
    assert recipe.task is not None
    # the same metrics on the same data, whatever the settings of training
    task = {key: value for key, value in recipe.task.model_dump(mode="json").items() if key != "preset"}
    kind = json.dumps([task, [metric.model_dump(mode="json") for metric in recipe.evaluation.metrics]])
    if kind not in checkers:
        checkers[kind] = Checker(Scorer.of(recipe, "test"), documents_of(task_of(recipe), "test"))
    scorer, documents = checkers[kind].scorer, checkers[kind].documents
    each = result.generation.get("completions_per_prompt", 1)
    try:
        again = scorer(scores.predictions(scorer.samples), wanted=(), each=each)
    except DataError as error:
        return [str(error)]
    wanted, there = scorer.drawn(recipe), len(scores.ids)
    found = []
    if not there == result.prompts == len(wanted):
        found.append(f"predictions for {there} prompts, {result.prompts} in the result, {len(wanted)} asked for")
    elif scores.ids != wanted:
        found.append(f"the prompts are others than the {there} that the recipe draws")
    if scores.documents != [documents[name] for name in scores.ids]:
        found.append(f"prompts of {scores.path.name} are from other documents than in the task")
    for key, value in again.results.items():
        reported = result.metrics.get(key)
        if reported is None:
            found.append(f"{key} is missing in the result")
            continue
        by_model_elsewhere = "|model:" in value.signature and result.processor != processor()
        close = _CLOSE_ELSEWHERE if by_model_elsewhere else _CLOSE
        found += _differences(key, reported, value, close)
        if value.values is not None:
            column = scores.columns.get(key, np.full(len(value.values), np.nan))
            found += [
                f"{key} of {name} is {ours} in {scores.path.name}, {theirs} from the prediction"
                for name, ours, theirs in zip(scores.texts["id"], column, value.values, strict=True)
                if not _equal(float(ours), theirs, close)
            ]
    for key in scores.columns.keys() & result.metrics.keys() - again.results.keys():
        said, mean = result.metrics[key].mean, _mean(scores.columns[key])
        if not _equal(said, mean):
            found.append(f"{key} is {said} in the result, {mean} in {scores.path.name}")
    return found


def _differences(key: str, reported: Value, value: MetricResult, close: float = _CLOSE) -> list[str]:
    found = []
    if not _equal(reported.mean, value.mean, close):
        found.append(f"{key} is {reported.mean} in the result, {value.mean} from the predictions")
    if not _equal(reported.stderr, value.stderr, close):
        found.append(f"the error of {key} is {reported.stderr} in the result, {value.stderr} from the predictions")
    for name in ("n", "higher_is_better"):
        ours, theirs = getattr(reported, name), getattr(value, name)
        if ours != theirs:
            found.append(f"{name} of {key} is {ours!r} in the result, {theirs!r} here")
    if _anywhere(reported.signature) != _anywhere(value.signature):
        found.append(f"signature of {key} is {reported.signature!r} in the result, {value.signature!r} here")
    return found


def _anywhere(signature: str) -> str:
    """Return a signature without the folder that a model lies in, which is another one elsewhere."""
    return _MODEL_FOLDER.sub("", signature)


def _mean(values: Array) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else math.nan


def _equal(one: float | None, other: float | None, close: float = _CLOSE) -> bool:
    """Whether two numbers are close; null and NaN are the same."""
    if one is None or other is None or one != one or other != other:
        return (one is None or one != one) and (other is None or other != other)
    return math.isclose(one, other, rel_tol=close, abs_tol=close)


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


def passed(place: Path, tier: Tier, note: str = "") -> None:
    """Write down that a cell, as its files are now, is of a tier; a higher one that it has stays.

    Args:
        place: folder of the cell.
        tier: what it has reached.
        note: in which way, for readers.
    """
    before = tier_of(place)
    highest = max(tier, before, key=TIERS.index)
    said = {"tier": highest, **({"note": note} if note else {}), "files": _hashes(place)}
    write_text(place / TIER_FILE, json.dumps(said, indent=1) + "\n")


def _hashes(place: Path) -> dict[str, str]:
    names = (SPEC_FILE, *_CHECKED)
    return {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in names if (place / name).is_file()}
