"""Measures the constants by which the metrics of a task are normalised, from a grid of `zero_shot` and the references.

    rl4lms grue run --systems zero_shot --seeds 3 --output runs/norms
    python scripts/norms.py runs/norms

prints, for each task, what its attribute `norms` says: by metric what the base model scores at its own decoding, the
mean over three seeds, and what the references score (`rl4lms.grue.norms.ceiling`), to four digits.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rl4lms.errors import DataError, Rl4lmsError
from rl4lms.grue.board import boards_of, read_groups
from rl4lms.grue.norms import ceiling, check_norm


def main(folder: Path) -> None:
    """Print the constants of every task of a grid."""
    groups = read_groups(folder, "own")
    for board, cells in zip(boards_of(groups), groups.values(), strict=True):
        if "zero_shot" not in board.rows:
            raise DataError(f"{folder}: {board.task} has no cell of zero_shot")
        _, numbers = board.rows["zero_shot"]
        top = ceiling(board.task, board.edition, cells[0].scores.ids)
        print(f'# {board.task}\nnorms = {{("{board.edition}", {board.version}): {{')
        for key, number in numbers.items():
            if key not in top:
                print(f"    # {key}: no value of references, which a model is needed for")
                continue
            norm = float(f"{number.value:.4g}"), float(f"{top[key]:.4g}")
            try:
                check_norm(key, norm, board.columns[key])
            except DataError as error:
                print(f"    # {error}")
                continue
            print(f'    "{key}": {norm},')
        print("}}", flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Rl4lmsError as error:
        sys.exit(f"error: {error}")
