"""Rows of data files, without holding them as Python objects: a million prompts cost what their text does, or less.

JSONL is read line by line from the disk when a row is asked for; what is kept is where each line begins. CSV and JSON
are kept as compact text, Parquet as Arrow columns, data sets of the Hub in the files that `datasets` maps into memory.
Opening a file reads all of it once, so that whatever is wrong with a row is said before a run begins.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from rl4lms.data.hub import load_dataset
from rl4lms.data.saved import load_saved, saved_splits
from rl4lms.errors import DataError, nth_row

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")

Row = dict[str, Any]
#: Called with the place and the columns of every row while a file is opened; raises where a row is not as it should be.
Check = Callable[[str, Row], None]

_BATCH = 1024  # rows of a Parquet file that are looked at together
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Rows(Protocol):
    """Rows by index, made anew whenever one is asked for."""

    path: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...

    def place(self, index: int) -> str:
        """Return where a row stands: `train.jsonl:7`, or `train.parquet, row 7`."""
        ...


def refuse_absent(path: str) -> None:
    """Refuse a name that can only be a data file, and is not there.

    Raises:
        DataError: it is not there.
    """
    if Path(path).suffix.lower() in SUFFIXES and not Path(path).exists():
        raise DataError(f"{path}: no such file; data files end in {', '.join(SUFFIXES)}, anything else is a Hub id")


def open_rows(path: str, split: str = "train", check: Check | None = None) -> Rows:
    """Open a JSONL, JSON, CSV, TSV or Parquet file, or a data set of the Hub; `${...}` was resolved before.

    Raises:
        DataError: there is no such file, it is damaged or not in UTF-8, it has no rows, or a row is not a mapping; and
            what `check` raises.
    """
    file, suffix = Path(path), Path(path).suffix.lower()
    rows: Rows
    try:
        exists = file.exists()
    except OSError as error:  # such as a name that is too long
        raise DataError(f"{path[:100]}: cannot be read: {error.strerror}") from error
    refuse_absent(path)
    if not exists:
        rows = _Dataset(path, load_dataset(path, split=split), check)
    elif saved_splits(path) is not None:
        rows = _Dataset(path, load_saved(path, split), check)
    elif not file.is_file():
        kind = "a folder" if file.is_dir() else "no regular file"
        remedy = f"name a file that ends in {', '.join(SUFFIXES)}, or a folder that Dataset.save_to_disk wrote"
        raise DataError(f"{path}: {kind}; {remedy}")
    elif suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file; use {', '.join(SUFFIXES)}")
    elif suffix == ".jsonl":
        rows = _JsonLines(path, check)
    elif suffix == ".parquet":
        rows = _Parquet(path, check)
    else:
        rows = (
            _Packed((path, ", row "), _json(path), check)
            if suffix == ".json"
            else _Packed((path, ":"), _csv(path), check)
        )
    if not len(rows):
        raise DataError(f"{path}: no rows")
    return rows


def read_text(path: str) -> str:
    """Return a whole UTF-8 file, without a byte-order mark.

    Raises:
        DataError: no such file, or not in UTF-8.
    """
    return "".join(_lines(path))


def _digest(file: int) -> str:
    """sha256 of an open file; its position stays where it is."""
    digest, start = hashlib.sha256(), 0
    while piece := _read_at(file, 1 << 20, start):
        digest.update(piece)
        start += len(piece)
    return digest.hexdigest()


class _JsonLines:
    """The file stays open, and a row is read from it when it is asked for."""

    def __init__(self, path: str, check: Check | None) -> None:
        self.path = path
        self._starts, self._lengths, self._numbers = array("Q"), array("Q"), array("Q")
        with _opened(path) as file:
            self._file = os.dup(file.fileno())
            weakref.finalize(self, os.close, self._file)
            self._stamp = self._seen()
            self._digest = _digest(self._file)
            start = _after_mark(file, path)
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    row = json_row(line, f"{path}:{number}")
                    if check is not None:
                        check(f"{path}:{number}", row)
                    self._starts.append(start)
                    self._lengths.append(len(line))
                    self._numbers.append(number)
                start += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Row:
        if self._seen() != self._stamp:
            if _digest(self._file) != self._digest:  # a new time alone, as after `touch`, changes nothing
                raise DataError(
                    f"{self.path} was changed while it was in use; put the old one back and resume, or start a new run"
                )
            self._stamp = self._seen()
        return json_row(_read_at(self._file, self._lengths[index], self._starts[index]), self.place(index))

    def place(self, index: int) -> str:
        return f"{self.path}:{self._numbers[index]}"

    def _seen(self) -> tuple[int, int]:
        status = os.fstat(self._file)
        return status.st_size, status.st_mtime_ns


class _Packed:
    """Rows of formats that cannot be read from the middle, as JSON texts one after the other.

    Args:
        source: the file, and after it where a row stands there.
        rows: each with its number, which goes into `source`.
        check: see `Check`.
    """

    def __init__(self, source: tuple[str, str], rows: Iterable[tuple[int, Row]], check: Check | None) -> None:
        self.path = source[0]
        self._source, self._text = source, bytearray()
        self._starts, self._numbers = array("Q", [0]), array("Q")
        for number, row in rows:
            self._numbers.append(number)
            self._text += _compact(row).encode()
            self._starts.append(len(self._text))
            if check is not None:
                check(self.place(len(self) - 1), row)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Row:
        row: Row = json.loads(self._text[self._starts[index] : self._starts[index + 1]])
        return row

    def place(self, index: int) -> str:
        return f"{self._source[0]}{self._source[1]}{self._numbers[index]}"


class _Parquet:
    """An Arrow table in memory."""

    def __init__(self, path: str, check: Check | None) -> None:
        import pyarrow
        import pyarrow.parquet

        self.path = path
        try:
            self._table = pyarrow.parquet.ParquetFile(path).read()
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: not a Parquet file, or a damaged one: {_first_line(error)}") from error
        names = self._table.column_names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{path}: the column {twice!r} comes twice")
        number = 0
        for start in range(0, self._table.num_rows, _BATCH):
            for number, row in enumerate(self._plain(start, _BATCH), start):
                if check is not None:
                    check(self.place(number), row)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> Row:
        return self._plain(index, 1)[0]

    def place(self, index: int) -> str:
        return f"{self.path}, {nth_row(index)}"

    def _plain(self, start: int, count: int) -> list[Row]:
        try:
            rows: list[Row] = self._table.slice(start, count).to_pylist()
        except (ValueError, OverflowError) as error:
            # Arrow's own errors are ValueErrors; so are texts that are no UTF-8
            raise DataError(
                f"{self.place(start)}, or soon after it: a value cannot be read: {_first_line(error)}"
            ) from error
        return rows


class _Dataset:
    """A `Dataset`, which is mapped into memory."""

    def __init__(self, path: str, rows: Any, check: Check | None) -> None:
        self.path, self._rows = path, rows
        for number, row in enumerate(self._rows):
            if check is not None:
                check(self.place(number), row)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return dict(self._rows[index])

    def place(self, index: int) -> str:
        return f"{self.path}, {nth_row(index)}"


def _json(path: str) -> Iterator[tuple[int, Row]]:
    rows = _json_value(read_text(path), path, one_line=False)
    if not isinstance(rows, list):
        raise DataError(
            f"{path}: expected a list of rows, got {type(rows).__name__}; one object per line is called .jsonl"
        )
    for index, row in enumerate(rows):
        # A plain list of texts is a list of prompts.
        row = {"prompt": row} if isinstance(row, str) else row
        if not isinstance(row, dict):
            raise DataError(f"{path}, {nth_row(index)}: expected a mapping of columns, got {type(row).__name__}")
        yield index + 1, row


def _csv(path: str) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(_lines(path), delimiter="\t" if path.lower().endswith(".tsv") else ",", strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1  # a quoted cell may go on over several lines: this is where the row begins
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}:{line}: {_CSV_PROBLEMS.get(str(error), str(error))}") from error
        if cells is None:
            return
        if header is None:
            header = cells
            twice = next((name for name in header if header.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"{path}:{line}: the column {twice!r} comes twice")
        elif len(cells) > len(header):
            raise DataError(
                f"{path}:{line}: more cells than the header has; put quotes around texts with a separator in them"
            )
        elif 0 < len(cells) < len(header):
            raise DataError(
                f"{path}:{line}: {len(cells)} cell{'' if len(cells) == 1 else 's'} where the header has {len(header)}"
            )
        elif cells:
            yield line, dict(zip(header, cells, strict=True))


_OLD_LINE_ENDS = "lines end in a bare carriage return (an old Macintosh file); save it with ordinary line ends"
_CSV_PROBLEMS = {
    "new-line character seen in unquoted field - do you need to open the file in universal-newline "
    "mode?": _OLD_LINE_ENDS,
    "new-line character seen in unquoted field - do you need to open the file with newline=''?": _OLD_LINE_ENDS,
    "unexpected end of data": "a quotation mark is opened here and never closed",
    "field larger than field limit (131072)": "a cell of more than 131,072 characters; is a quotation mark never "
    "closed?",
    "',' expected after '\"'": "text after a closing quotation mark; inside a quoted text, double the marks",
    "'\t' expected after '\"'": "text after a closing quotation mark; inside a quoted text, double the marks",
}


def json_row(line: bytes, place: str) -> Row:
    """Return the JSON object of a line; `place` begins the DataError where it is none."""
    row = _json_value(decoded(line, place), place, one_line=True)
    if not isinstance(row, dict):
        raise DataError(f'{place}: expected an object such as {{"prompt": "..."}}, got {type(row).__name__}')
    return row


def _json_value(text: str, place: str, *, one_line: bool) -> Any:
    try:
        value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        if one_line and error.msg == "Extra data" and "\r" in text.rstrip("\r\n"):
            raise DataError(f"{place}: {_OLD_LINE_ENDS}") from error
        where = f"column {error.colno}" if one_line else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{place}: not JSON: {error.msg} ({where})") from error
    except UnicodeEncodeError as error:
        surrogate = f"\\u{ord(error.object[error.start]):04x}"
        raise DataError(
            f"{place}: {surrogate} is half of a character (a lone surrogate), which no text can hold; remove it"
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "an integer with too many digits"
        raise DataError(f"{place}: {reason}") from error
    return value


def _opened(path: str) -> Any:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _after_mark(file: Any, path: str) -> int:
    """Move behind a byte-order mark; return the position."""
    start = file.read(3)
    if start[:2] in _UTF16:
        raise DataError(f"{path}:1: the file is saved with UTF-16; save it as UTF-8")
    file.seek(len(_BOM) if start == _BOM else 0)
    return int(file.tell())


def _lines(path: str) -> Iterator[str]:
    """Return the lines of a UTF-8 file with their ends, whichever they are."""
    with _opened(path) as file:
        _after_mark(file, path)
        for number, line in enumerate(file, 1):
            yield decoded(line, f"{path}:{number}")


def decoded(line: bytes, place: str) -> str:
    """Return a line of UTF-8 text; `place` begins the DataError where it is none."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: not UTF-8 text (byte 0x{line[error.start]:02x}); data files are read as UTF-8, so save it as "
            f"UTF-8"
        ) from error
    if "\0" in text:
        raise DataError(f"{place}: a NUL byte: the file is damaged, or no UTF-8 text")
    return text


def _read_at(file: int, length: int, start: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file, length, start)
    os.lseek(file, start, os.SEEK_SET)
    return os.read(file, length)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
