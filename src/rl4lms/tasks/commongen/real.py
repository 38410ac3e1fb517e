"""The published CommonGen: aligned lines of concepts and sentences, JSONL with all sentences of a set, or the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rl4lms.errors import DataError
from rl4lms.tasks import sources
from rl4lms.types import Split

HUB_ID = "allenai/common_gen"
_FILES = {"train": "train", "validation": "dev", "test": "test"}

#: Place, concepts as they stand there, a sentence; "" where the sentence is hidden.
Pair = tuple[str, tuple[str, ...], str]


def pairs(folder: str | None, split: Split) -> Iterator[Pair]:
    """Return the sentences of a split, each with its concepts.

    Raises:
        DataError: a file is absent or damaged, or a line has no concepts or no sentence.
    """
    if folder is None:
        return _from_hub(split)
    name = _FILES[split]
    patterns = (f"commongen.{name}.src_alpha.txt", f"{name}_src.txt", f"commongen.{name}.jsonl")
    concepts = sources.find(folder, *patterns, f"commongen.{name}_*.jsonl")
    if ".jsonl" in concepts.suffixes:
        return _from_jsonl(concepts, hidden=split == "test")
    target = concepts.name.replace(".src_alpha.", ".tgt.").replace("_src.", "_trg.").removesuffix(".gz")
    return _from_lines(concepts, sources.find(folder, target))


def _from_lines(*files: Path) -> Iterator[Pair]:
    for place, (concepts, sentence) in sources.aligned(*((file, None) for file in files)):
        if not concepts.split() or not sentence.strip():
            raise DataError(f"{place}: needs concepts, and a sentence in the same line of the file of sentences")
        yield place, tuple(concepts.split()), sentence.strip()


def _from_jsonl(path: Path, hidden: bool) -> Iterator[Pair]:
    for place, row in sources.json_lines(path):
        tagged = sources.text_of(row, "concept_set", place).split("#")  # run_V#team_N
        concepts = tuple(concept.rpartition("_")[0] or concept for concept in tagged)
        if hidden and "scene" not in row:  # the test set of the challenge
            yield place, concepts, ""
            continue
        scenes = row.get("scene")
        if not isinstance(scenes, list) or not scenes:
            raise DataError(f"{place}: 'scene' must be a list of sentences that is not empty")
        for scene in scenes:
            yield place, concepts, sources.text_of({"scene": scene}, "scene", place)


def _from_hub(split: Split) -> Iterator[Pair]:
    for place, row in sources.hub_rows(HUB_ID, split):
        concepts, target = row.get("concepts"), row.get("target")
        if not isinstance(concepts, list) or not concepts or not isinstance(target, str):
            raise DataError(f"{place}: needs the columns 'concepts', a list, and 'target', a text")
        if not target.strip() and split != "test":
            raise DataError(f"{place}: 'target' is empty")
        yield place, tuple(concepts), target.strip()
