"""Prompts from files or the Hub, without writing a task: `data: train.jsonl`."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, overload

from rl4lms.config.data import DataConfig
from rl4lms.data.conversations import answered, completion_given, prompt_given
from rl4lms.data.given import texts_of
from rl4lms.data.rows import SUFFIXES, Row, Rows, open_rows
from rl4lms.data.saved import saved_splits
from rl4lms.errors import DataError, cut, nth_row, plural
from rl4lms.types import ClassifierSpec, ModelSpec, Sample, Split

_MAX_HOLDOUT = 128  # rows for each of validation and test, where nobody said how many


class Samples(Sequence[Sample]):
    """Rows of a file as samples, in some order; each is read when it is asked for. A slice is another view of the same
    rows.

    Args:
        rows: the file.
        config: what the columns are called.
        order: which rows.
        marks: what tells rows of the file apart.
        change: what becomes of each sample.
    """

    def __init__(
        self,
        rows: Rows,
        config: DataConfig,
        order: Sequence[int],
        marks: _Marks,
        change: Callable[[Sample], Sample] | None = None,
    ) -> None:
        self._rows, self._config, self._order, self._marks, self._change = rows, config, order, marks, change

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def __getitem__(self, index: int | slice) -> Sample | Samples:
        if isinstance(index, slice):
            return Samples(self._rows, self._config, self._order[index], self._marks, self._change)
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
            self._marks,
            lambda sample: replace(sample, references=(_target(sample),)),
        )

    def among(self, others: Samples) -> int:
        """Return how many rows have the content of one of the others, whatever their ids."""
        known = {others._marks.contents[number] for number in others._order}
        return sum(self._marks.contents[number] in known for number in self._order)

    def held_out(self, fewest: int) -> tuple[Samples, Samples]:
        """Return the rows that stay, and at least `fewest` from the end with all rows of their groups: nothing where no
        group would stay.
        """
        groups, held, rows = self._marks.groups, set[int](), 0
        sizes = Counter(groups[number] for number in self._order)
        for number in reversed(self._order):
            if rows >= fewest:
                break
            if groups[number] not in held:
                held.add(groups[number])
                rows += sizes[groups[number]]
        if len(held) == len(sizes):
            return self, self[:0]
        parts = (array("Q", (n for n in self._order if (groups[n] in held) == out)) for out in (False, True))
        stay, out = (Samples(self._rows, self._config, order, self._marks, self._change) for order in parts)
        return stay, out


class _Marks(NamedTuple):
    """What was seen when a file was read: hashes of each row, eight bytes each, of what it says, but for its id, and of
    the group it is in where rows are held out; the columns of all rows; the numbers of those without a prompt to read.
    """

    contents: array[int]
    groups: array[int]
    columns: set[str]
    empty: array[int]


class FileTask:
    """Rows with a `prompt` column, each a text or a conversation, and optionally `references` (a text or a list) and
    `completion`; other columns go to the reward.

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
        self._rows = 0  # of the file that rows were held out of; 0 where none were

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return rows of a split, in the order of the file; where `holdout` takes validation and test off train, train
        is shuffled.

        Raises:
            DataError: the split has no file, or a row is malformed (the message names file and row).
        """
        if not self._splits:
            self._read()
        if not self._splits.get(split):
            if split == "validation" and self.config.holdout is None and "train" in self._splits:
                single, other = "row", ""
                if len(self._splits["train"]) > 1:
                    single = repr(self.config.group_column or self.config.prompt_column)
                    other = ", or another column by which rows belong together with data.group_column"
                raise DataError(
                    f"data: {self.config.train} has a single {single}, so none is left for validation; name a file "
                    f"with data.validation{other}"
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

    def held_out(self) -> str:
        """Return how many rows were taken off train for which split, in words; nothing where none were."""
        self.samples("train")
        if not self._rows:
            return ""
        c, train = self.config, len(self._splits["train"])
        parts = [
            f"{len(self._splits[split]):,} for {split}"
            for split in ("validation", "test")
            if getattr(c, split) is None and self._splits.get(split)
        ]
        together = f"rows of one {c.group_column or c.prompt_column!r} stay together"
        few = "; that is most of them: name other files with data.validation and data.test, or set data.holdout"
        told = f"{' and '.join(parts)}, {train:,} to train on, of {self._rows:,} rows of {c.train}; {together}"
        return told + few * (2 * train < self._rows)

    def empty_prompts(self) -> str:
        """Return where prompts are empty, in words; nothing where none is."""
        files = {rows._rows.path: rows for rows in self._splits.values() if len(rows._marks.empty)}
        return "; ".join(
            f"{plural(len(rows._marks.empty), 'empty prompt')}, the first at {rows._rows.place(rows._marks.empty[0])}"
            for rows in files.values()
        )

    def column_among(self, names: Iterable[str]) -> tuple[str, str] | None:
        """Return a file and a column that it has beside prompts and references, with one of these names; None where
        there is none.
        """
        if not self._splits:
            self._read()
        others = set(names) - {self.config.prompt_column, self.config.references_column, self.config.completion_column}
        found = ((rows._rows.path, sorted(others & rows._marks.columns)) for rows in self._splits.values())
        return next(((path, columns[0]) for path, columns in found if columns), None)

    def shared(self, split: Split, other: Split) -> int:
        """Return how many rows of a split are rows of another, too, in whichever files they stand; 0 where one is not
        there.
        """
        self.samples("train")
        rows, others = self._splits.get(split), self._splits.get(other)
        return rows.among(others) if rows and others else 0

    def _read(self) -> None:
        c = self.config
        opened: dict[str, Samples] = {}
        splits: dict[str, Samples] = {}
        paths = {"train": c.train, "validation": c.validation, "test": c.test}
        if c.train is not None:  # a folder with several splits has them itself
            own = saved_splits(c.train) or ()
            paths |= {split: c.train for split in own if split in paths and paths[split] is None}
        for split, path in paths.items():
            if path is not None:
                if path not in opened or not path.lower().endswith(SUFFIXES):  # a Hub id has a split of its own
                    opened[path] = _open(path, split, c)
                splits[split] = opened[path]
        _refuse_absent_columns(c, list(opened.values()))
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
        train = Samples(train._rows, c, order, train._marks)
        for split in ("validation", "test"):
            if split not in splits:
                train, held = train.held_out(n)
                if held:
                    splits[split], self._rows = held, len(order)
                elif c.holdout is not None:
                    raise DataError(f"data.holdout: {n} rows for {split} leave none of {c.train} to train on")
        splits["train"] = train


def _open(path: str, split: str, config: DataConfig) -> Samples:
    named, ids = False, array("q")
    marks = _Marks(array("q"), array("q"), set(), array("Q"))
    divides = split == "train" and config.holdout != 0 and (config.holdout is not None or config.validation is None)

    def check(place: str, row: Row) -> None:
        nonlocal named
        row = _divided(config, row, lambda: place)
        named = named or row.get("id") is not None
        marks.columns.update(row)
        sample = _sample(config, row, len(ids), lambda: place, path)
        if not sample.messages and not sample.prompt.strip():
            marks.empty.append(len(ids))
        ids.append(hash(sample.id))
        marks.contents.append(hash(_content(sample)))
        if divides:
            marks.groups.append(hash(_group(config, row, place)))

    rows = open_rows(path, split, check)
    samples = Samples(rows, config, range(len(rows)), marks)
    if named:
        _refuse_twins(rows, samples, ids)
    return samples


def _refuse_absent_columns(c: DataConfig, files: list[Samples]) -> None:
    """Raise where a recipe renames a column that no row of any file has: nothing would be read from it."""
    for key in ("references_column", "completion_column"):
        name = getattr(c, key)
        if name != DataConfig.model_fields[key].default and not any(name in rows._marks.columns for rows in files):
            paths = " or ".join(rows._rows.path for rows in files)
            found = ", ".join(sorted({str(column) for rows in files for column in rows._marks.columns})) or "none"
            raise DataError(f"data.{key}: no row of {paths} has a column {name!r}; there are: {found}")


def _content(sample: Sample) -> tuple[Any, ...]:
    """Return what makes a row the same as another: its texts; the other columns only where it has a prompt alone."""
    prompt = repr(sample.messages) if sample.messages else sample.prompt
    if sample.references or sample.meta.get("completion"):
        return (prompt, sample.references, sample.meta.get("completion"))
    return (prompt, repr(sorted(item for item in sample.meta.items() if item[0] != "id")))


def _group(c: DataConfig, row: Row, place: str) -> str:
    """Return what a row has in common with those that it stays together with."""
    name = c.group_column or c.prompt_column
    if name not in row:
        raise DataError(f"{place}: no column {name!r} (data.group_column); there are: {', '.join(map(str, row))}")
    return repr(row[name])


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


def samples_of(rows: Iterable[Row], name: str) -> list[Sample]:
    """Return rows that are in memory as samples; `name` is what messages call them.

    Raises:
        DataError: a row has no `prompt`, or a column of a wrong type.
    """
    return [
        _sample(DataConfig(), row, number, lambda number=number: f"{name}, {nth_row(number)}", name)  # type: ignore[misc]
        for number, row in enumerate(rows)
    ]


def _sample(c: DataConfig, row: Row, number: int, place: Callable[[], str], path: str) -> Sample:
    """Return one row of a file as a sample; `number` counts from 0.

    Raises:
        DataError: a column is missing or has a wrong type.
    """
    row = _divided(c, row, place)
    if c.prompt_column not in row:
        raise DataError(f"{place()}: no column {c.prompt_column!r}; {_other_columns(row, path)}")
    prompt, messages = row[c.prompt_column], tuple[dict[str, Any], ...]()
    if isinstance(prompt, list):
        prompt, messages = prompt_given(prompt, lambda: f"{place()}: {c.prompt_column!r}")
    if not isinstance(prompt, str):
        raise DataError(
            f"{place()}: {c.prompt_column!r} must be a text or a list of messages, got {type(prompt).__name__}"
        )
    references = texts_of(row, c.references_column, place, path)
    meta = {key: value for key, value in row.items() if key not in (c.prompt_column, c.references_column)}
    if c.completion_column in meta and c.completion_column != "completion":
        meta["completion"] = meta.pop(c.completion_column)
    if isinstance(meta.get("completion"), list):
        meta["completion"] = completion_given(meta["completion"], lambda: f"{place()}: {c.completion_column!r}")
    if not isinstance(meta.get("completion"), str | None):
        raise DataError(f"{place()}: {c.completion_column!r} must be a text, got {type(meta['completion']).__name__}")
    return Sample(str(number + 1 if meta.get("id") is None else meta["id"]), prompt, references, meta, messages)


def _other_columns(row: Row, path: str) -> str:
    """Return what to do about a prompt column that is not there, as the end of a message."""
    if not row:
        return "the row has none"
    names = ", ".join(cut(str(name)) for name in row)
    if path.lower().endswith((".csv", ".tsv")):
        return (
            f"the first line is read as the names of columns: {names}; if it is a row, write the names above it, and "
            "if one of them has the prompts, say so with data.prompt_column"
        )
    return f"there are: {names}; name the one with the prompts with data.prompt_column"


def _divided(c: DataConfig, row: Row, place: Callable[[], str]) -> Row:
    """Return a row of TRL's form, a whole conversation in `messages`, as a prompt with completion and reference, where
    no column of its own says what these are; any other row as it is.

    Raises:
        DataError: a conversation that does not end with an answer of the assistant to somebody.
    """
    if "messages" not in row or c.prompt_column in row:
        return row
    before, answer = answered(row["messages"], lambda: f"{place()}: 'messages'")
    rest = {key: value for key, value in row.items() if key != "messages"}
    return {c.prompt_column: before, c.completion_column: answer, c.references_column: answer} | rest


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
