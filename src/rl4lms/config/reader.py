"""Strict YAML: text in, plain values and the place of every one of them out.

Reads the part of YAML 1.2 that recipes need and refuses the rest with a reason: anchors, aliases, tags, duplicate keys,
several documents, keys that are not text, deep nesting. Only `true` and `false` are booleans (`on` and `yes` are text),
`1e-6` is a number, there are no dates. It walks PyYAML's event stream, so nothing in a file can construct an object.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath
from typing import Any, NoReturn

import yaml

from rl4lms.errors import ConfigError, cut, one_line, shown
from rl4lms.plugins.problems import KeyPath

MAX_BYTES = 2**20
MAX_DEPTH = 20
MAX_VALUES = 10_000

_WORDS: dict[str, bool | None] = {"": None, "~": None}
for _word, _value in (("null", None), ("true", True), ("false", False)):
    _WORDS |= dict.fromkeys((_word, _word.title(), _word.upper()), _value)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """Read a YAML file that holds one mapping.

    Returns:
        The values, and for every key path where it stands, as `file:line`.

    Raises:
        ConfigError: the file cannot be read, or is not strict YAML; the message starts with `file:line`.
    """
    name = os.fspath(path)
    try:
        with FilePath(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise ConfigError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name}: larger than {MAX_BYTES} bytes: this is not a recipe")
    tree, where = read_text(_decode(data, name), name)
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}:1: the file must hold `key: value` lines, got {shown(tree)}")
    return tree, where


def read_text(text: str, source: str, prefix: KeyPath = (), *, lines: bool = True) -> tuple[Any, dict[KeyPath, str]]:
    """Read one YAML value.

    Args:
        text: the document.
        source: what messages call it.
        prefix: key path of the value; part of messages and of the paths returned.
        lines: whether messages add the line to `source`.

    Raises:
        ConfigError: not strict YAML.
    """
    builder = _Builder(source, lines)
    try:
        tree = builder.document(text, prefix)
    except yaml.reader.ReaderError as error:
        builder.fail(text.count("\n", 0, error.position), prefix, f"character #x{error.character:04x} is not allowed")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "cannot be read"
        if "'\\t'" in reason:
            reason = "a tab in the indentation; use spaces"
        builder.fail(mark.line if mark else 0, prefix, f"not YAML: {reason}")
    except (ValueError, OverflowError) as error:  # PyYAML lets int() and chr() fail on absurd directives and escapes
        if isinstance(error, ConfigError):
            raise
        builder.fail(0, prefix, f"not YAML: {error}")
    return tree, builder.where


class _Builder:
    """Builds plain values from PyYAML's events and notes where each stands."""

    def __init__(self, source: str, lines: bool) -> None:
        self.source, self.lines = source, lines
        self.where: dict[KeyPath, str] = {}
        self.values = 0

    def place(self, line: int) -> str:
        return f"{self.source}:{line + 1}" if self.lines else self.source

    def fail(self, line: int, path: KeyPath, reason: str) -> NoReturn:
        raise ConfigError(located(self.place(line), path, reason))

    def document(self, text: str, prefix: KeyPath) -> Any:
        events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        next(events)  # the start of the stream
        if isinstance(next(events), yaml.StreamEndEvent):
            self.fail(0, prefix, "is empty")
        tree = self.value(events, next(events), prefix)
        next(events)  # the end of the document
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            self.fail(after.start_mark.line, prefix, "a second document (`---`) starts here; one file holds one recipe")
        return tree

    def value(self, events: Iterator[Any], event: Any, path: KeyPath) -> Any:
        line = event.start_mark.line
        self.where.setdefault(path, self.place(line))
        self.values += 1
        if self.values > MAX_VALUES:
            self.fail(line, path[:3], f"more than {MAX_VALUES:,} values: this is not a recipe")
        if len(path) > MAX_DEPTH:
            self.fail(line, path[:3], f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self.refuse_references(event, line, path)
            return (
                self.mapping(events, path) if isinstance(event, yaml.MappingStartEvent) else self.sequence(events, path)
            )
        return self.scalar(event, line, path)

    def mapping(self, events: Iterator[Any], path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            line = event.start_mark.line
            if isinstance(event, yaml.CollectionStartEvent):
                self.fail(line, path, "a key must be text, not a list or a mapping")
            key = self.scalar(event, line, path)
            if not isinstance(key, str):
                self.fail(line, path, f"the key {shown(key)} is not text; quote it")
            if key in values:
                self.fail(line, (*path, key), f"set twice, first at {self.where[*path, key]}")
            self.where[*path, key] = self.place(line)
            values[key] = self.value(events, next(events), (*path, key))
        return values

    def sequence(self, events: Iterator[Any], path: KeyPath) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            values.append(self.value(events, event, (*path, len(values))))
        return values

    def scalar(self, event: Any, line: int, path: KeyPath) -> Any:
        self.refuse_references(event, line, path)
        try:
            return checked(resolve_plain(event.value) if event.implicit[0] else event.value)
        except ValueError as error:
            self.fail(line, path, str(error))

    def refuse_references(self, event: Any, line: int, path: KeyPath) -> None:
        if isinstance(event, yaml.AliasEvent):
            self.fail(line, path, "aliases (`*name`) are not allowed; write the value again")
        if event.anchor is not None:
            self.fail(line, path, "anchors (`&name`) are not allowed")
        if event.tag is not None:
            self.fail(line, path, "tags (`!name`) are not allowed")


def resolve_plain(text: str) -> Any:
    """Return the value of an unquoted scalar by YAML 1.2's core rules.

    Raises:
        ValueError: a number that is not finite or has too many digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    if _INT.fullmatch(text):
        if len(text) > 25:
            raise ValueError(f"an integer of {len(text)} characters does not fit in 64 bits")
        return int(text, 0) if text.startswith(("0x", "0o")) else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def checked(value: Any) -> Any:
    """Return a scalar that every recipe can hold.

    Raises:
        ValueError: a number that is not finite or needs more than 64 bits, or text with NUL or lone surrogates.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number (quote it if it is text)")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("the integer does not fit in 64 bits")
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("text may not contain NUL characters")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("text may not contain lone surrogates") from None
    return value


def located(place: str, path: KeyPath, reason: str) -> str:
    """`place: key.path: reason`; an override does not repeat its own key path."""
    key = dotted(path)
    return one_line(
        f"{place}: {reason}" if not path or place.startswith(f"override {key}=") else f"{place}: {key}: {reason}"
    )


def dotted(path: Iterable[str | int]) -> str:
    """Return a key path as overrides write it: `evaluation.metrics.0.name`."""
    return ".".join(cut(str(key)) if re.fullmatch(r"[\w-]+", str(key)) else shown(key) for key in path)


def _decode(data: bytes, name: str) -> str:
    for mark, encoding in ((b"\xef\xbb\xbf", "a byte-order mark"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if data.startswith(mark):
            raise ConfigError(f"{name}:1: the file is saved with {encoding}; save it as plain UTF-8")
    if b"\0" in data:
        raise ConfigError(
            f"{name}:{data.count(bytes([10]), 0, data.index(0)) + 1}: NUL bytes: this is not a UTF-8 text file"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: not UTF-8 text (byte 0x{data[error.start]:02x})") from None
