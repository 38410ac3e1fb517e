"""A WordNet of a few words in the format of the real one, offsets included."""

from __future__ import annotations

from pathlib import Path

LICENCE = "  1 This is no licence, but lines of a licence begin with two blanks.  \n"
SYNSETS = {
    "noun": [["dog", "hound"], ["dog", "Fido"], ["man", "adult_male"], ["leaf", "foliage"], ["automobile", "car"]],
    "verb": [["run", "sprint"], ["car", "drive"], ["chase", "pursue", "run_after"]],
    "adj": [["big", "large(p)"], ["good"]],
    "adv": [["well", "good"]],
}
EXCEPTIONS = {"noun": ["men man", "leaves leaf"], "verb": ["ran run"], "adj": ["better good well"], "adv": []}


def write_wordnet(folder: Path) -> Path:
    """Writes `data.*`, `index.*` and `*.exc` into a new folder."""
    folder.mkdir(parents=True)
    for part, synsets in SYNSETS.items():
        data, entries = LICENCE, {}
        for names in synsets:
            offset = f"{len(data.encode()):08d}"
            words = " ".join(f"{name} 0" for name in names)
            data += f'{offset} 03 {part[0]} {len(names):02x} {words} 000 | a gloss; "an example"  \n'
            for name in names:
                entries.setdefault(name.partition("(")[0].lower(), []).append(offset)
        index = LICENCE + "".join(
            f"{lemma} {part[0]} {len(places)} 1 @ {len(places)} 0 {' '.join(places)}  \n"
            for lemma, places in sorted(entries.items())
        )
        (folder / f"data.{part}").write_text(data, encoding="utf-8", newline="\n")
        (folder / f"index.{part}").write_text(index, encoding="utf-8", newline="\n")
        (folder / f"{part}.exc").write_text(
            "".join(f"{line}\n" for line in EXCEPTIONS[part]), encoding="utf-8", newline="\n"
        )
    return folder
