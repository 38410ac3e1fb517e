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


class FileTask:
    """Rows with a `prompt` column, and optionally `references` (a text or a list) and `completion`; other columns go to the reward.

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
        """Rows of a split, in the order of the file; `holdout` takes validation and test off a shuffled train file.

        Raises:
            DataError: the split has no file, or a row is malformed (the message names file and row).
        """
        if not self._splits:
            self._read()
        if not self._splits.get(split):
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
        if c.holdout and "train" in self._splits:
            train = self._splits["train"]
            random.Random(c.shuffle_seed).shuffle(train)
            for split in ("validation", "test"):
                if split not in self._splits:
                    if len(train) <= c.holdout:
                        raise DataError(f"data.holdout: {c.holdout} rows for {split} leave none of {c.train} to train on")
                    self._splits[split], train = train[-c.holdout :], train[: -c.holdout]
            self._splits["train"] = train
        if c.limit is not None:
            self._splits = {split: rows[: c.limit] for split, rows in self._splits.items()}

    def _rows(self, path: str, split: str) -> Iterator[Sample]:
        c, seen = self.config, set()
        for number, row in read_rows(path, split):
            where = f"{path}, row {number}"
            if c.prompt_column not in row:
                raise DataError(f"{where}: no column {c.prompt_column!r}; there are: {', '.join(map(str, row))}")
            prompt = row.pop(c.prompt_column)
            if not isinstance(prompt, str):
                raise DataError(f"{where}: {c.prompt_column!r} must be a text, got {type(prompt).__name__}")
            references = row.pop(c.references_column, None)
            references = () if references is None else (references,) if isinstance(references, str) else tuple(references)
            if not all(isinstance(reference, str) for reference in references):
                raise DataError(f"{where}: {c.references_column!r} must be a text or a list of texts")
            if c.completion_column in row and c.completion_column != "completion":
                row["completion"] = row.pop(c.completion_column)
            name = str(row.pop("id", number))
            if name in seen:
                raise DataError(f"{where}: the id {name!r} appears twice")
            seen.add(name)
            yield Sample(name, prompt, references, row)


def read_rows(path: str, split: str = "train") -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered rows (from 1) of a JSONL, JSON, CSV, TSV or Parquet file, or of a Hub data set; `${...}` was resolved before.

    Raises:
        DataError: no such file, no rows, or a row that is not a mapping.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES and not Path(path).exists():
        rows: Any = _hub_rows(path, split)
    elif not Path(path).is_file():
        raise DataError(f"{path}: no such file; data files end in {', '.join(_SUFFIXES)}, anything else is a Hub id")
    else:
        readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
        if suffix not in readers:
            raise DataError(f"{path}: unknown kind of file; use {', '.join(_SUFFIXES)}")
        rows = readers[suffix](path)
    empty = True
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: expected a mapping of columns, got {type(row).__name__}")
        empty = False
        yield number, row
    if empty:
        raise DataError(f"{path}: no rows")


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
        rows = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of rows")
    # A plain list of texts is a list of prompts.
    return ({"prompt": row} if isinstance(row, str) else row for row in rows)


def _csv(path: str) -> Iterator[Any]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t" if path.endswith(".tsv") else ",")


def _parquet(path: str) -> Iterator[Any]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()


def _hub_rows(path: str, split: str) -> Iterator[Any]:
    import datasets

    try:
        return iter(datasets.load_dataset(path, split=split))
    except (OSError, ValueError) as error:
        raise DataError(f"{path!r} is neither a file nor a data set that can be loaded from the Hub: {error}") from error
