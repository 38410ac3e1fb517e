"""How training went, by iteration: from the log of a cell's run, or from what a submission keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl4lms.errors import DataError
from rl4lms.runs.history import read_history
from rl4lms.runs.storage import write_text

CURVES_FILE = "curves.json"
#: What is kept: the reward that RL optimises, the distance from its start, entropy, size of NLPO's mask.
KEYS = ("rollout/score", "rollout/kl_per_sequence", "rollout/entropy", "train/mask_size")

Curves = Mapping[str, list[tuple[int, float]]]


def curves_of(place: Path) -> Curves:
    """Return (iteration, value) by log key of `KEYS`; nothing where nothing was trained by RL.

    Args:
        place: folder of the cell.

    Raises:
        DataError: the file of a submission is damaged.
    """
    if (place / "run" / "metrics.jsonl").is_file():
        history = read_history(place / "run")
        known = history.log_keys()
        return {key: history.series(key) for key in KEYS if key in known}
    path = place / CURVES_FILE
    if not path.is_file():
        return {}
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return {key: [(int(step), float(value)) for step, value in content[key]] for key in KEYS if key in content}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def write_curves(place: Path, curves: Curves) -> None:
    """Write the file of a submission, where there is anything to write."""
    if curves:
        rounded = {key: [[step, float(f"{value:.6g}")] for step, value in points] for key, points in curves.items()}
        write_text(place / CURVES_FILE, json.dumps(rounded, separators=(",", ":")) + "\n")
