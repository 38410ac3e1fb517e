"""Data for reward models: texts with labels, texts with ratings, and pairs of which one is preferred."""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

from rl4lms.data.files import read_rows
from rl4lms.data.rows import read_text
from rl4lms.data.texts import touches
from rl4lms.errors import DataError
from rl4lms.supervised.reward_rows import (
    COLUMNS,
    Columns,
    Render,
    all_chats,
    flat,
    has_prompt,
    required,
    text_and_group,
    whole,
)

_log = logging.getLogger(__name__)

Kind = Literal["labels", "ratings", "preferences"]
_NO_SPLIT = "train on everything with `--holdout 0`, or name held-out data with `--test FILE`"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts and their labels; rows of one group are never divided between training and test.

    `has_prompt` is whether any text begins with a prompt: only then should the model be given prompts when it serves as
    a reward. `chat`: they are conversations that a template rendered.
    """

    texts: list[str]
    labels: list[str]
    groups: list[str]
    has_prompt: bool = False
    chat: bool = False

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Self:
        """Return some of the rows."""
        texts, labels, groups = ([column[i] for i in rows] for column in (self.texts, self.labels, self.groups))
        return replace(self, texts=texts, labels=labels, groups=groups)


@dataclass(frozen=True, slots=True)
class Rated:
    """Texts and the mean of their ratings; see `Labelled` for groups, prompts and `chat`."""

    texts: list[str]
    ratings: list[float]
    groups: list[str]
    has_prompt: bool = False
    chat: bool = False

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Self:
        """Return some of the rows."""
        texts, groups = ([column[i] for i in rows] for column in (self.texts, self.groups))
        return replace(self, texts=texts, ratings=[self.ratings[i] for i in rows], groups=groups)

    def pairs(self, min_gap: float) -> Preferences:
        """Return all pairs within a group whose ratings differ by at least `min_gap`, the better text first.

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
                f"no two texts of one group have ratings that differ by {min_gap:g} or more; lower min_gap, or name "
                f"another group"
            )
        chosen, rejected, groups = (list(column) for column in zip(*found, strict=True))
        return Preferences(chosen, rejected, groups, self.has_prompt, self.chat)


@dataclass(frozen=True, slots=True)
class Preferences:
    """Pairs of texts, the preferred one in `chosen`; prompts are part of both texts. See `Labelled` for groups, prompts
    and `chat`.
    """

    chosen: list[str]
    rejected: list[str]
    groups: list[str]
    has_prompt: bool = False
    chat: bool = False

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, rows: Sequence[int]) -> Self:
        """Return some of the pairs."""
        chosen, rejected, groups = ([column[i] for i in rows] for column in (self.chosen, self.rejected, self.groups))
        return replace(self, chosen=chosen, rejected=rejected, groups=groups)


RewardData = Labelled | Rated | Preferences


_USED = {"labels": ("text", "label"), "ratings": ("text", "rating"), "preferences": ("chosen", "rejected")}


def read(
    path: str,
    kind: Kind | None = None,
    columns: Columns = COLUMNS,
    split: str = "train",
    template: Callable[[], Render | None] | None = None,
) -> RewardData:
    """Read a file (JSONL, JSON, CSV, Parquet, a TSV without header whose last column is the label) or a Hub id.

    Args:
        path: of the file.
        kind: what the rows are; where None their columns say it: `chosen` and `rejected` are preferences, the rating
            column ratings, anything else labels.
        columns: their names.
        split: of a Hub data set.
        template: called where texts are conversations, and returns what writes them, roles included. Where there is
            none, their contents stand one after the other.

    Raises:
        DataError: a column is missing, a value is of the wrong kind, or there is nothing to learn; file and line are
            named.
    """
    if path.endswith(".tsv"):
        if kind not in (None, "labels"):
            raise DataError(f"{path}: a TSV holds text<TAB>label; give {kind} as JSONL, CSV or Parquet")
        _refuse_unused(path, columns, ("text", "label"), "a TSV holds text<TAB>label")
        return read_labelled(path, columns.text, columns.label)
    rows = [(place, row) for place, row in read_rows(path, split)]
    if not rows:
        raise DataError(f"{path}: there are no rows")
    first = rows[0][1]
    _note_touching(path, rows, columns)
    if kind is None:
        pairs = columns.chosen in first and columns.rejected in first
        kind = "preferences" if pairs else "ratings" if columns.rating in first else "labels"
    _refuse_unused(path, columns, (*_USED[kind], "prompt", "group", "join"), f"the rows are {kind}")
    if not any(row.get(columns.prompt) for _, row in rows):
        used = tuple(entry.name for entry in fields(columns) if entry.name != "join")
        _refuse_unused(path, columns, used, f"no row has a {columns.prompt!r} to put before the text")
    names = (columns.prompt, columns.text, columns.chosen, columns.rejected)
    chats = any(isinstance(row.get(name), list) for _, row in rows for name in names)
    render = template() if chats and template is not None else None
    if kind == "preferences":
        return _preferences(rows, columns, render)
    return _rated(rows, columns, render) if kind == "ratings" else _labelled(path, rows, columns, render)


def _refuse_unused(path: str, columns: Columns, used: Sequence[str], what: str) -> None:
    """Refuse a name that nothing would be read by.

    Raises:
        DataError: one was given.
    """
    for entry in fields(columns):
        value = getattr(columns, entry.name)
        if entry.name not in used and value != entry.default:
            option = "--join" if entry.name == "join" else f"--{entry.name}-column"
            raise DataError(
                f"{path}: {option} {value!r} is not used: {what}; leave it out, or say what the rows are: --kind"
            )


def read_labelled(path: str, text_column: str = "text", label_column: str = "label") -> Labelled:
    """Read labelled texts; see `read`.

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

    Groups are taken in random order while they fit; where none is that small, the smallest. Every label of the data
    stays in training.

    Raises:
        DataError: the data are one group, or every group has the last rows of some label.
    """
    of_group: dict[str, list[int]] = {}
    for row, group in enumerate(data.groups):
        of_group.setdefault(group, []).append(row)
    names = list(of_group)
    if len(names) < 2:
        raise DataError(
            f"the data are one group, so nothing can be held out; {_NO_SPLIT}, or name another group column"
        )
    random.Random(seed).shuffle(names)
    wanted, held = max(1, round(share * len(data))), list[int]()
    labels = data.labels if isinstance(data, Labelled) else [""] * len(data)  # without labels: something must stay
    left = Counter(labels)

    def take(name: str) -> bool:
        """Hold a group out, unless a label would be gone from the training data."""
        own = Counter(labels[row] for row in of_group[name])
        if any(left[label] <= count for label, count in own.items()):
            return False
        left.subtract(own)
        held.extend(of_group[name])
        return True

    for name in names:
        if len(held) + len(of_group[name]) <= wanted:
            take(name)
    if not held and not any(take(name) for name in sorted(names, key=lambda name: len(of_group[name]))):
        raise DataError(
            f"whichever group is held out, no row of some label would be left for the training; {_NO_SPLIT}"
        )
    kept = set(range(len(data))) - set(held)
    return data.take(sorted(kept)), data.take(sorted(held))


def fraction(data: RewardData, share: float, seed: int) -> RewardData:
    """Return a random part of the rows. Parts drawn with one seed are nested: a larger one contains the smaller
    ones.
    """
    order = list(range(len(data)))
    random.Random(seed).shuffle(order)
    return data.take(sorted(order[: max(1, round(share * len(order)))]))


def _labelled(
    path: str, rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns, render: Render | None = None
) -> Labelled:
    texts, labels, groups = list[str](), list[str](), list[str]()
    for place, row in rows:
        text, group = text_and_group(row, place, columns, render)
        texts.append(text)
        labels.append(_label(required(row, columns.label, place), place, columns.label))
        groups.append(group)
    if len(set(labels)) < 2:
        raise DataError(
            f"{path}: every row has the label {labels[0] if labels else None!r}; a classifier needs at least two"
        )
    prompted = any(has_prompt(row, columns, columns.text) for _, row in rows)
    chat = render is not None and all_chats(rows, columns, (columns.text,))
    return Labelled(texts, labels, groups, prompted, chat)


def _label(value: Any, place: str, column: str) -> str:
    if not isinstance(value, str | int | float):
        raise DataError(f"{place}: {column!r} should be a text or a number, got {type(value).__name__}")
    if not str(value).strip():
        raise DataError(f"{place}: {column!r} is empty; give the row a label, or leave it out")
    return str(value)


def _rated(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns, render: Render | None) -> Rated:
    """Several ratings of one text in one group are averaged."""
    ratings: dict[tuple[str, str], list[float]] = {}
    for place, row in rows:
        value = required(row, columns.rating, place)
        try:
            rating = float(value)
        except (TypeError, ValueError):
            rating = math.nan
        if not math.isfinite(rating):
            raise DataError(f"{place}: the rating {value!r} is no number")
        ratings.setdefault(text_and_group(row, place, columns, render), []).append(rating)
    means = [math.fsum(values) / len(values) for values in ratings.values()]
    if len(set(means)) < 2:
        raise DataError(
            f"{rows[0][0].rpartition(':')[0]}: every text has the same rating, so there is nothing to learn"
        )
    prompted = any(has_prompt(row, columns, columns.text) for _, row in rows)
    chat = render is not None and all_chats(rows, columns, (columns.text,))
    return Rated([text for text, _ in ratings], means, [group for _, group in ratings], prompted, chat)


def _preferences(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns, render: Render | None) -> Preferences:
    preferred, others, groups = list[str](), list[str](), list[str]()
    for place, row in rows:
        prompt = flat(row.get(columns.prompt) or "", place, columns.prompt)
        chosen, rejected = (
            flat(required(row, name, place), place, name) for name in (columns.chosen, columns.rejected)
        )
        if chosen == rejected:
            raise DataError(
                f"{place}: {columns.chosen} and {columns.rejected} are the same text, so neither can be preferred"
            )
        preferred.append(whole(row, columns, prompt, chosen, render, columns.chosen))
        others.append(whole(row, columns, prompt, rejected, render, columns.rejected))
        # without a prompt of its own a pair shares what both texts begin with (an implicit prompt): nothing is known to
        # divide it by
        groups.append(str(required(row, columns.group, place)) if columns.group else prompt or chosen)
    chat = render is not None and all_chats(rows, columns, (columns.chosen, columns.rejected))
    prompted = any(has_prompt(row, columns, columns.chosen) for _, row in rows)
    return Preferences(preferred, others, groups, prompted, chat)


def _note_touching(path: str, rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns) -> None:
    """Tell how many texts begin where their prompt ends, which for most languages makes two words one."""
    if columns.join:
        return
    names = (columns.text, columns.chosen, columns.rejected)
    touching = 0
    for _, row in rows:
        prompt, texts = row.get(columns.prompt), [row.get(name) for name in names]
        touching += isinstance(prompt, str) and any(isinstance(text, str) and touches(prompt, text) for text in texts)
    if touching:
        _log.warning(
            "%s: %d of %d rows have no white space between prompt and text, and are joined without any; where the "
            "language needs it, use --join ' '",
            path,
            touching,
            len(rows),
        )
