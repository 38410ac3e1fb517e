"""Prompts from files or the Hub, without writing a task: `data: train.jsonl`."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rl4lms.config.data import DataConfig
from rl4lms.errors import DataError
from rl4lms.types import ClassifierSpec, ModelSpec, Sample, Split

_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_MAX_HOLDOUT = 128  # rows for each of validation and test, where nobody said how many


class FileTask:
    """Rows with a `prompt` column, and optionally `references` (a text or a list) and `completion`; other columns go to the reward.

    A column `id` goes to the reward, too, and names the samples; where an id comes again, the sample is called `<id>#<row>`.

    Args:
        config: which files, and what the columns are called.
    """

    name = "data"
    version = 1
    edition = "files"
    models: Mapping[str, ModelSpec] = {}
    classifiers: Mapping[str, ClassifierSpec] = {}
    defaults: Mapping[str, Any] = {}

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self._splits: dict[str, list[Sample]] = {}

    def samples(self, split: Split) -> Sequence[Sample]:
        """Rows of a split, in the order of the file; where `holdout` takes validation and test off train, train is shuffled.

        Raises:
            DataError: the split has no file, or a row is malformed (the message names file and row).
        """
        if not self._splits:
            self._read()
        if not self._splits.get(split):
            if split == "validation" and self.config.holdout is None and len(self._splits.get("train", ())) == 1:
                raise DataError(
                    f"data: {self.config.train} has a single row, so none is left for validation; name a file with data.validation"
                )
            raise DataError(f"data: there is no {split} split; name a file with data.{split}, or set data.holdout to take rows off train")
        return self._splits[split]

    def supervised(self, split: Split) -> Sequence[Sample]:
        """Rows with a target: the `completion` column, else the first reference."""
        rows = []
        for sample in self.samples(split):
            target = sample.meta.get("completion") or next(iter(sample.references), None)
            if target:
                rows.append(Sample(sample.id, sample.prompt, (target,), sample.meta))
        if not rows:
            raise DataError(f"data: no row of the {split} split has a {self.config.completion_column!r} or a reference to learn from")
        return rows

    def _read(self) -> None:
        c = self.config
        for split, path in (("train", c.train), ("validation", c.validation), ("test", c.test)):
            if path is not None:
                self._splits[split] = list(self._rows(path, split))
        if "train" in self._splits:
            self._hold_out()
        if c.limit is not None:
            self._splits = {split: rows[: c.limit] for split, rows in self._splits.items()}

    def _hold_out(self) -> None:
        c, train = self.config, self._splits["train"]
        n = c.holdout
        if n is None:
            n = min(_MAX_HOLDOUT, max(1, len(train) // 10)) if "validation" not in self._splits else 0
        if not n:
            return
        random.Random(c.shuffle_seed).shuffle(train)
        for split in ("validation", "test"):
            if split not in self._splits:
                if len(train) > n:
                    self._splits[split], train = train[-n:], train[:-n]
                elif c.holdout is not None:
                    raise DataError(f"data.holdout: {n} rows for {split} leave none of {c.train} to train on")
        self._splits["train"] = train

    def _rows(self, path: str, split: str) -> Iterator[Sample]:
        c = self.config
        seen: set[str] = set()
        for number, row in read_rows(path, split):
            where = f"{path}, row {number}"
            if c.prompt_column not in row:
                raise DataError(f"{where}: no column {c.prompt_column!r}; there are: {', '.join(map(str, row))}")
            prompt = row.pop(c.prompt_column)
            if not isinstance(prompt, str):
                raise DataError(f"{where}: {c.prompt_column!r} must be a text, got {type(prompt).__name__}")
            references = row.pop(c.references_column, None)
            references = [] if references is None else [references] if isinstance(references, str) else references
            if not isinstance(references, list):
                raise DataError(f"{where}: {c.references_column!r} must be a text or a list of texts, got {type(references).__name__}")
            wrong = next((type(reference).__name__ for reference in references if not isinstance(reference, str)), None)
            if wrong is not None:
                raise DataError(f"{where}: {c.references_column!r} must be a text or a list of texts, got a list with {wrong}")
            if c.completion_column in row and c.completion_column != "completion":
                row["completion"] = row.pop(c.completion_column)
            if not isinstance(row.get("completion"), str | None):
                raise DataError(f"{where}: {c.completion_column!r} must be a text, got {type(row['completion']).__name__}")
            name = str(number if row.get("id") is None else row["id"])
            while name in seen:  # several rows may share an id, and one may look like what is made here
                name = f"{name}#{number}"
            seen.add(name)
            yield Sample(name, prompt, tuple(references), row)


def read_rows(path: str, split: str = "train") -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered rows (from 1) of a JSONL, JSON, CSV, TSV or Parquet file, or of a Hub data set; `${...}` was resolved before.

    Raises:
        DataError: no such file, a file that is damaged or not in UTF-8, no rows, or a row that is not a mapping.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES and not Path(path).exists():
        rows: Any = _hub_rows(path, split)
    elif not Path(path).is_file():
        raise DataError(f"{path}: no such file; data files end in {', '.join(_SUFFIXES)}, anything else is a Hub id")
    else:
        rows = _file_rows(path, suffix)
    empty = True
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: expected a mapping of columns, got {type(row).__name__}")
        empty = False
        yield number, row
    if empty:
        raise DataError(f"{path}: no rows")


def read_text(path: str) -> str:
    """A whole UTF-8 file.

    Raises:
        DataError: no such file, or not in UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _not_utf8(path: str, error: UnicodeDecodeError) -> DataError:
    return DataError(f"{path}: not UTF-8 text (byte 0x{error.object[error.start]:02x}); data files are read as UTF-8, so save it as UTF-8")


def _file_rows(path: str, suffix: str) -> Iterator[Any]:
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    if suffix not in readers:
        raise DataError(f"{path}: unknown kind of file; use {', '.join(_SUFFIXES)}")
    try:
        yield from readers[suffix](path)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error


def _jsonl(path: str) -> Iterator[Any]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}:{number}: not JSON: {error}") from error


def _json(path: str) -> Iterator[Any]:
    try:
        rows = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of rows")
    # A plain list of texts is a list of prompts.
    return ({"prompt": row} if isinstance(row, str) else row for row in rows)


def _csv(path: str) -> Iterator[Any]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        number = 0
        try:
            for number, row in enumerate(csv.DictReader(file, delimiter="\t" if path.lower().endswith(".tsv") else ","), 1):
                if None in row:
                    raise DataError(
                        f"{path}, row {number}: more cells than the header has; put quotes around texts with a separator in them"
                    )
                yield row
        except csv.Error as error:
            raise DataError(f"{path}, row {number + 1}: {error}") from error


def _parquet(path: str) -> Iterator[Any]:
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file, or a damaged one: {error}") from error


def _hub_rows(path: str, split: str) -> Iterator[Any]:
    import datasets

    try:
        return iter(datasets.load_dataset(path, split=split))
    except (OSError, ValueError) as error:
        raise DataError(f"{path!r} is neither a file nor a data set that can be loaded from the Hub: {error}") from error
