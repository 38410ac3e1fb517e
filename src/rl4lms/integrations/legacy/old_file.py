"""One file of the original, read key by key: every value is checked, every key is asked for or refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from rl4lms.config.reader import located, resolve_plain
from rl4lms.errors import ConfigError, close_names, shown
from rl4lms.plugins.problems import KeyPath

REQUIRED: Any = object()
# YAML 1.1, which the original read, has more words for the two.
_FLAGS = {"yes": True, "on": True, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a conversion says.

    Attributes:
        place: `file:line` of the old file.
        key: dotted, of the old file.
        text: what is said; of a fault, what is wrong.
        repair: of a fault, what is done about it.
    """

    place: str
    key: str
    text: str
    repair: str = ""


@dataclass(slots=True)
class Notes:
    """What was found while a file was read.

    Attributes:
        refused: messages, each with its place: without them there is no recipe.
        faults: what is wrong in the file and was repaired.
        decided: what has no exact counterpart, and what was taken.
        to_do: what only the user can do before the recipe trains.
        unneeded: keys for which there is nothing to set.
    """

    refused: list[str] = field(default_factory=list)
    faults: list[Note] = field(default_factory=list)
    decided: list[Note] = field(default_factory=list)
    to_do: list[Note] = field(default_factory=list)
    unneeded: list[str] = field(default_factory=list)


class Section:
    """One mapping of the file. What is wrong is noted and reading goes on, so that a user hears of everything at once.

    Args:
        values: the mapping.
        path: of it.
        where: of every key path of the file, `file:line`.
        notes: what is found.
        known: False of a mapping that is missing, which has been told: nothing more is said about what is in it.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        path: KeyPath,
        where: Mapping[KeyPath, str],
        notes: Notes,
        known: bool = True,
    ) -> None:
        self.values, self.path, self._where, self._known = values, path, where, known
        self.notes = notes if known else Notes()
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def place(self, key: str = "") -> str:
        """Return where a key stands, or the mapping where it has no such key."""
        path = (*self.path, key) if key else self.path
        return next(self._where[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._where)

    def dotted(self, key: str = "") -> str:
        return ".".join(map(str, (*self.path, key) if key else self.path))

    def refuse(self, key: str, reason: str) -> None:
        """Note what cannot be converted, and what to write instead."""
        self._asked.add(key)
        self.notes.refused.append(located(self.place(key), (*self.path, key) if key else self.path, reason))

    def fault(self, key: str, what: str, repair: str) -> None:
        """Note a mistake in the file, and its repair."""
        self.notes.faults.append(Note(self.place(key), self.dotted(key), what, repair))

    def decide(self, key: str, text: str) -> None:
        """Note what was taken where there is no exact counterpart."""
        self.notes.decided.append(Note(self.place(key), self.dotted(key), text))

    def to_do(self, key: str, text: str) -> None:
        """Note what is left to the user."""
        self.notes.to_do.append(Note(self.place(key), self.dotted(key), text))

    def unneeded(self, *keys: str) -> None:
        """Take keys for which there is nothing to set, whatever they say."""
        for key in keys:
            self._asked.add(key)
            if key in self.values:
                self.notes.unneeded.append(self.dotted(key))

    def section(self, key: str, default: Any = REQUIRED) -> Section:
        """Return a mapping inside this one; an empty one where it is missing."""
        value = self._value(key, default)
        known = self._known and (value is None or isinstance(value, Mapping))
        if value is not REQUIRED and not known:
            self.refuse(key, f"must be a mapping (`key: value` lines), got {shown(value)}")
        return Section(value if isinstance(value, Mapping) else {}, (*self.path, key), self._where, self.notes, known)

    def sections(self, key: str) -> list[Section]:
        """Return the mappings of a list; none where it is missing."""
        value = self._value(key, None)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            self.refuse(key, f"must be a list of `id` and `args`, got {shown(value)}")
            return []
        return [Section(item, (*self.path, key, n), self._where, self.notes) for n, item in enumerate(value)]

    def text(
        self, key: str, default: Any = REQUIRED, choices: Collection[str] = (), *, may_be_empty: bool = False
    ) -> Any:
        """Return a text, or the default; one that is required says something unless it `may_be_empty`."""
        value = self._value(key, default)
        if value is default:
            return value if value is not REQUIRED else ""
        if not isinstance(value, str):
            self.refuse(key, f"must be text, got {shown(value)}")
        elif not value and default is REQUIRED and not may_be_empty:
            self.refuse(key, "is empty")
        elif choices and value not in choices:
            self.refuse(key, f"must be {' or '.join(choices)}, got {shown(value)}")
        else:
            return value
        return next(iter(choices), "") if default is REQUIRED else default

    def flag(self, key: str, default: Any = REQUIRED) -> Any:
        """Return true or false, or the default."""
        value = self._plain(key, default)
        if isinstance(value, str) and value.lower() in _FLAGS:
            value = _FLAGS[value.lower()]
        if value is default or isinstance(value, bool):
            return value if value is not REQUIRED else False
        self.refuse(key, f"must be true or false, got {shown(value)}")
        return False if default is REQUIRED else default

    def number(
        self,
        key: str,
        default: Any = REQUIRED,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
        whole: bool = False,
    ) -> Any:
        """Return a number within bounds, or the default; an int where it is to be `whole`."""
        value = self._plain(key, default)
        if value is default and value is not REQUIRED:
            return value
        if value is REQUIRED:
            return 1  # it is refused already
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(key, f"must be a number, got {shown(value)}")
        elif whole and int(value) != value:
            self.refuse(key, f"must be a whole number, got {shown(value)}")
        elif ge is not None and value < ge:
            self.refuse(key, f"must be at least {ge:g}, got {shown(value)}")
        elif gt is not None and value <= gt:
            self.refuse(key, f"must be above {gt:g}, got {shown(value)}")
        elif le is not None and value > le:
            self.refuse(key, f"must be at most {le:g}, got {shown(value)}")
        else:
            return int(value) if whole else value
        return 1

    def neutral(self, settings: Mapping[str, tuple[Collection[Any], str]]) -> None:
        """Take keys at the values that change nothing, and refuse any other.

        Args:
            settings: by key: those values, and what to say of another.
        """
        for key, (values, instead) in settings.items():
            if key in self.values:
                value = self._value(key, None)
                value = _FLAGS.get(value.lower(), value) if isinstance(value, str) else value
                if value is None or any(value is one or (value == one and type(value) is type(one)) for one in values):
                    self.notes.unneeded.append(self.dotted(key))
                else:
                    self.refuse(key, f"{shown(value)} is not supported: {instead}")

    def end(self, known: Iterable[str] = ()) -> None:
        """Refuse every key that nobody asked for."""
        names = {*self._asked, *known}
        for key in self.values:
            if key not in self._asked:
                near = close_names(key, names - {key})
                self.refuse(key, f"no key of the original{f'; did you mean {near[0]!r}?' if near else ''}")

    def _value(self, key: str, default: Any) -> Any:
        self._asked.add(key)
        if key in self.values and (self.values[key] is not None or default is None):
            return self.values[key]
        if default is REQUIRED:
            self.refuse(key, "is required")
        return default

    def _plain(self, key: str, default: Any) -> Any:
        """Return a value; a text that was to be a number or a flag, as such."""
        value = self._value(key, default)
        if isinstance(value, str) and value.lower() not in _FLAGS:
            meant = _meant(value)
            if meant is not value:
                comma = " (a comma stands behind it)" if value.rstrip().endswith(",") else ""
                self.fault(key, f"is the text {shown(value)}{comma}", f"read as {shown(meant)}")
                return meant
        return value


def _meant(text: str) -> Any:
    """Return the number or flag that a text was to be; the text itself where it is neither."""
    try:
        value = resolve_plain(text.strip().rstrip(",").strip())
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def refuse_all(notes: Notes) -> NoReturn:
    """Raise one error with everything that cannot be converted."""
    raise ConfigError("\n".join(dict.fromkeys(notes.refused)))
