"""Prompts from files or the Hub, without writing a task: `data: train.jsonl`."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from rl4lms.config.data import DataConfig
from rl4lms.data.given import texts_of
from rl4lms.data.rows import SUFFIXES, Row, Rows, open_rows
from rl4lms.errors import DataError
from rl4lms.types import ClassifierSpec, ModelSpec, Sample, Split

_MAX_HOLDOUT = 128  # rows for each of validation and test, where nobody said how many


class Samples(Sequence[Sample]):
    """Rows of a file as samples, in some order; each is read when it is asked for. A slice is another view of the same
    rows.

    Args:
        rows: the file.
        config: what the columns are called.
        order: which rows.
        change: what becomes of each sample.
    """

    def __init__(
        self, rows: Rows, config: DataConfig, order: Sequence[int], change: Callable[[Sample], Sample] | None = None
    ) -> None:
        self._rows, self._config, self._order, self._change = rows, config, order, change

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def __getitem__(self, index: int | slice) -> Sample | Samples:
        if isinstance(index, slice):
            return Samples(self._rows, self._config, self._order[index], self._change)
        number = self._order[index]
        sample = _sample(self._config, self._rows[number], number, lambda: self._rows.place(number), self._rows.path)
        return sample if self._change is None else self._change(sample)

    def with_targets(self) -> Samples:
        """Return the samples that have a text to learn from, as their only reference."""
        order = array("Q", (number for number, sample in zip(self._order, self, strict=True) if _target(sample)))
        return Samples(
            self._rows,
            self._config,
            order,
            lambda sample: Sample(sample.id, sample.prompt, (_target(sample),), sample.meta),
        )


class FileTask:
    """Rows with a `prompt` column, and optionally `references` (a text or a list) and `completion`; other columns go to
    the reward.

    A `references` of null, an empty list, and an empty cell of a CSV file are none; "" elsewhere is a reference that is
    empty. A column `id` goes to the reward, too, and names the samples, so no id may come twice in a file.

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
        self._splits: dict[str, Samples] = {}

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return rows of a split, in the order of the file; where `holdout` takes validation and test off train, train
        is shuffled.

        Raises:
            DataError: the split has no file, or a row is malformed (the message names file and row).
        """
        if not self._splits:
            self._read()
        if not self._splits.get(split):
            if split == "validation" and self.config.holdout is None and len(self._splits.get("train", ())) == 1:
                raise DataError(
                    f"data: {self.config.train} has a single row, so none is left for validation; name a file with "
                    f"data.validation"
                )
            raise DataError(
                f"data: there is no {split} split; name a file with data.{split}, or set data.holdout to take rows "
                f"off train"
            )
        return self._splits[split]

    def supervised(self, split: Split) -> Sequence[Sample]:
        """Return rows with a target: the `completion` column, else the first reference."""
        self.samples(split)
        rows = self._splits[split].with_targets()
        if not rows:
            raise DataError(
                f"data: no row of the {split} split has a {self.config.completion_column!r} or a reference to learn "
                f"from"
            )
        return rows

    def _read(self) -> None:
        c = self.config
        opened: dict[str, Samples] = {}
        splits: dict[str, Samples] = {}
        for split, path in (("train", c.train), ("validation", c.validation), ("test", c.test)):
            if path is not None:
                if path not in opened or not path.lower().endswith(SUFFIXES):  # a Hub id has a split of its own
                    opened[path] = _open(path, split, c)
                splits[split] = opened[path]
        if "train" in splits:
            self._hold_out(splits)
        if c.limit is not None:
            splits = {split: rows[: c.limit] for split, rows in splits.items()}
        self._splits = splits

    def _hold_out(self, splits: dict[str, Samples]) -> None:
        c, train = self.config, splits["train"]
        n = c.holdout
        if n is None:
            n = min(_MAX_HOLDOUT, max(1, len(train) // 10)) if "validation" not in splits else 0
        if not n:
            return
        order = array("Q", range(len(train)))
        random.Random(c.shuffle_seed).shuffle(order)
        train = Samples(train._rows, c, order)
        for split in ("validation", "test"):
            if split not in splits:
                if len(train) > n:
                    splits[split], train = train[-n:], train[:-n]
                elif c.holdout is not None:
                    raise DataError(f"data.holdout: {n} rows for {split} leave none of {c.train} to train on")
        splits["train"] = train


def _open(path: str, split: str, config: DataConfig) -> Samples:
    named, ids = False, array("q")

    def check(place: str, row: Row) -> None:
        nonlocal named
        named = named or row.get("id") is not None
        ids.append(hash(_sample(config, row, len(ids), lambda: place, path).id))

    rows = open_rows(path, split, check)
    samples = Samples(rows, config, range(len(rows)))
    if named:
        _refuse_twins(rows, samples, ids)
    return samples


def _refuse_twins(rows: Rows, samples: Samples, hashes: array[int]) -> None:
    """Ids are compared by their hashes, eight bytes each, and looked at where two hashes agree."""
    import numpy as np

    values = np.frombuffer(hashes, dtype=np.int64)
    order = np.argsort(values, kind="stable")
    again = np.flatnonzero(values[order][1:] == values[order][:-1])
    for second, first in sorted((int(order[i + 1]), int(order[i])) for i in again):
        if samples[first].id == samples[second].id:
            raise DataError(
                f"{rows.place(second)}: the id {samples[second].id!r} is that of {rows.place(first)}, too; ids name "
                f"samples, so make "
                "them differ, or call the column something else"
            )


def _sample(c: DataConfig, row: Row, number: int, place: Callable[[], str], path: str) -> Sample:
    """Return one row of a file as a sample; `number` counts from 0.

    Raises:
        DataError: a column is missing or has a wrong type.
    """
    if c.prompt_column not in row:
        raise DataError(f"{place()}: no column {c.prompt_column!r}; there are: {', '.join(map(str, row)) or 'none'}")
    prompt = row[c.prompt_column]
    if not isinstance(prompt, str):
        raise DataError(f"{place()}: {c.prompt_column!r} must be a text, got {type(prompt).__name__}")
    references = texts_of(row, c.references_column, place, path)
    meta = {key: value for key, value in row.items() if key not in (c.prompt_column, c.references_column)}
    if c.completion_column in meta and c.completion_column != "completion":
        meta["completion"] = meta.pop(c.completion_column)
    if not isinstance(meta.get("completion"), str | None):
        raise DataError(f"{place()}: {c.completion_column!r} must be a text, got {type(meta['completion']).__name__}")
    return Sample(str(number + 1 if meta.get("id") is None else meta["id"]), prompt, references, meta)


def _target(sample: Sample) -> str:
    return sample.meta.get("completion") or next(iter(sample.references), "")


def read_rows(path: str, split: str = "train") -> Iterator[tuple[str, Row]]:
    """Return rows of a file or of a Hub data set, each with its place for messages.

    Raises:
        DataError: as `rl4lms.data.rows.open_rows`.
    """
    rows = open_rows(path, split)
    for index in range(len(rows)):
        yield rows.place(index), rows[index]
