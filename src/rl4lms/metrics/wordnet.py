"""WordNet's synonyms, read from its own database files.

Which words count as synonyms is as in nltk's METEOR: the other words of every synset of a word or of one of its base
forms (`morphy`). The files are read without nltk's corpus reader, which takes seconds to load and refuses folders
outside its own search path.

Source of the format: wndb(5WN) and morphy(7WN) of WordNet 3.0 (Princeton University).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from rl4lms.data.cache import cache_folder
from rl4lms.errors import ConfigError, DataError, MissingPartError

PARTS = ("noun", "verb", "adj", "adv")
FILES = tuple(name for part in PARTS for name in (f"index.{part}", f"data.{part}", f"{part}.exc"))
# nltk's reader wants these, too: the first is copied where it is there, the second is always the same list of
# lexicographers' files.
_SENSES, _LEXNAMES = "index.sense", "lexnames"
_LEXICOGRAPHERS = (
    ("adj", "all pert"),
    ("adv", "all"),
    (
        "noun",
        "Tops act animal artifact attribute body cognition communication event feeling food group location motive "
        "object person phenomenon "
        "plant possession process quantity relation shape state substance time",
    ),
    (
        "verb",
        "body change cognition communication competition consumption contact creation emotion motion perception "
        "possession social "
        "stative weather",
    ),
    ("adj", "ppl"),
)
_ENDINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "noun": {
        "s": ("",),
        "ses": ("s",),
        "ves": ("f",),
        "xes": ("x",),
        "zes": ("z",),
        "ches": ("ch",),
        "shes": ("sh",),
        "men": ("man",),
        "ies": ("y",),
    },
    "verb": {"s": ("",), "ies": ("y",), "es": ("e", ""), "ed": ("e", ""), "ing": ("e", "")},
    "adj": {"er": ("", "e"), "est": ("", "e")},
    "adv": {},
}
# Words whose synonyms are kept.
_KEPT = 1 << 16
# Where a folder that people name may have the files: itself, a tarball from Princeton, nltk's data.
_INSIDE = ("", "dict", "corpora/wordnet", "wordnet")
# Where systems put them.
USUAL_PLACES = tuple(
    map(
        Path,
        (
            "/usr/share/wordnet",
            "/usr/local/share/wordnet",
            "/usr/local/WordNet-3.0",
            "/opt/homebrew/share/wordnet",
            "/opt/local/share/WordNet",
        ),
    )
)


class WordNet:
    """The synonyms of words.

    Args:
        source: folder or zip file with the database files.

    Raises:
        DataError: files are missing, or do not fit together.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        files = {name: _read(source, name) for name in FILES}
        self._data = {part: files[f"data.{part}"] for part in PARTS}
        self._index = {part: dict(_entries(files[f"index.{part}"])) for part in PARTS}
        self._irregular = {
            part: {word: line.split()[1:] for word, line in _entries(files[f"{part}.exc"])} for part in PARTS
        }
        self._synonyms: dict[str, frozenset[str]] = {}
        self._check()

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return open_wordnet, (self.source,)  # other processes read the files again

    def __len__(self) -> int:
        """Return number of different words and phrases."""
        return len(set().union(*self._index.values()))

    def synonyms(self, word: str) -> frozenset[str]:
        """Return all single words of the synsets of a word in any part of speech; empty where WordNet does not know it.

        Args:
            word: lower-cased. The synonyms are written as in WordNet, with capitals in names.
        """
        if word not in self._synonyms:
            if len(self._synonyms) >= _KEPT:
                self._synonyms.clear()
            found = (
                name for part in PARTS for form in self._base_forms(word, part) for name in self._of_entry(part, form)
            )
            self._synonyms[word] = frozenset(name for name in found if "_" not in name)
        return self._synonyms[word]

    def _base_forms(self, word: str, part: str) -> list[str]:
        index, irregular = self._index[part], self._irregular[part].get(word)
        regular = (
            word.removesuffix(old) + new
            for old, endings in _ENDINGS[part].items()
            if word.endswith(old)
            for new in endings
        )
        return [form for form in dict.fromkeys([word, *(irregular or regular)]) if form in index]

    def _of_entry(self, part: str, lemma: str) -> Iterator[str]:
        """Return the words of every synset in an entry of the index."""
        fields = self._index[part][lemma].split()
        for offset in fields[-int(fields[2]) :]:
            start = int(offset)
            data = self._data[part]
            columns = data[start : data.index(b"\n", start)].decode("utf-8", "replace").split()
            if columns[0] != offset:
                raise DataError(
                    f"{self.source}: data.{part} has no entry at {offset}, where index.{part} says that {lemma!r} is"
                )
            for position in range(4, 4 + 2 * int(columns[3], 16), 2):
                name = columns[position]
                # Adjectives may have a marker such as (p)
                yield (name[: name.rindex("(")] if name.endswith(")") else name)

    def _check(self) -> None:
        """Look up the first and the last word of every index.

        Raises:
            DataError: an entry cannot be read, or does not lead back to its word.
        """
        for part in PARTS:
            for lemma in [*self._index[part]][:1] + [*self._index[part]][-1:]:
                try:
                    found = {name.lower() for name in self._of_entry(part, lemma)}
                except (ValueError, IndexError) as error:
                    raise DataError(
                        f"{self.source}: the entry of {lemma!r} in index.{part} or data.{part} cannot be read"
                    ) from error
                if lemma not in found:
                    raise DataError(f"{self.source}: index.{part} and data.{part} do not fit together, see {lemma!r}")
        if not any(self._index.values()):
            raise DataError(f"{self.source}: WordNet's index is empty")


@lru_cache(maxsize=2)
def open_wordnet(source: Path) -> WordNet:
    """Return the WordNet of a folder or zip file; opened once for all that use it.

    Raises:
        DataError: it is none.
    """
    return WordNet(source)


def installed_wordnet() -> WordNet:
    """WordNet from our own folder or one of nltk's.

    Raises:
        MissingPartError: there is none.
        DataError: what is there cannot be read.
    """
    for source in search_places():
        if _where(source, FILES[0]) is not None:
            return open_wordnet(source)
    raise MissingPartError(
        "WordNet, which METEOR needs,", "run: rl4lms metrics setup-wordnet, or use meteor_exact_stem"
    )


def search_places() -> list[Path]:
    """Return where `installed_wordnet` looks: folders, and zip files as nltk leaves them, in this order."""
    import nltk.data

    folders = [own_folder(), *(Path(path) / "corpora" / "wordnet" for path in nltk.data.path)]
    return [place for folder in folders for place in (folder, folder.with_name(f"{folder.name}.zip"))]


def own_folder() -> Path:
    """Return where `setup-wordnet` puts it, in the cache."""
    return cache_folder() / "nltk_data" / "corpora" / "wordnet"


def source_in(place: Path) -> Path:
    """Return the WordNet that a folder or zip file is or contains.

    Raises:
        ConfigError: there is none.
    """
    for inside in _INSIDE:
        folder = place / inside
        for candidate in (folder, folder.with_name(f"{folder.name}.zip")) if place.is_dir() else (place,):
            if _where(candidate, FILES[0]) is not None:
                return candidate
    if not place.exists():
        raise ConfigError(f"{place} does not exist; name the folder that has index.noun, data.noun and so on")
    raise ConfigError(
        f"{place} is no WordNet: there is no {FILES[0]} in it; name the folder that has index.noun, data.noun and so on"
    )


def copy_into(source: Path, folder: Path) -> None:
    """Copy the database files into an existing folder, in the form that nltk reads, too.

    Raises:
        DataError: a file is missing.
    """
    for name in FILES if _where(source, _SENSES) is None else (*FILES, _SENSES):
        (folder / name).write_bytes(_read(source, name))
    names = [(part, name) for part, names in _LEXICOGRAPHERS for name in names.split()]
    numbers = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
    lines = [f"{number:02d}\t{part}.{name}\t{numbers[part]}\n" for number, (part, name) in enumerate(names)]
    (folder / _LEXNAMES).write_text("".join(lines), encoding="utf-8")


def _where(source: Path, name: str) -> str | None:
    """Return the path of a file inside a folder or zip file; None where it is not there."""
    if source.is_dir():
        return str(source / name) if (source / name).is_file() else None
    if not source.is_file() or not zipfile.is_zipfile(source):
        return None
    with zipfile.ZipFile(source) as archive:
        return next((entry for entry in archive.namelist() if entry.rpartition("/")[2] == name), None)


def _read(source: Path, name: str) -> bytes:
    where = _where(source, name)
    if where is None:
        raise DataError(f"{source} is no WordNet: there is no {name}")
    if source.is_dir():
        return Path(where).read_bytes()
    with zipfile.ZipFile(source) as archive:
        return archive.read(where)


def _entries(content: bytes) -> Iterator[tuple[str, str]]:
    """First word and line of every line; those that begin with a blank are the licence."""
    for line in content.decode("utf-8", "replace").split("\n"):
        if line and not line.startswith(" "):
            yield line[: line.index(" ")] if " " in line else line, line
