"""Words of texts in any script, and a warning where the words that a metric compares are not those of the text.

Tokenizers that were made for English do one of two things to other scripts: those that keep a-z and 0-9 drop them
whole, so that a text compared with itself scores 0; those that split at white space take a sentence of Chinese,
Japanese or Thai for one word, so that one other character makes a 1 a 0.
"""

from __future__ import annotations

import logging
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from rl4lms.errors import ConfigError, DataError
from rl4lms.plugins import files

Tokenizer = Callable[[str], Sequence[str]]

# Scripts that put no space between words, by how the Unicode names of their characters begin.
_WITHOUT_SPACES = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")
_ONE_BY_ONE = ("CJK ", "HIRAGANA ", "KATAKANA ")
# A token of so many letters of such a script, on average, is no word.
_LONG = 6


def unicode_words(text: str) -> list[str]:
    """Return the lower-cased words: runs of letters, marks and digits; Chinese and Japanese characters one by one.

    Thai, Lao, Khmer and Burmese have no spaces and stay whole: take `characters`, or a tokenizer of the language.
    """
    return text.lower().translate(_SPLIT).split()


def characters(text: str) -> list[str]:
    """Return the lower-cased letters, marks and digits of a text one by one."""
    return list("".join(text.lower().translate(_SPLIT).split()))


def is_punctuation(word: str) -> bool:
    """Return whether a word is a single punctuation mark, of any script."""
    return len(word) == 1 and (word in string.punctuation or unicodedata.category(word).startswith("P"))


class _Split(dict[int, str]):
    """What `str.translate` puts for a character; filled as characters come up."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        shown = " "
        if unicodedata.category(letter)[0] in "LMN":
            shown = f" {letter} " if unicodedata.name(letter, "").startswith(_ONE_BY_ONE) else letter
        self[code] = shown
        return shown


_SPLIT = _Split()


def check_tokenizer(name: str, known: Iterable[str]) -> None:
    """Refuse what names no tokenizer.

    Raises:
        ValueError: it is none of those that are known, and no function in a file.
    """
    if name not in (known := tuple(known)) and not files.is_path(name):
        raise ValueError(f"tokenizer: {name!r} is none of {', '.join(known)}, and not path/to/file.py:name")


def tokenizer(name: str, known: dict[str, Tokenizer]) -> Tokenizer:
    """Return a tokenizer by its name, or from a file.

    Args:
        name: one of `known`, or `path/to/file.py:name` of a function from a text to a list of texts.
        known: by name.

    Raises:
        ConfigError: there is no such function.
    """
    if name in known:
        return known[name]
    return _checked(name, files.load("tokenizer", name))


def _checked(name: str, function: Callable[[str], Any]) -> Tokenizer:
    def words(text: str) -> list[str]:
        try:
            found = function(text)
        except Exception as error:
            raise DataError(f"tokenizer {name!r} raised {type(error).__name__}: {error}") from error
        if not isinstance(found, list | tuple) or not all(isinstance(word, str) for word in found):
            raise DataError(f"tokenizer {name!r} returned {type(found).__name__}; expected a list of texts")
        return list(found)

    if not callable(function) or isinstance(function, type):
        raise ConfigError(f"tokenizer {name!r} is a class; name a function from a text to a list of texts")
    return words


class Watch:
    """Warns, once for each kind, of texts whose words are not what a metric compares.

    Args:
        metric: whom the warning is about.
        remedy: what to do.
    """

    def __init__(self, metric: str, remedy: str) -> None:
        self._metric, self._remedy = metric, remedy
        self._told: set[str] = set()

    def look(self, texts: Iterable[str], words: Tokenizer) -> None:
        """Look at the references of a batch, or at what else is to be compared.

        Args:
            texts: as they are given.
            words: the tokenizer of the metric.
        """
        if len(self._told) == len(_FAULTS):
            return
        foreign = [text for text in texts if not text.isascii()]
        for fault, what in _FAULTS.items():
            numbers = [text for text in foreign if _fault(text, words) == fault] if fault not in self._told else []
            if numbers:
                self._told.add(fault)
                logging.getLogger(__name__).warning(
                    "%s: the tokenizer %s, such as %.40r: the number does not say how alike they are; %s",
                    self._metric,
                    what % len(numbers),
                    numbers[0],
                    self._remedy,
                )


#: The remedy for metrics that split at white space.
SPACES = "give texts with spaces between words (from a tokenizer of the language), or use chrf"

_FAULTS = {
    "dropped": "drops most letters of %d texts",
    "whole": "takes %d texts that have no spaces between words for one word, or for few",
}


@lru_cache(maxsize=1 << 12)
def _fault(text: str, words: Tokenizer) -> str | None:
    """Return what a tokenizer does to a text that is not ASCII: `dropped`, `whole`, or nothing that matters."""
    tokens = words(text)
    letters = sum(map(str.isalpha, text))
    if 2 * sum(map(str.isalpha, chain.from_iterable(tokens))) < letters:
        return "dropped"
    unspaced = [token for token in tokens if any(map(_has_no_spaces, token))]
    if unspaced and sum(sum(map(_has_no_spaces, token)) for token in unspaced) >= _LONG * len(unspaced):
        return "whole"
    return None


@lru_cache(maxsize=1 << 14)
def _has_no_spaces(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(_WITHOUT_SPACES) and letter.isalpha()
