"""Texts and values of a cell in Parquet: what tables, checks and pages of a leaderboard are computed from.

Such files are published, and data sets have licences: prompts are named by their ids in the task, and no reference is
written. What a system saw of a prompt, and prompt and completion as one text, are written as far as they do not follow
from the prompt; of a prompt's own words that is nothing, unless the tokenizer writes them in another way.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl4lms.errors import ConfigError, DataError, nth_row
from rl4lms.grue.rescore import Prediction
from rl4lms.types import Sample, Split, Task

Array = NDArray[np.float64]

#: Columns that are no metric: the prompt; what it was taken from; what was seen of it, as characters from and to, or as
#: a text where it is no part of the prompt; nothing of these where it was seen whole; how many characters of what was
#: seen the text of both begins with, and what follows them; the completion.
TEXT_COLUMNS = ("id", "document", "seen_from", "seen_to", "seen", "kept", "tail", "completion")


@dataclass(frozen=True, slots=True)
class Scores:
    """What a system wrote, and the value of each text.

    Attributes:
        path: of the file.
        texts: by column of `TEXT_COLUMNS`, one for each completion.
        columns: by metric, one for each completion, NaN where it has none; metrics of the whole set are not there.
    """

    path: Path
    texts: Mapping[str, Sequence[Any]]
    columns: Mapping[str, Array]

    @property
    def ids(self) -> list[str]:
        """The prompts, each once, in their order."""
        return list(dict.fromkeys(self.texts["id"]))

    @property
    def documents(self) -> list[str]:
        """What each prompt was taken from."""
        return list(dict(zip(self.texts["id"], self.texts["document"], strict=True)).values())

    def values(self, key: str) -> Array | None:
        """Return the value of each prompt, the mean of its completions; NaN where none has one.

        Returns:
            (prompts,); None where the metric has one value for the whole set.
        """
        if key not in self.columns:
            return None
        place = {name: number for number, name in enumerate(self.ids)}
        rows = np.array([place[name] for name in self.texts["id"]])
        there = np.isfinite(self.columns[key])
        sums = np.bincount(rows[there], self.columns[key][there], len(place))
        counts = np.bincount(rows[there], minlength=len(place))
        return np.divide(sums, counts, out=np.full(len(place), np.nan), where=counts > 0)

    def completions(self) -> list[tuple[str, str]]:
        """Return what was written: (prompt's id, completion)."""
        return list(zip(self.texts["id"], self.texts["completion"], strict=True))

    def predictions(self, samples: Mapping[str, Sample]) -> list[Prediction]:
        """Return what was written with what it was written after.

        Args:
            samples: of the task, by id.

        Raises:
            DataError: a prompt is not there.
        """
        found = []
        for number, name in enumerate(self.texts["id"]):
            if name not in samples:
                raise DataError(f"{self.path}: {nth_row(number)}: the task has no prompt {name!r} in this split")
            row = {column: self.texts[column][number] for column in TEXT_COLUMNS}
            prompt = samples[name].prompt
            seen = prompt if row["seen_to"] is None else prompt[row["seen_from"] : row["seen_to"]]
            seen = seen if row["seen"] is None else row["seen"]
            text = None if row["tail"] is None else seen[: row["kept"]] + row["tail"]
            found.append(Prediction(name, seen, row["completion"], text, f"{self.path}: {name}"))
        return found


def documents_of(task: Task, split: Split) -> dict[str, str]:
    """Return what each prompt of a split was taken from, under a name that says nothing of it; where a task does not
    tell, every prompt is its own.
    """
    told = getattr(task, "document_of", None)
    known: Mapping[str, str] = {} if told is None else told(split)
    return {sample.id: _hash(known.get(sample.id, sample.id)) for sample in task.samples(split)}


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def fingerprint(completions: Sequence[tuple[str, str]]) -> str:
    """Return a hash of predictions: (prompt's id, completion)."""
    return hashlib.sha256(json.dumps(sorted(completions)).encode()).hexdigest()[:16]


def write_scores(path: Path, records: Sequence[Mapping[str, Any]], documents: Mapping[str, str]) -> None:
    """Write texts and values.

    Args:
        path: of the file, which appears whole or not at all.
        records: as `rl4lms.evaluation.evaluator.EvalResult.samples`.
        documents: by id of the prompt.

    Raises:
        ConfigError: a metric has the name of a column of texts.
        DataError: a text has a lone surrogate, which no file in UTF-8 can hold.
    """
    import pyarrow
    import pyarrow.parquet

    no_metric = {"id", "prompt", "full_prompt", "messages", "completion", "text", "references"}
    metrics = list(dict.fromkeys(key for row in records for key in row if key not in no_metric))
    taken = sorted(set(metrics) & set(TEXT_COLUMNS))
    if taken:
        raise ConfigError(f"metric {taken[0]!r}: this name is taken by a column of texts; give it another key")
    rows = [_texts(row, documents) for row in records]
    columns: dict[str, Any] = {name: pyarrow.array([row[name] for row in rows], _type(name)) for name in TEXT_COLUMNS}
    for name in metrics:
        columns[name] = pyarrow.array([row.get(name) for row in records], pyarrow.float64())
    temporary = path.with_suffix(".tmp")
    pyarrow.parquet.write_table(pyarrow.table(columns), temporary, compression="zstd", compression_level=19)
    temporary.replace(path)


def _type(name: str) -> Any:
    import pyarrow

    return pyarrow.int32() if name in ("seen_from", "seen_to", "kept") else pyarrow.string()


def _texts(row: Mapping[str, Any], documents: Mapping[str, str]) -> dict[str, Any]:
    seen, text = row["prompt"], row.get("text")
    for written in (row["completion"], text or ""):
        if any("\ud800" <= sign <= "\udfff" for sign in written):
            raise DataError(f"prompt {row['id']!r}: its text {written[:60]!a} has half a character (a lone surrogate)")
    whole = row.get("full_prompt", seen)
    start = whole.find(seen)
    cut = seen != whole and start >= 0
    kept = 0 if text is None else _shared(seen, text)
    return {
        "id": row["id"],
        "document": documents[row["id"]],
        "seen_from": start if cut else None,
        "seen_to": start + len(seen) if cut else None,
        "seen": seen if start < 0 else None,
        "kept": None if text is None else kept,
        "tail": None if text is None else text[kept:],
        "completion": row["completion"],
    }


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    differ = (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def read_scores(path: Path) -> Scores:
    """Read a file of `write_scores`.

    Raises:
        DataError: it is none, or damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: this is no Parquet file of texts and values: {error}") from error
    missing = [name for name in TEXT_COLUMNS if name not in columns]
    if missing:
        raise DataError(f"{path}: has no column {missing[0]!r}; an earlier version wrote it, run its cell again")
    texts = {name: columns.pop(name) for name in TEXT_COLUMNS}
    try:
        values = {name: np.array([math.nan if v is None else float(v) for v in row]) for name, row in columns.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: a value of a metric is no number: {error}") from error
    for name in ("id", "document", "completion"):
        if any(not isinstance(value, str) for value in texts[name]):
            raise DataError(f"{path}: the column {name!r} must be text in every row")
    return Scores(path, texts, values)
