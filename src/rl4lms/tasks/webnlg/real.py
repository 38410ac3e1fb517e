"""The published WebNLG 3.0: folders of XML files with triples and texts, or the Hub."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rl4lms.errors import DataError, nth_row
from rl4lms.tasks import sources
from rl4lms.types import Split

HUB_ID = "webnlg-challenge/web_nlg"
_SOLVED = "test/*with-refs*.xml"
_FOLDERS = {"train": "train/**/*.xml", "validation": "dev/**/*.xml"}


class Entry(NamedTuple):
    """Triples of subject, property and object, what they are about, and the texts that say them."""

    triples: tuple[tuple[str, str, str], ...]
    category: str
    texts: tuple[str, ...]


def entries(folder: str | None, split: Split) -> Iterator[Entry]:
    """Return the entries of a split, those of the test set without texts where it was published without.

    Raises:
        DataError: there are no files, one is damaged, or an entry has no triples or no text.
    """
    if folder is None:
        yield from _from_hub(split)
        return
    for path in _files(folder, split):
        try:
            root = ET.fromstring("\n".join(line for _, line in sources.lines(path)).encode())
        except ET.ParseError as error:
            raise DataError(f"{path}:{error.position[0]}: not XML: {error}; get the file again") from error
        for number, entry in enumerate(root.iter("entry")):
            triples = [triple.text or "" for triple in entry.iterfind("modifiedtripleset/mtriple")]
            texts = [lex.text or "" for lex in entry.iterfind("lex") if lex.get("comment") != "bad"]
            yield _entry(f"{path}, {nth_row(number)}", triples, entry.get("category", ""), texts, split == "test")


def _files(folder: str, split: Split) -> list[Path]:
    root = Path(folder).expanduser()
    patterns = [_FOLDERS[split]] if split != "test" else [_SOLVED, "test/*.xml"]
    found = next((files for pattern in patterns if (files := sorted(root.glob(pattern)))), [])
    if not found:
        raise DataError(f"{folder}: needs {patterns[0]}; name the folder of one language, such as release_v3.0/en")
    return found


def _from_hub(split: Split) -> Iterator[Entry]:
    name = "dev" if split == "validation" else split
    options = {"data_dir": "release_v3.0_en", "revision": "refs/convert/parquet"}
    for place, row in sources.hub_rows(HUB_ID, name, **options):
        try:
            triples, lex = row["modified_triple_sets"]["mtriple_set"][0], row["lex"]
            pairs = zip(lex["text"], lex["comment"], strict=True)
            texts = [text for text, comment in pairs if comment != "bad"]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(
                f"{place}: needs modified_triple_sets.mtriple_set, lex.text and lex.comment ({error})"
            ) from error
        yield _entry(place, triples, row.get("category", ""), texts, split == "test")


def _entry(place: str, triples: list[str], category: str, texts: list[str], hidden: bool) -> Entry:
    parts = [tuple(part.strip() for part in triple.split(" | ")) for triple in triples]
    if not parts or any(len(part) != 3 for part in parts):
        raise DataError(f"{place}: needs triples, each `subject | property | object`")
    if not texts and not hidden:
        raise DataError(f"{place}: has no text")
    written = tuple(sources.text_of({"lex": text}, "lex", place) for text in texts)
    return Entry(tuple((part[0], part[1], part[2]) for part in parts), category, written)
