"""What a cell is of, as its file `cell.json` says: a recipe that is run, or predictions that were made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rl4lms.config import recipe_from_dict
from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.suite import PLACES, Cell, cell_from_dict, cell_to_dict
from rl4lms.runs.storage import write_text
from rl4lms.tasks import build as build_task

SPEC_FILE = "cell.json"
# What every recipe of a cell has, be it null.
_BLOCKS = ("task", "evaluation", "model", "algorithm")


@dataclass(frozen=True, slots=True)
class Outside:
    """Predictions that no recipe of this library made: for one task, of one seed.

    Attributes:
        task, edition, system, seed: the place in the grid.
        component: the task with its options.
        evaluation: the metrics that they are scored by, and which prompts, as in a recipe.
        model: who made them, in words.
        fingerprint: a hash of the predictions.
    """

    task: str
    edition: str
    system: str
    seed: int
    component: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    model: str
    fingerprint: str

    @property
    def key(self) -> str:
        """Its folder below that of all cells, and its name."""
        return f"{self.task}/{self.system}/seed-{self.seed}"

    def recipe(self) -> Recipe:
        """Return a recipe with the task and the evaluation."""
        blocks = {"task": self.component, "evaluation": {"split": "test", **self.evaluation}}
        return recipe_from_dict(blocks, f"cell {self.key}")


def recipe_of(what: Cell | Outside) -> Recipe:
    """Return a recipe with the task and the metrics of a cell."""
    return what.recipe() if isinstance(what, Outside) else what.recipe(Path("run"))


def with_data(what: Any, place: str | None) -> Any:
    """Return a cell whose data lies elsewhere.

    Args:
        what: `Cell` or `Outside`.
        place: folder or file of the data; None for where the task would look by itself.

    Raises:
        ConfigError: the task has no option that says where its data is.
    """
    if isinstance(what, Outside):
        return replace(what, component=placed(what.component, place))
    after = None if what.after is None else with_data(what.after, place)
    return replace(what, blocks={**what.blocks, "task": placed(what.blocks["task"], place)}, after=after)


def placed(component: Mapping[str, Any], place: str | None) -> dict[str, Any]:
    """Return a task with its options whose data lies elsewhere; see `with_data`."""
    left = {key: None if key in PLACES else value for key, value in component.items()}
    if place is None:
        return left
    options = {option.name for option in fields(build_task(left))}  # type: ignore[arg-type]  # all are dataclasses
    known = [key for key in PLACES if key in options]
    if not known:
        raise ConfigError(f"task {component['name']}: it has no option that says where its data is")
    return {**left, known[0]: place}


def write_spec(folder: Path, what: Cell | Outside, start: Path | None = None) -> None:
    """Write the file into the folder of a cell, which is made.

    Args:
        folder: of the cell.
        what: it is.
        start: the model that a cell begins with, where another one has trained it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content: Mapping[str, Any] = (
        {"outside": asdict(what)}
        if isinstance(what, Outside)
        else {"cell": cell_to_dict(what), "start": None if start is None else str(start)}
    )
    write_text(folder / SPEC_FILE, json.dumps(content, indent=1) + "\n")


def read_spec(folder: Path) -> Cell | Outside:
    """Read the file of a cell.

    Raises:
        DataError: there is none, or it is damaged.
    """
    return _read(folder)[0]


def read_start(folder: Path) -> Path | None:
    """Return the model that a cell begins with, where another one has trained it."""
    start = _read(folder)[1].get("start")
    return None if start is None else Path(start)


def _read(folder: Path) -> tuple[Cell | Outside, Mapping[str, Any]]:
    path = folder / SPEC_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "outside" in content:
            return Outside(**content["outside"]), content
        cell = cell_from_dict(content["cell"])
        for one in (cell, cell.after):
            if one is not None and (missing := [key for key in _BLOCKS if key not in one.blocks]):
                raise KeyError(f"no block {missing[0]}")
        return cell, content
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
