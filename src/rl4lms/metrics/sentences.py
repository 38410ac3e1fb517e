"""Cutting text into sentences and paragraphs by rules, so that what is cut where depends on no data that may or may not
be installed.
"""

from __future__ import annotations

import re

# A mark that may end a sentence, with closing quotes and brackets; then space; then something that can begin the next
# one. Possessive, and begun at the first of a run of marks only: a long row of dots takes linear time.
_END = re.compile(
    r"""(?<![.!?…])([.!?…]++)["'”’»)\]]*+\s++(?=["'“‘«(\[]*+[^\s"'“‘«(\[])"""
    r"""|(?<![。！？])([。！？]++)[」』”）]*+\s*+"""
)
_OPENING = "\"'“‘«(["


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TITLES = _words(
    "mr mrs ms dr prof st gen col maj capt lt sgt sen rep gov rev hon mt ft pres supt vs cf no nos fig figs vol pp"
)
_SHORT = _words(
    "jr sr etc inc ltd corp co bros dept est approx jan feb mar apr jun jul aug sep sept oct nov dec e.g i.e a.m p.m"
)
_STARTERS = _words(
    "the a an he she it they we you i this that these those but and in on at when while after his her their there"
)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without white space around them.

    A line break ends a sentence. So do `.`, `!`, `?` and `…` before white space, unless a lower-case letter follows, or
    the full stop belongs to a title (`Mr.`), to an initial (`J.`) or to a number (`No. 5`). After other abbreviations
    and acronyms (`Inc.`, `U.S.`) a sentence begins only with a frequent first word such as `The`. A mark with white
    space on both sides, as in tokenised text, always ends a sentence. Chinese and Japanese marks need no white space.
    """
    return [sentence for line in text.splitlines() for sentence in _of_line(line)]


def paragraphs(text: str) -> list[str]:
    """Return the blocks between blank lines; the lines where there is no blank line. As in SummaC."""
    return [block.strip() for block in text.split("\n\n" if "\n\n" in text else "\n") if block.strip()]


def _of_line(line: str) -> list[str]:
    found, start = [], 0
    for match in _END.finditer(line):
        if match[2] or _ends(line[start : match.start()], match[1], line[match.end() :].lstrip(_OPENING)):
            found.append(line[start : match.end()].strip())
            start = match.end()
    found.append(line[start:].strip())
    return [sentence for sentence in found if sentence]


def _ends(before: str, mark: str, after: str) -> bool:
    """Return whether a mark between two stretches of text ends a sentence."""
    if before[-1:].isspace():  # tokenised text
        return True
    if after[:1].islower():
        return False
    if mark != "." or not before:
        return True
    last = before.rsplit(None, 1)[-1].lstrip(_OPENING).lower()
    if last in _TITLES or (len(last) == 1 and last.isalpha() and last != "i"):
        return False
    if last in _SHORT or re.fullmatch(r"(\w\.)+\w", last):
        following = re.match(r"\w+", after)
        return following is not None and following[0].lower() in _STARTERS
    return True
