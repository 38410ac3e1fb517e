"""Answers from files: of our own exports, of Mechanical Turk, and of other annotation tools.

Files are read row by row with limits and never unpacked: an archive, or a file that grows when it is read, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rl4lms.data.rows import open_rows
from rl4lms.errors import ConfigError, DataError
from rl4lms.human_eval.exports import STUDY
from rl4lms.human_eval.forms import Form, Question
from rl4lms.human_eval.import_tools import TOOLS, Reading, json_of
from rl4lms.human_eval.records import Rating, Settings
from rl4lms.human_eval.table import Answered

#: Larger files, tables that would be larger in memory, and longer ones are refused.
MOST_BYTES = 256 * 2**20
MOST_ROWS = 1_000_000
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_RATING: TypeAdapter[Rating] = TypeAdapter(Rating)
#: Of questions that no form describes: how far their scales may go.
_WIDEST = 101


Row = tuple[str, Mapping[str, Any]]


def read_answers_file(path: str | Path, form: Form | None = None) -> Answered:
    """Read the answers of a file.

    The kind of file is seen from its columns: exports of `rl4lms human export`, batch results of Mechanical Turk
    (`Input.*` and `Answer.*`, `WorkerId`), records of Argilla, tasks of Label Studio, annotations of Potato.

    Args:
        path: CSV, TSV, JSONL, JSON or Parquet.
        form: that was asked with; where None it is the file's own, or made from what is in the file.

    Raises:
        DataError: it is too large, damaged or of no known kind, or a row is wrong; names file and line.
        ConfigError: it is no such file.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{path}: answers are read from {', '.join(SUFFIXES)}; archives are not unpacked, so name the file in it"
        )
    _refuse_large(file)
    rows = open_rows(str(file))
    if len(rows) > MOST_ROWS:
        raise DataError(f"{path}: {len(rows):,} rows are more than {MOST_ROWS:,}; divide the file")
    read = [(rows.place(number), rows[number]) for number in range(len(rows))]
    first = read[0][1]
    if STUDY in first or ("data" in first and isinstance(first["data"], str)):
        return _own(file, read, form)
    for fits, reader in TOOLS:
        if fits(first):
            reading = Reading(str(path))
            for place, row in read:
                reader(reading, place, row)
            if not reading.ratings:
                raise DataError(f"{path}: no answers are there{'; ' + '; '.join(reading.notes) * bool(reading.notes)}")
            made = form or form_of(reading.ratings, file.stem)
            return Answered(file.stem, made, reading.ratings, notes=reading.notes)
    raise DataError(
        f"{path}: no known kind of answers; it has the columns {', '.join(map(str, first))}. Known are exports of "
        "rl4lms human export, of Mechanical Turk, Argilla, Label Studio and Potato"
    )


def _refuse_large(file: Path) -> None:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    if file.suffix.lower() == ".parquet" and size <= MOST_BYTES:
        import pyarrow
        import pyarrow.parquet

        try:
            about = pyarrow.parquet.ParquetFile(file).metadata
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{file}: not a Parquet file, or a damaged one") from error
        size = max(size, sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups)))
    if size > MOST_BYTES:
        raise DataError(f"{file}: {size:,} bytes, once it is read, are more than the {MOST_BYTES:,} that are allowed")


def _own(file: Path, read: Sequence[Row], form: Form | None) -> Answered:
    """Read what `exports` wrote."""
    name, settings, missing, rows = file.stem, None, 0, list(read)
    about = read[0][1] if STUDY in read[0][1] else _of_parquet(file)
    if about is not None:
        rows = rows[1:] if STUDY in read[0][1] else rows
        try:
            form = form or Form.model_validate(about["form"])
            settings = Settings.model_validate(about["settings"]) if about.get("settings") else None
            name, missing = str(about["name"]), int(about.get("missing", 0))
        except (ValidationError, KeyError, TypeError) as error:
            raise DataError(f"{read[0][0]}: this does not describe a study: {_first(error)}") from error
    ratings = []
    for place, row in rows:
        content = json_of(row["data"], place, "data") if isinstance(row.get("data"), str) else row
        try:
            ratings.append(_RATING.validate_python(content))
        except ValidationError as error:
            raise DataError(f"{place}: no answer of a study: {_first(error)}") from error
        _check_places(ratings[-1], place)
    return Answered(name, form or form_of(ratings, name), ratings, settings, missing)


def _check_places(rating: Rating, place: str) -> None:
    count = len(rating.systems)
    if not len(rating.completions) == len(rating.values) == len(rating.seeds) == count or not count:
        raise DataError(f"{place}: {count} systems and {len(rating.completions)} completions; there must be as many")
    if sorted(rating.order) != list(range(count)):
        raise DataError(f"{place}: the order {list(rating.order)} is none of {count} texts")
    for key in ("choice", "best", "worst"):
        value = rating.answers.get(key)
        if value is not None and value != "tie" and not (isinstance(value, int) and 0 <= value < count):
            raise DataError(f"{place}: {key} {value!r} is none of {count} texts")


def _of_parquet(file: Path) -> dict[str, Any] | None:
    if file.suffix.lower() != ".parquet":
        return None
    import pyarrow.parquet

    found = (pyarrow.parquet.read_schema(file).metadata or {}).get(STUDY.encode())
    return None if found is None else json_of(found.decode("utf-8", "replace"), str(file), "the study")


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        one = error.errors()[0]
        return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
    return str(error)


def form_of(ratings: Sequence[Rating], name: str) -> Form:
    """Make a form that fits answers whose own is not known: a scale for every question with whole numbers.

    Raises:
        DataError: nothing in the answers can be scored.
    """
    keys = {key for rating in ratings for key in rating.answers}
    kind = "pairwise" if "choice" in keys else "best_worst" if "best" in keys else "likert"
    questions = []
    for key in sorted(keys - {"choice", "best", "worst"}):
        values = [rating.answers[key] for rating in ratings if key in rating.answers]
        if all(isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 100 for value in values):
            low, high = min(1, *values), max(5, *values)
            if high - low < _WIDEST:
                questions.append(Question(key=key, text=key, low=low, high=high))
    if kind == "likert" and not questions:
        raise DataError(f"{name}: no question has whole numbers, and no text was chosen; there is nothing to score")
    return Form(
        name="imported",
        kind=kind,
        title=(name or "imported")[:200],
        instructions=("These answers were given to another tool.",),
        question="" if kind == "likert" else "Which text is better?",
        questions=tuple(questions),
    )
