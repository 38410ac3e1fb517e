"""The results of a database together with the files that they are copies of, for a table over several grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.result import RESULTS_FILE, Result, read_results
from rl4lms.grue.schema import KEY
from rl4lms.grue.store import Store


def read_stored(store: Store) -> list[tuple[Path, Result]]:
    """Return the results of a store with the folders of their cells, as `board.read_cells` does those of a grid.

    Raises:
        ConfigError: the store is empty, or has several results of one cell.
        DataError: the files of a result are not where the store says, or are of another result.
    """
    found, places = [], dict[tuple[Any, ...], Path]()
    for place, result in store.places():
        path = place / RESULTS_FILE
        cell = tuple(getattr(result, name) for name in KEY if name != "fingerprint")
        name = f"{store.name}: {result.task}/{result.system}/seed-{result.seed}, {result.decoding}"
        if cell in places:
            raise ConfigError(
                f"{name}: there are results with different settings, from {places[cell]} and from {place}; a table of "
                "one grid: rl4lms grue table FOLDER"
            )
        if not path.is_file():
            raise DataError(
                f"{name}: {path} is not there; where the grid was moved, rl4lms grue run on its folder stores it anew"
            )
        if result not in read_results(path):
            raise DataError(
                f"{name}: {path} has another result than the store; rl4lms grue run on this grid stores it anew"
            )
        places[cell] = place
        found.append((place, result))
    if not found:
        raise ConfigError(f"{store.name}: no results are stored there; rl4lms grue run --store adds them")
    return found
