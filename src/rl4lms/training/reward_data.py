"""Data for reward models: texts with labels, texts with ratings, and pairs of which one is preferred."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from rl4lms.errors import DataError
from rl4lms.metrics.texts import joined
from rl4lms.tasks.files import read_rows
from rl4lms.tasks.rows import read_text

Kind = Literal["labels", "ratings", "preferences"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts and their labels; rows of one group are never divided between training and test."""

    texts: list[str]
    labels: list[str]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Self:
        """Some of the rows."""
        return type(self)([self.texts[i] for i in rows], [self.labels[i] for i in rows], [self.groups[i] for i in rows])


@dataclass(frozen=True, slots=True)
class Rated:
    """Texts and the mean of their ratings; see `Labelled` for groups."""

    texts: list[str]
    ratings: list[float]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Self:
        """Some of the rows."""
        return type(self)([self.texts[i] for i in rows], [self.ratings[i] for i in rows], [self.groups[i] for i in rows])

    def pairs(self, min_gap: float) -> Preferences:
        """All pairs within a group whose ratings differ by at least `min_gap`, the better text first.

        Raises:
            DataError: there are none.
        """
        of_group: dict[str, list[int]] = {}
        for row, group in enumerate(self.groups):
            of_group.setdefault(group, []).append(row)
        found = [
            (self.texts[i], self.texts[j], group)
            for group, rows in of_group.items()
            for i in rows
            for j in rows
            if self.ratings[i] - self.ratings[j] >= min_gap > 0
        ]
        if not found:
            raise DataError(
                f"no two texts of one group have ratings that differ by {min_gap:g} or more; lower min_gap, or name another group"
            )
        chosen, rejected, groups = (list(column) for column in zip(*found, strict=True))
        return Preferences(chosen, rejected, groups)


@dataclass(frozen=True, slots=True)
class Preferences:
    """Pairs of texts, the preferred one in `chosen`; prompts are part of both texts. See `Labelled` for groups."""

    chosen: list[str]
    rejected: list[str]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, rows: Sequence[int]) -> Self:
        """Some of the pairs."""
        return type(self)([self.chosen[i] for i in rows], [self.rejected[i] for i in rows], [self.groups[i] for i in rows])


RewardData = Labelled | Rated | Preferences


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns.

    Attributes:
        prompt: put before a text where the data has it.
        text, label, rating: of labelled and rated texts.
        chosen, rejected: of preferences, as in TRL's format; texts or conversations.
        group: rows with the same value stay together when data are split, and pairs are made within it; the prompt, or the text where
            there is none, if None.
    """

    prompt: str = "prompt"
    text: str = "text"
    label: str = "label"
    rating: str = "rating"
    chosen: str = "chosen"
    rejected: str = "rejected"
    group: str | None = None


COLUMNS = Columns()


def read(path: str, kind: Kind | None = None, columns: Columns = COLUMNS, split: str = "train") -> RewardData:
    """Reads a file (JSONL, JSON, CSV, Parquet, a TSV without header whose last column is the label) or a Hub id.

    Args:
        path: of the file.
        kind: what the rows are; where None their columns say it: `chosen` and `rejected` are preferences, the rating column ratings,
            anything else labels.
        columns: their names.
        split: of a Hub data set.

    Raises:
        DataError: a column is missing, a value is of the wrong kind, or there is nothing to learn; file and line are named.
    """
    if path.endswith(".tsv"):
        if kind not in (None, "labels"):
            raise DataError(f"{path}: a TSV holds text<TAB>label; give {kind} as JSONL, CSV or Parquet")
        return read_labelled(path, columns.text, columns.label)
    rows = [(place, row) for place, row in read_rows(path, split)]
    if not rows:
        raise DataError(f"{path}: there are no rows")
    first = rows[0][1]
    if kind is None:
        pairs = columns.chosen in first and columns.rejected in first
        kind = "preferences" if pairs else "ratings" if columns.rating in first else "labels"
    if kind == "preferences":
        return _preferences(rows, columns)
    return _rated(rows, columns) if kind == "ratings" else _labelled(path, rows, columns)


def read_labelled(path: str, text_column: str = "text", label_column: str = "label") -> Labelled:
    """Reads labelled texts; see `read`.

    Raises:
        DataError: a column is missing, or there is only one label.
    """
    columns = Columns(text=text_column, label=label_column)
    if not path.endswith(".tsv"):
        return _labelled(path, [(place, row) for place, row in read_rows(path)], columns)
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for number, line in enumerate(read_text(path).rstrip("\r\n").split("\n"), 1):
        text, tab, label = line.rstrip("\r").rpartition("\t")
        if not tab:
            raise DataError(f"{path}:{number}: expected text<TAB>label")
        if (text, label) != (text_column, label_column):  # a header
            rows.append((f"{path}:{number}", {text_column: text, label_column: label}))
    return _labelled(path, rows, columns)


def split(data: RewardData, share: float, seed: int) -> tuple[RewardData, RewardData]:
    """Training and test data: about `share` of the rows are held out, in whole groups.

    Raises:
        DataError: the data are one group.
    """
    of_group: dict[str, list[int]] = {}
    for row, group in enumerate(data.groups):
        of_group.setdefault(group, []).append(row)
    names = list(of_group)
    if len(names) < 2:
        raise DataError("the data are one group, so nothing can be held out; name a test file, or another group column")
    random.Random(seed).shuffle(names)
    wanted, held = max(1, round(share * len(data))), list[int]()
    for name in names[:-1]:  # at least one group stays
        if len(held) >= wanted:
            break
        held += of_group[name]
    kept = set(range(len(data))) - set(held)
    return data.take(sorted(kept)), data.take(sorted(held))


def fraction(data: RewardData, share: float, seed: int) -> RewardData:
    """A random part of the rows. Parts drawn with one seed are nested: a larger one contains the smaller ones."""
    order = list(range(len(data)))
    random.Random(seed).shuffle(order)
    return data.take(sorted(order[: max(1, round(share * len(order)))]))


def _labelled(path: str, rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns) -> Labelled:
    data = Labelled([], [], [])
    for place, row in rows:
        text, group = _text_and_group(row, place, columns)
        data.texts.append(text)
        data.labels.append(str(_required(row, columns.label, place)))
        data.groups.append(group)
    if len(set(data.labels)) < 2:
        only = data.labels[0] if data.labels else None
        raise DataError(f"{path}: every row has the label {only!r}; a classifier needs at least two")
    return data


def _rated(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns) -> Rated:
    """Several ratings of one text in one group are averaged."""
    ratings: dict[tuple[str, str], list[float]] = {}
    for place, row in rows:
        value = _required(row, columns.rating, place)
        try:
            rating = float(value)
        except (TypeError, ValueError):
            rating = math.nan
        if not math.isfinite(rating):
            raise DataError(f"{place}: the rating {value!r} is no number")
        ratings.setdefault(_text_and_group(row, place, columns), []).append(rating)
    means = [math.fsum(values) / len(values) for values in ratings.values()]
    if len(set(means)) < 2:
        raise DataError(f"{rows[0][0].rpartition(':')[0]}: every text has the same rating, so there is nothing to learn")
    return Rated([text for text, _ in ratings], means, [group for _, group in ratings])


def _preferences(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns) -> Preferences:
    data = Preferences([], [], [])
    for place, row in rows:
        prompt = _flat(row.get(columns.prompt) or "", place, columns.prompt)
        chosen, rejected = (_flat(_required(row, name, place), place, name) for name in (columns.chosen, columns.rejected))
        if chosen == rejected:
            raise DataError(f"{place}: {columns.chosen} and {columns.rejected} are the same text, so neither can be preferred")
        data.chosen.append(joined(prompt, chosen))
        data.rejected.append(joined(prompt, rejected))
        # without a prompt of its own a pair shares what both texts begin with (an implicit prompt): nothing is known to divide it by
        data.groups.append(str(_required(row, columns.group, place)) if columns.group else prompt or chosen)
    return data


def _text_and_group(row: Mapping[str, Any], place: str, columns: Columns) -> tuple[str, str]:
    prompt = _flat(row.get(columns.prompt) or "", place, columns.prompt)
    text = joined(prompt, _flat(_required(row, columns.text, place), place, columns.text))
    return text, str(_required(row, columns.group, place)) if columns.group else prompt or text


def _required(row: Mapping[str, Any], column: str, place: str) -> Any:
    if row.get(column) is None:
        raise DataError(f"{place}: no column {column!r}; there are: {', '.join(map(str, row))}")
    return row[column]


def _flat(value: Any, place: str, column: str) -> str:
    """A text, or the contents of a conversation one after the other."""
    if isinstance(value, list):
        return "\n".join(_contents(value, place, column))
    return str(value)


def _contents(messages: Sequence[Any], place: str, column: str) -> Iterator[str]:
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise DataError(f'{place}: {column} should be a text or a list of messages such as {{"role": "user", "content": "..."}}')
        yield message["content"]
