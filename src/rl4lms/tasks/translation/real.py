"""Parallel texts in the formats they are distributed in.

* Aligned lines: `train.en` and `train.de`.
* TED talks of IWSLT: `train.tags.en-de.en`, lines between tags of a talk, and XML files with a `<seg>` per sentence.
* News of WMT: SGM files with a `<seg>` per sentence.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
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


def from_lines(source: Path, target: Path) -> Iterator[Pair]:
    """Return aligned lines; where both are empty there is no pair.

    Raises:
        DataError: a file is damaged, shorter than the other, or has no text where the other has one.
    """
    for place, (english, german) in sources.aligned((source, None), (target, None)):
        if english.strip() or german.strip():
            yield _pair(place, "", english, german)


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
        if not tags[0] and (english.strip() or german.strip()):
            yield _pair(place, talk, english, german)


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
        yield _pair(place, document, english, german)


def from_hub(path: str, split: str, **options: Any) -> Iterator[Pair]:
    """Return rows of a data set of the Hub, with columns `en` and `de`, or a column `translation` of both.

    Raises:
        DataError: as `rl4lms.tasks.sources.hub_rows`, or a row has no text of one language.
    """
    for place, row in sources.hub_rows(path, split, **options):
        both: Mapping[str, Any] = row["translation"] if isinstance(row.get("translation"), dict) else row
        yield Pair(place, "", sources.text_of(both, "en", place), sources.text_of(both, "de", place))


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


def _pair(place: str, document: str, english: str, german: str) -> Pair:
    if not english.strip() or not german.strip():
        raise DataError(f"{place}: a sentence without its translation; get both files again")
    return Pair(place, document, english.strip(), german.strip())
