"""Data sets that `save_to_disk` of `datasets` wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rl4lms.data.hub import quiet_datasets
from rl4lms.errors import DataError


def saved_splits(path: str) -> list[str] | None:
    """Return the splits of a folder that `save_to_disk` wrote; none of one `Dataset` alone, None of anything else."""
    state, info, parts = (os.path.join(path, name) for name in ("state.json", "dataset_info.json", "dataset_dict.json"))
    if os.path.isfile(parts):  # unlike pathlib's, no error where the name is too long for a file
        splits: list[str] = json.loads(Path(parts).read_text(encoding="utf-8"))["splits"]
        return splits
    return [] if os.path.isfile(state) and os.path.isfile(info) else None


def load_saved(path: str, split: str) -> Any:
    """Return the `Dataset` in a folder that `save_to_disk` wrote, mapped into memory.

    Args:
        path: of one `Dataset`, which is any split that is asked for, or of a `DatasetDict`.
        split: of the latter.

    Raises:
        DataError: there is no such split, or the folder is damaged.
    """
    splits = saved_splits(path)
    if splits and split not in splits:
        raise DataError(
            f"{path}: there is no split {split!r}; there are: {', '.join(splits)}. Name the folder of one, such as "
            f"{Path(path) / splits[0]}"
        )
    try:
        with quiet_datasets() as datasets:
            return datasets.load_from_disk(str(Path(path) / split if splits else path))
    except Exception as error:  # damaged folders fail in many ways
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{path}: this folder of a data set cannot be read: {reason}") from error
