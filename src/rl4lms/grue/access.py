"""Cells whose files may come from anybody: what a recipe names is executed for nobody who did not ask for it.

A recipe may name Python files (`my_reward.py:score`), models as pickles, and servers. `submit` packs the Python files;
whoever reads a submission says whether they are run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.spec import Outside, read_spec, with_data
from rl4lms.grue.submission_file import read_submission
from rl4lms.grue.suite import Cell
from rl4lms.plugins.files import file_of

#: What of a recipe is needed where nothing is trained.
_SCORING = ("task", "evaluation")


@dataclass(frozen=True, slots=True)
class Access:
    """How cells are opened.

    Attributes:
        data: where the data of tasks is, by their names.
        run_code: whether the Python files that recipes name may be executed.
    """

    data: Mapping[str, str] = field(default_factory=dict)
    run_code: bool = False

    def open(self, place: Path, *, training: bool = False) -> Cell | Outside:
        """Read what a cell is of, with its data and Python files where they are here.

        Args:
            place: folder of the cell.
            training: whether all of its recipe is needed, and not only its task and metrics.

        Raises:
            ConfigError: the recipe would execute code, and that was not asked for.
            DataError: the file is damaged, or packed code was altered.
        """
        what = read_spec(place)
        found = foreign_code(_needed(what, training))
        packed = packed_code(place)
        if found and not self.run_code:
            where = [str(packed.get(file_of(name) or "", name)) for name in found]
            raise ConfigError(
                f"{what.key}: its recipe has this library run what is not of it: {', '.join(where)}; read that, and "
                "add --run-code if you trust it"
            )
        what = _with_code(what, packed)
        return with_data(what, self.data[what.task]) if what.task in self.data else what


#: Data where tasks look by themselves, and no code but the library's.
NO_CODE = Access()


def packed_code(place: Path) -> dict[str, Path]:
    """Return where the Python files are that a submission brings, by how its recipes name them.

    Args:
        place: folder of one of its cells.

    Raises:
        DataError: one is missing, or is not what was submitted.
    """
    root = place.parents[3]
    said = read_submission(root)
    if said is None:
        return {}
    for path in said.code.values():
        file = root / path
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != said.files.get(path):
            raise DataError(f"{file}: missing, or altered since it was submitted")
    return {name: (root / path).resolve() for name, path in said.code.items()}


def code_of(what: Cell | Outside) -> list[str]:
    """Return the Python files that a cell, and the one that it begins with, name in their recipes."""
    return [file for file in dict.fromkeys(map(file_of, texts_in(_needed(what, training=True)))) if file is not None]


def code_place(file: Path) -> str:
    """Return where a Python file is in a submission: two files of one name are two."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", file.stem)
    return f"code/{name}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.py"


def _needed(what: Cell | Outside, training: bool) -> list[Any]:
    if isinstance(what, Outside):
        return [what.component, what.evaluation]
    if not training:
        return [what.blocks[key] for key in _SCORING]
    return [what.blocks, *([] if what.after is None else _needed(what.after, training))]


def foreign_code(value: Any) -> list[str]:
    """Return what parts of a recipe have this library run that is not of it: Python files, pickles, addresses."""
    return list(dict.fromkeys(_runs(value)))


def _runs(value: Any) -> Iterator[str]:
    """Yield what has a recipe execute code or call a server: Python files, pickles, addresses."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "allow_pickle" and item:
                yield "allow_pickle: true"
            yield from _runs(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _runs(item)
    elif isinstance(value, str) and (file_of(value) or re.match(r"https?://", value)):
        yield value


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text of a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def _with_code(what: Cell | Outside, packed: Mapping[str, Path]) -> Cell | Outside:
    if isinstance(what, Outside):
        component, evaluation = _renamed(what.component, packed), _renamed(what.evaluation, packed)
        return replace(what, component=component, evaluation=evaluation)
    after: Any = None if what.after is None else _with_code(what.after, packed)
    return replace(what, blocks=_renamed(what.blocks, packed), after=after)


def _renamed(value: Any, packed: Mapping[str, Path]) -> Any:
    """Return a value in which the names of packed files are where they are here."""
    if isinstance(value, Mapping):
        return {key: _renamed(item, packed) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(item, packed) for item in value]
    file = file_of(value) if isinstance(value, str) else None
    if file is None or file not in packed:
        return value
    return f"{packed[file]}{value.removeprefix(file)}"
