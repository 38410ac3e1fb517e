"""Parallel texts in the formats they are distributed in.

* Aligned lines: `train.en` and `train.de`.
* TED talks of IWSLT: `train.tags.en-de.en`, lines between tags of a talk, and XML files with a `<seg>` per sentence.
* News of WMT: SGM files with a `<seg>` per sentence.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rl4lms.errors import DataError
from rl4lms.tasks import sources

_DOCUMENT = re.compile(r'<doc\b[^>]*\bdocid="([^"]+)"', re.IGNORECASE)
_TALK = re.compile(r"<talkid>\s*(\d+)\s*</talkid>")
_SEGMENT = re.compile(r"<seg\b[^>]*>(.*?)</seg>", re.IGNORECASE)


class Pair(NamedTuple):
    """A sentence and its translation; `document` is "" where the format tells none."""

    place: str
    document: str
    source: str
    target: str


def whole(pairs: Iterable[Pair], gaps: bool) -> Iterator[Pair]:
    """Return the pairs that have both texts.

    Args:
        gaps: pairs without one of them are left out, as everybody does with corpora for training; otherwise they are an
            error. Those without both never count.

    Raises:
        DataError: a pair has one text only.
    """
    for pair in pairs:
        if pair.source and pair.target:
            yield pair
        elif not gaps and (pair.source or pair.target):
            raise DataError(f"{pair.place}: a sentence without its translation; get the data again")


def from_lines(source: Path, target: Path) -> Iterator[Pair]:
    """Return aligned lines.

    Raises:
        DataError: a file is damaged, or shorter than the other.
    """
    for place, (english, german) in sources.aligned((source, None), (target, None)):
        yield Pair(place, "", english.strip(), german.strip())


def from_tags(source: Path, target: Path) -> Iterator[Pair]:
    """Return aligned lines between tags, as in the train set of IWSLT; a talk is a document.

    Raises:
        DataError: as `from_lines`; or a tag stands beside a sentence.
    """
    talk = ""
    for place, (english, german) in sources.aligned((source, None), (target, None)):
        tags = english.lstrip().startswith("<"), german.lstrip().startswith("<")
        if tags[0] != tags[1]:
            raise DataError(f"{place}: a tag here, and a sentence in the same line of {target}; get both again")
        found = _TALK.search(english)
        talk = found[1] if found else talk
        if not tags[0]:
            yield Pair(place, talk, english.strip(), german.strip())


def from_segments(source: Path, target: Path) -> Iterator[Pair]:
    """Return the segments of two XML or SGM files, in their order.

    Raises:
        DataError: a file is damaged, has no segments, or they are not those of the other file.
    """
    left, right = list(_segments(source)), list(_segments(target))
    if not left or len(left) != len(right):
        raise DataError(
            f"{source}: {len(left)} segments, and {target} has {len(right)}; they belong together one by one, get both "
            f"again"
        )
    for (place, document, english), (_, _, german) in zip(left, right, strict=True):
        yield Pair(place, document, english.strip(), german.strip())


def from_hub(path: str, split: str, **options: Any) -> Iterator[Pair]:
    """Return rows of a data set of the Hub, with columns `en` and `de`, or a column `translation` of both.

    Raises:
        DataError: as `rl4lms.tasks.sources.hub_rows`, or a row has other columns.
    """
    for place, row in sources.hub_rows(path, split, **options):
        both: Mapping[str, Any] = row["translation"] if isinstance(row.get("translation"), dict) else row
        texts = both.get("en"), both.get("de")
        if not isinstance(texts[0], str) or not isinstance(texts[1], str):
            raise DataError(f"{place}: needs the texts 'en' and 'de', or a column 'translation' of both")
        yield Pair(place, "", texts[0].strip(), texts[1].strip())


def _segments(path: Path) -> Iterator[tuple[str, str, str]]:
    document = ""
    for place, line in sources.lines(path):
        found = _DOCUMENT.search(line) or _TALK.search(line)
        document = found[1] if found else document
        segment = _SEGMENT.search(line)
        if segment is None and "<seg" in line.lower():
            raise DataError(f"{place}: a <seg> that does not end in its line; the file is damaged, get it again")
        if segment:
            yield place, document, html.unescape(segment[1])
