"""What metrics take of nltk, imported where a metric needs it: all of nltk comes with it, and what that finds installed
(130 MB and a second and a half), and most runs have metrics and texts that need none of it.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def porter_stemmer(original: bool = False) -> Any:
    """Return a `PorterStemmer`.

    Args:
        original: Porter's algorithm as he published it, without nltk's extensions.
    """
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer(mode=PorterStemmer.ORIGINAL_ALGORITHM if original else PorterStemmer.NLTK_EXTENSIONS)


@cache
def word_tokenizer() -> Any:
    """Return the tokenizer that `nltk.word_tokenize` uses for each sentence."""
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()
