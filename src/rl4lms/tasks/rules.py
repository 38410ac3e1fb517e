"""A small context-free rule table that both writes and reads.

The mini editions of the tasks are written by such tables. Generator and recogniser are compiled from the same rules, so
a text that the generator writes is always a text that the recogniser accepts.

Notation, one rule per line (an indented line continues the one above, `#` starts a comment)::

    CLAUSE<p> -> NP<n> BE<n> ADJ<p> @3 | i LIKE<p> it

Words with a capital first letter are symbols, everything else is a word of the language. `@3` is a weight (1 where
absent). `<n>` is a feature: the rule stands for one rule per value of every feature in it, weights included, so
features carry agreement. Names that are not features (`ADJ<pos>`) are values. A linked feature takes a value that
depends on another one (the opposite, say). A word that starts with `AN:` stands for its symbol with the right
indefinite article in front: `AN:ADJ<p>` gives `a dull` and `an awful`. No rule is empty.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from random import Random

_FEATURE = re.compile(r"<(\w+)>")
_ARTICLE = "AN:"

Alternative = tuple[str, ...]
#: What some symbols of an expansion stand for: pairs of a symbol and a text.
Reading = frozenset[tuple[str, str]]

_NOTHING: Reading = frozenset()


class RuleTable:
    """A compiled rule table.

    Args:
        text: the rules, in the notation of this module.
        features: values of every free feature.
        linked: features whose value follows from another one: name -> (other feature, its value -> value).

    Raises:
        ValueError: the table is malformed, names an undefined symbol or is left-recursive.
    """

    def __init__(
        self,
        text: str,
        features: Mapping[str, Sequence[str]],
        linked: Mapping[str, tuple[str, Mapping[str, str]]] | None = None,
    ) -> None:
        self._rules: dict[str, list[tuple[Alternative, float]]] = {}
        for symbol, alternative, weight in _expanded(text, features, linked or {}):
            self._rules.setdefault(symbol, []).append((alternative, weight))
        self._add_article_rules()
        self._check_symbols()
        self._cumulative = {symbol: list(accumulate(w for _, w in alts)) for symbol, alts in self._rules.items()}
        self._known: set[tuple[str, ...]] = set()  # what `write` was given and found right
        self._first: dict[str, frozenset[str]] = {}
        for symbol in self._rules:
            self._first_words(symbol, ())
        # What the recogniser walks: per symbol, the alternatives that can start with a given word.
        self._starting: dict[str, dict[str, list[Alternative]]] = {}
        for symbol, alternatives in self._rules.items():
            by_word = self._starting.setdefault(symbol, {})
            for alternative, _ in alternatives:
                for word in self._first.get(alternative[0], (alternative[0],)):
                    by_word.setdefault(word, []).append(alternative)

    @property
    def words(self) -> frozenset[str]:
        """Every word of the language."""
        return frozenset(w for alts in self._rules.values() for alt, _ in alts for w in alt if w not in self._rules)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol, in the order of the rules."""
        return tuple(self._rules)

    def lexicon(self, symbol: str) -> tuple[str, ...]:
        """Return the words that `symbol` stands for, where all of its alternatives are single words."""
        return tuple(
            alternative[0]
            for alternative, _ in self._rules[symbol]
            if len(alternative) == 1 and alternative[0] not in self._rules
        )

    def write(self, symbol: str, rng: Random, given: Mapping[str, str] | None = None) -> list[str]:
        """Return a random expansion of `symbol`, as words. Uses only `rng.random()`, whose sequence Python keeps
        stable.

        Args:
            symbol: what to expand.
            rng: chooses.
            given: what some symbols stand for in this text, with or without an article in front.

        Raises:
            ValueError: a text that is given is none of its symbol, so `accepts` would not read what is written.
        """
        fixed = {name: text.split() for name, text in (given or {}).items()}
        for name, text in fixed.items():
            if (name, *text) not in self._known and not self.accepts(name, text):
                raise ValueError(f"{name} does not stand for {' '.join(text)!r}")
            self._known.add((name, *text))
        words: list[str] = []
        stack = [symbol]
        while stack:
            current = stack.pop()
            if current.removeprefix(_ARTICLE) in fixed:
                said = fixed[current.removeprefix(_ARTICLE)]
                words += [_article(said[0]), *said] if current.startswith(_ARTICLE) else said
                continue
            cumulative = self._cumulative.get(current)
            if cumulative is None:
                words.append(current)
                continue
            chosen = bisect(cumulative, rng.random() * cumulative[-1])
            stack.extend(reversed(self._rules[current][min(chosen, len(cumulative) - 1)][0]))
        return words

    def accepts(self, symbol: str, words: Sequence[str]) -> bool:
        """Return whether `symbol` can be expanded to exactly these words."""
        return bool(self.readings(symbol, words, ()))

    def readings(self, symbol: str, words: Sequence[str], slots: Collection[str]) -> set[Reading]:
        """Return the ways in which `symbol` can be expanded to exactly these words, as far as they differ in what some
        symbols stand for; none where the words are not derivable.

        Args:
            symbol: what is expanded.
            words: the text.
            slots: the symbols that a reading tells, without an article that stands in front.

        Returns:
            Sets of (slot, what it stands for); a slot that the words do not use is in none.
        """
        found = self._ends(symbol, 0, words, frozenset(slots), {})
        return {reading for end, reading in found if end == len(words)}

    def _ends(
        self,
        symbol: str,
        start: int,
        words: Sequence[str],
        slots: frozenset[str],
        memo: dict[tuple[str, int], set[tuple[int, Reading]]],
    ) -> set[tuple[int, Reading]]:
        """Return positions at which an expansion of `symbol` that begins at `start` can stop, with its readings."""
        known = memo.get((symbol, start))
        if known is not None:
            return known
        found: set[tuple[int, Reading]] = set()
        if start < len(words):
            for alternative in self._starting[symbol].get(words[start], ()):
                frontier = {(start, _NOTHING)}
                for part in alternative:
                    if part in self._rules:
                        frontier = {
                            (end, read | more if more else read)
                            for position, read in frontier
                            for end, more in self._ends(part, position, words, slots, memo)
                        }
                    else:
                        frontier = {
                            (position + 1, read)
                            for position, read in frontier
                            if position < len(words) and words[position] == part
                        }
                    if not frontier:
                        break
                found |= frontier
        name = symbol.removeprefix(_ARTICLE)
        if name in slots:
            begin = start + (name != symbol)
            found = {(end, read | {(name, " ".join(words[begin:end]))}) for end, read in found}
        memo[symbol, start] = found
        return found

    def _add_article_rules(self) -> None:
        wanted = {part for alts in self._rules.values() for alt, _ in alts for part in alt if part.startswith(_ARTICLE)}
        for part in wanted:
            below = self._rules.get(part.removeprefix(_ARTICLE), [])
            if not below or any(len(alternative) != 1 or alternative[0] in self._rules for alternative, _ in below):
                raise ValueError(f"{part}: an article needs a symbol whose alternatives are single words")
            self._rules[part] = [((_article(alternative[0]), *alternative), weight) for alternative, weight in below]

    def _check_symbols(self) -> None:
        for symbol, alternatives in self._rules.items():
            for alternative, _ in alternatives:
                if not alternative:
                    raise ValueError(f"empty alternative of {symbol}")
                unknown = [part for part in alternative if part[0].isupper() and part not in self._rules]
                if unknown:
                    raise ValueError(f"{symbol} uses undefined symbols: {', '.join(unknown)}")

    def _first_words(self, symbol: str, path: tuple[str, ...]) -> frozenset[str]:
        if symbol not in self._rules:
            return frozenset({symbol})
        if symbol in path:
            raise ValueError(f"left recursion: {' -> '.join((*path, symbol))}")
        if symbol not in self._first:
            below = (self._first_words(alternative[0], (*path, symbol)) for alternative, _ in self._rules[symbol])
            self._first[symbol] = frozenset().union(*below)
        return self._first[symbol]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _expanded(
    text: str, features: Mapping[str, Sequence[str]], linked: Mapping[str, tuple[str, Mapping[str, str]]]
) -> list[tuple[str, Alternative, float]]:
    """Return every (symbol, alternative, weight) of a table, with all features replaced by values."""
    rules: list[tuple[str, Alternative, float]] = []
    for line in _logical_lines(text):
        head, arrow, body = line.partition("->")
        if not arrow:
            raise ValueError(f"no '->' in rule: {line!r}")
        for alternative in body.split("|"):
            used = {name for name in _FEATURE.findall(f"{head} {alternative}") if name in features or name in linked}
            free = sorted({linked[name][0] if name in linked else name for name in used})
            for values in itertools.product(*(features[name] for name in free)):
                binding = dict(zip(free, values, strict=True))
                binding |= {name: table[binding[other]] for name, (other, table) in linked.items() if other in binding}
                symbol, parts = _bind(head, binding).strip(), _bind(alternative, binding).split()
                weight = float(parts.pop().removeprefix("@")) if parts and parts[-1].startswith("@") else 1.0
                rules.append((symbol, tuple(parts), weight))
    return rules


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    for raw in text.splitlines():
        line = raw.partition("#")[0].rstrip()
        if not line:
            continue
        if line[0].isspace() and lines:
            lines[-1] += line
        else:
            lines.append(line.strip())
    return lines


def _bind(text: str, binding: Mapping[str, str]) -> str:
    return _FEATURE.sub(lambda match: f"<{binding.get(match[1], match[1])}>", text)
