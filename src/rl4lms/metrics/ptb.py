"""Penn Treebank words, by the two tokenizers that published numbers of captioning and METEOR rest on.

`ptb_words` stands for the Java program `PTBTokenizer` (Stanford CoreNLP 3.4.1, `-lowerCase`) and the list of
punctuation of `coco-caption`: lower-cased, clitics are words (`do n't`, `man 's`), hyphenated words and numbers stay
whole, abbreviations keep their period, punctuation is removed; brackets become `-lrb-` and so on and are, as there,
kept. Rare cases (URLs, fractions, single letters with a period) differ.

`treebank_words` stands for `nltk.word_tokenize`, without the downloaded model that finds its sentences: a period
followed by white space and no lower-case letter ends a sentence, unless it belongs to an abbreviation or an initial.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rl4lms.metrics.nltk_parts import word_tokenizer

# Whose period belongs to them, whatever follows; from the lexer's lists, those that occur in running text.
_TITLES = "mr|mrs|ms|messrs|dr|drs|prof|gen|sen|rep|reps|gov|sgt|lt|col|capt|cmdr|maj|hon|rev|pres|st|ft|mt|rt|vs|nos|pp|cf|adm"
# Whose period belongs to them as well, but also ends the sentence.
_SHORT = (
    "jan|feb|mar|apr|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri|ave|blvd|rd|jr|sr|bros|inc|ltd|corp|co|assn|dept|univ|etc|est|ext|esq"
    "|fig|hwy|tel|pct|ph|ed|eds|al|approx|cal|calif|colo|conn|fla|ill|ind|kan|ky|mich|minn|miss|neb|nev|okla|ore|pa|tenn|tex|va|vt|wash|wis"
)
_LETTER = r"[^\W\d_]"
_CLITIC = r"['’](?:s|m|d|ll|re|ve)(?!\w)"
_TOKEN = re.compile(
    rf"""
    (?P<url>   https?://\S+ | www\.\S+\.\w+\S* | (?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]*\w )
  | (?P<tag>   \#{_LETTER}+ | @\w+ )
  | (?P<abbreviation> (?<![\w-]) (?: (?:{_TITLES}|{_SHORT}|ph\.d)\. | no\.(?=\s?\d) | (?:{_LETTER}\.)+{_LETTER}?(?<!i\.) ) (?![\w]) )
  | (?P<clitic> n['’]t\b | {_CLITIC} )
  | (?P<decade> ['’]\d0s\b | ['’](?:tis|twas|em|til|cause|n)\b )
  | (?P<number> (?:(?<![\w-])[-+])?\.?\d+(?:[,.:/-]\d+)*(?:st|nd|rd|th)?(?=(?<=:\d\d)[ap]m\b|(?!\w|-{_LETTER})) )
  | (?P<word>  \w+?(?=n['’]t\b) | \w (?: [\w\u0300-\u036f\u00ad] | [-‐‑/.&_](?=\w) | (?<=\d),(?=\d)
               | (?:(?<=\b[dojl])|(?<=\bma)|(?<=\bxi))['’](?={_LETTER}{{2}}) )* )
  | (?P<dots>  \.{{2,}} | … )
  | (?P<other> [?!]+ | \*+ | \S )
    """,
    re.VERBOSE,
)
_SPLIT = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "wanna": ("wan", "na"),
    "gotta": ("got", "ta"),
    "gimme": ("gim", "me"),
    "lemme": ("lem", "me"),
    "whaddya": ("wha", "dd", "ya"),
}
_SYMBOLS = {"£": "#", "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_PUNCTUATION = frozenset("""."'?!,:;-–—`‘’“”«»„‚‹›""") | {"--"}


@lru_cache(maxsize=1 << 16)
def ptb_words(text: str) -> tuple[str, ...]:
    """Return the words of a text; empty where there is nothing but punctuation."""
    words: list[str] = []
    for match in _TOKEN.finditer(text.lower().replace("&amp;", "&")):
        kind, token = match.lastgroup, match.group()
        if kind == "dots":
            continue
        if kind == "other":
            if token not in _PUNCTUATION:
                words.append(_SYMBOLS.get(token, token))
        elif token in _SPLIT:
            words.extend(_SPLIT[token])
        else:
            words.append(token.replace("’", "'"))
    return tuple(words)


_SENTENCE_END = re.compile(r"""(?<!\S)(\S+)\.["'”’)\]]*(\s+)(?=[^\sa-z])""")
_ABBREVIATION = re.compile(rf"(?:{_TITLES}|{_SHORT}|[^\W\d_]|.*\..*)", re.IGNORECASE)
# Sentences on which the tokenizer does no more than to split clitics, commas and the last period.
_PLAIN_WORD = r"[^\W_]+(?:-[^\W_]+)*(?:'(?:s|m|d|ll|re|ve|t))?"
_PLAIN = re.compile(rf"{_PLAIN_WORD}(?:,? +{_PLAIN_WORD})*(?: ?\.)?")
_CLITICS = re.compile(r"(?<=.)(n't|'(?:s|m|d|ll|re|ve))\b")
_SPLIT_BY_NLTK = re.compile(r"(?i)\b(?:cannot|gimme|gonna|gotta|lemme|wanna)\b|(?<!\w)n't|(?<!n)'t")


def treebank_words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, as they are written."""
    words: list[str] = []
    for sentence in _sentences(text):
        if _PLAIN.fullmatch(sentence) and not _SPLIT_BY_NLTK.search(sentence):
            # the same as below, ten times as fast
            plain = sentence.removesuffix(".").replace(",", " ,")
            words += (_CLITICS.sub(r" \1", plain) if "'" in plain else plain).split()
            if sentence.endswith("."):
                words.append(".")
        else:
            words += word_tokenizer().tokenize(sentence)
    return words


def _sentences(text: str) -> list[str]:
    start, sentences = 0, []
    for match in _SENTENCE_END.finditer(text):
        if not _ABBREVIATION.fullmatch(match.group(1).lstrip("\"'(“‘[")):
            sentences.append(text[start : match.start(2)].strip())
            start = match.end()
    return [*sentences, text[start:].strip()]
