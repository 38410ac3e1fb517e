"""The published DailyDialog: for each split a zip, or the folder in it, with three files of one dialogue per line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rl4lms.errors import DataError
from rl4lms.tasks import sources
from rl4lms.types import Split

HUB_ID = "li2017dailydialog/daily_dialog"
EMOTIONS = ("none", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
INTENTS = ("inform", "question", "directive", "commissive")
_END = "__eou__"
# This dialogue of train was published with the labels of one turn missing, nobody knows of which.
_UNLABELLED = ("train", 7852)


class Dialogue(NamedTuple):
    """Turns, and what each of them was labelled with: indices into `INTENTS` and `EMOTIONS`. A dialogue that was
    published with labels that do not belong to its turns has none.
    """

    turns: tuple[str, ...]
    intents: tuple[int, ...]
    emotions: tuple[int, ...]


def dialogues(folder: str | None, split: Split) -> Iterator[Dialogue]:
    """Return the dialogues of a split.

    Raises:
        DataError: a file is absent or damaged, or labels are unknown or not as many as turns.
    """
    if folder is None:
        for place, row in sources.hub_rows(HUB_ID, split, revision="refs/convert/parquet"):
            yield _dialogue(place, row.get("dialog"), row.get("act"), row.get("emotion"))
        return
    kinds = ("dialogues", "dialogues_act", "dialogues_emotion")
    members = [f"{split}/{kind}_{split}.txt" for kind in kinds]
    first = sources.find(folder, f"{split}.zip", members[0])
    files: list[tuple[Path, str | None]] = [(first, member) for member in members]
    if first.suffix != ".zip":
        files = [(sources.find(folder, member), None) for member in members]
    for number, (place, (text, intents, emotions)) in enumerate(sources.aligned(*files), 1):
        if not text.strip() and not intents.strip():
            continue
        turns = [turn.strip() for turn in text.strip().removesuffix(_END).split(_END)]
        numbers = [_numbers(place, labels) for labels in (intents, emotions)]
        if (split, number) == _UNLABELLED and len(turns) == len(numbers[0]) + 1:
            yield Dialogue(tuple(turns), (), ())
            continue
        yield _dialogue(place, turns, *numbers)


def _numbers(place: str, text: str) -> list[int]:
    if not all(label.isdecimal() for label in text.split()):
        raise DataError(f"{place}: the labels in the same line of a file beside it are no numbers: {text[:40]!r}")
    return [int(label) for label in text.split()]


def _dialogue(place: str, turns: Any, intents: Any, emotions: Any) -> Dialogue:
    if (
        not isinstance(turns, Sequence)
        or not turns
        or not all(isinstance(turn, str) and turn.strip() for turn in turns)
    ):
        raise DataError(f"{place}: a dialogue is turns with text, each ended by {_END}")
    if not isinstance(intents, Sequence) or not isinstance(emotions, Sequence):
        raise DataError(f"{place}: needs the columns 'act' and 'emotion' with a label for each turn")
    if not len(turns) == len(intents) == len(emotions):
        raise DataError(
            f"{place}: {len(turns)} turns, {len(intents)} intents and {len(emotions)} emotions; they belong together "
            f"one by one, get the files again"
        )
    for label, first, names in ((intents, 1, INTENTS), (emotions, 0, EMOTIONS)):
        wrong = [number for number in label if not first <= number < first + len(names)]
        if wrong:
            raise DataError(f"{place}: the label {wrong[0]} is none of {first} to {first + len(names) - 1}")
    return Dialogue(tuple(turn.strip() for turn in turns), tuple(number - 1 for number in intents), tuple(emotions))
