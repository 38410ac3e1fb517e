"""Real reviews for the full edition: from the Hub, or from local files in the formats people have them in.

* a folder or a zip with `pos/*.txt` and `neg/*.txt`, under `train/` and `test/` (the layout of aclImdb) or without a
  split;
* one JSONL or CSV file with columns `text` and `label`;
* otherwise a Hub id with splits `train` and `test`.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from rl4lms.data.files import read_rows
from rl4lms.data.hub import load_dataset
from rl4lms.errors import DataError, nth_row

Row = tuple[str, bool]  # text, positive

_LABELS = {"1": True, "pos": True, "positive": True, "0": False, "neg": False, "negative": False}


def load(path: str) -> dict[str, list[Row]]:
    """Labelled reviews by split: `train` and `test`, or `all` where the source has no split. Rows are in a fixed order.

    Raises:
        DataError: there is nothing of that name, it is in no known format, or a row has no text or no label.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        files = ((file.relative_to(local).as_posix(), file.read_bytes()) for file in sorted(local.rglob("*.txt")))
        return _by_folder(files, path)
    if local.is_file():
        if local.suffix == ".zip":
            try:
                with zipfile.ZipFile(local) as archive:
                    names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
                    return _by_folder(((name, archive.read(name)) for name in names), path)
            except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:  # RuntimeError: it asks for a password
                raise DataError(f"{path}: not a zip file, or a damaged one: {error}") from error
        if local.suffix in {".jsonl", ".csv"}:
            return {"all": list(_rows_of_file(local))}
        raise DataError(
            f"{path}: cannot read {local.suffix or 'a file without suffix'}; use .jsonl, .csv, .zip or a folder"
        )
    if local.suffix or local.is_absolute() or path.startswith((".", "~")):
        raise DataError(f"{path}: there is no such file or folder")
    return _from_hub(path)


def _by_folder(files: Iterable[tuple[str, bytes]], source: str) -> dict[str, list[Row]]:
    splits: dict[str, list[Row]] = {}
    for name, content in files:
        folders = PurePosixPath(name).parts[:-1]
        # AclImdb has unlabelled reviews and lists of addresses, too
        if not folders or folders[-1] not in ("pos", "neg"):
            continue
        split = folders[-2] if len(folders) > 1 and folders[-2] in ("train", "test") else "all"
        splits.setdefault(split, []).append((_decoded(content), folders[-1] == "pos"))
    if set(splits) not in ({"all"}, {"train", "test"}):
        found = ", ".join(sorted(splits)) or "none"
        raise DataError(
            f"{source}: expected pos/*.txt and neg/*.txt, either under both train/ and test/ or without a split; "
            f"found splits: {found}"
        )
    return splits


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:  # older collections are in Latin-1, in which every byte means something
        return content.decode("latin-1")


def _rows_of_file(file: Path) -> Iterator[Row]:
    for place, row in read_rows(str(file)):
        yield _row(row, place)


def _row(row: dict[str, Any], where: str) -> Row:
    if not isinstance(row.get("text"), str) or not row["text"].strip():
        raise DataError(f"{where}: needs a column `text` with a review in it")
    label = str(row.get("label")).strip().lower()
    if label not in _LABELS:
        raise DataError(f"{where}: label {row.get('label')!r} is none of {', '.join(_LABELS)}")
    return row["text"], _LABELS[label]


def _from_hub(path: str) -> dict[str, list[Row]]:
    try:
        splits = load_dataset(path)
    except DataError as error:
        raise DataError(
            f"the reviews {error}; or name a local folder, .zip, .jsonl or .csv with `path`, or use edition: mini"
        ) from error
    missing = {"train", "test"} - set(splits)
    if missing:
        raise DataError(f"{path}: has no split {' and '.join(sorted(missing))}; found {', '.join(splits)}")
    return {
        name: [_row(row, f"{path}, {name} {nth_row(number)}") for number, row in enumerate(splits[name])]
        for name in ("train", "test")
    }
