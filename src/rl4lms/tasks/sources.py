"""Data sets in the formats they are distributed in: files of a folder, plain, in gzip or in a zip, or a data set of the
Hub. Every row comes with its place, `file:line`, which begins the message about what is wrong with it.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rl4lms.data.hub import load_dataset
from rl4lms.data.rows import Row, decoded, json_row
from rl4lms.errors import DataError, nth_row

_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, RuntimeError)  # RuntimeError: needs a password


def find(folder: str, *patterns: str) -> Path:
    """Return the file of a folder that is called like the first pattern that one is called like, also with `.gz`.

    Raises:
        DataError: there is no such folder, no such file, or there are several.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(f"{folder}: there is no such folder; name the one with the files of the data set with data_dir")
    for pattern in patterns:
        found = sorted({*root.glob(pattern), *root.glob(f"{pattern}.gz")})
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(root)) for path in found)
            raise DataError(f"{folder}: {pattern} is one file, and here are {names}; leave one of them")
        if found:
            return found[0]
    there = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
    raise DataError(f"{folder}: needs {' or '.join(patterns)} (or with .gz); there is {there}")


def lines(path: Path, member: str | None = None) -> Iterator[tuple[str, str]]:
    """Return the lines of a UTF-8 file without their ends, each with its place.

    Args:
        path: plain, or in gzip where it ends in .gz.
        member: what to read of a zip file.

    Raises:
        DataError: it cannot be read, is damaged or not in UTF-8; the message has the line.
    """
    name, number = str(path) if member is None else f"{path}/{member}", 0
    try:
        with _opened(path, member) as file:
            for number, line in enumerate(file, 1):
                yield f"{name}:{number}", decoded(line, f"{name}:{number}").rstrip("\r\n")
    except _DAMAGED as error:
        raise DataError(f"{name}:{number + 1}: the file is damaged from here on ({error}); get it again") from error
    except KeyError as error:
        raise DataError(f"{path}: has no {member}; is it the file of another split?") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from error


def aligned(*files: tuple[Path, str | None]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return what stands in the same line of several files, with the place in the first.

    Args:
        files: each with what to read of it where it is a zip file.

    Raises:
        DataError: as `lines`; or one of them has fewer lines than another.
    """
    readers = [lines(path, member) for path, member in files]
    names = [str(path) if member is None else f"{path}/{member}" for path, member in files]
    number = 0
    while True:
        number += 1
        rows = [next(reader, None) for reader in readers]
        if all(row is None for row in rows):
            return
        if None in rows:
            short, other = rows.index(None), next(i for i, row in enumerate(rows) if row is not None)
            raise DataError(
                f"{names[short]}:{number}: the file ends before this line, which {names[other]} has; they belong "
                f"together line by line, get both again"
            )
        found = [row for row in rows if row is not None]
        yield found[0][0], tuple(text for _, text in found)


def json_lines(path: Path, member: str | None = None) -> Iterator[tuple[str, Row]]:
    """Return the rows of a JSONL file, each with its place.

    Raises:
        DataError: as `lines`; or a line is no JSON object.
    """
    for place, line in lines(path, member):
        if line.strip():
            yield place, json_row(line.encode(), place)


def hub_rows(path: str, split: str, **options: Any) -> Iterator[tuple[str, Row]]:
    """Return the rows of a data set of the Hub, each with its place.

    Args:
        options: those of `datasets.load_dataset`.

    Raises:
        DataError: it cannot be loaded; the message says what to do instead.
    """
    try:
        rows = load_dataset(path, split=split, **options)
    except DataError as error:
        raise DataError(f"{error}; or name a folder with the files of the data set with task.data_dir") from error
    for index, row in enumerate(rows):
        yield f"{path}, {split} {nth_row(index)}", dict(row)


def text_of(row: Mapping[str, Any], column: str, place: str) -> str:
    """Return a text of a row without white space around it.

    Raises:
        DataError: there is none, or it is empty.
    """
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: {column!r} must be a text that is not empty, got {value!r:.60}")
    return value.strip()


def _opened(path: Path, member: str | None) -> Any:
    if member is not None:
        with zipfile.ZipFile(path) as archive:
            return io.BytesIO(archive.read(member))
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
