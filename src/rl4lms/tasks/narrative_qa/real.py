"""The published NarrativeQA with summaries: its own CSV files, JSONL with the questions of a story in one row, or the
Hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rl4lms.data.files import read_rows
from rl4lms.errors import DataError
from rl4lms.tasks import sources
from rl4lms.types import Split

HUB_ID = "deepmind/narrativeqa"
# JSONL is there without a train set: the first stories of its test set are taken for it
TRAIN_STORIES = 255


class Question(NamedTuple):
    """A question about a story, with its answers."""

    story: str
    summary: str
    question: str
    answers: tuple[str, ...]


def questions(folder: str | None, split: Split) -> Iterator[Question]:
    """Return the questions of a split.

    Raises:
        DataError: a file is absent or damaged, or a question has no text, no answer or no story.
    """
    if folder is None:
        return _from_hub(split)
    file = sources.find(folder, "qaps.csv", "valid.jsonl")
    return _from_csv(folder, split) if file.name.startswith("qaps") else _from_jsonl(folder, split)


def _from_csv(folder: str, split: Split) -> Iterator[Question]:
    published = {"train": "train", "validation": "valid", "test": "test"}[split]
    file = sources.find(folder, "summaries.csv", "third_party/wikipedia/summaries.csv")
    summaries = {
        sources.text_of(row, "document_id", place): sources.text_of(row, "summary", place)
        for place, row in read_rows(str(file))
    }
    for place, row in read_rows(str(sources.find(folder, "qaps.csv"))):
        if row.get("set") == published:
            story = sources.text_of(row, "document_id", place)
            if story not in summaries:
                raise DataError(f"{place}: {file} has no summary of the story {story}; get both files again")
            answers = tuple(sources.text_of(row, name, place) for name in ("answer1", "answer2"))
            yield Question(story, summaries[story], sources.text_of(row, "question", place), answers)


def _from_jsonl(folder: str, split: Split) -> Iterator[Question]:
    name = "valid" if split == "validation" else "test"
    for number, (place, row) in enumerate(sources.json_lines(sources.find(folder, f"{name}.jsonl"))):
        if split != "validation" and (number < TRAIN_STORIES) != (split == "train"):
            continue
        summary, pairs = sources.text_of(row, "summary", place), row.get("qas")
        if not isinstance(pairs, list) or not pairs:
            raise DataError(f"{place}: 'qas' must be a list of questions with answers")
        for pair in pairs:
            texts = pair.get("answers") or [""]
            answers = tuple(sources.text_of({"answers": text}, "answers", place) for text in texts)
            yield Question(summary, summary, sources.text_of(pair, "question", place), answers)


def _from_hub(split: Split) -> Iterator[Question]:
    for place, row in sources.hub_rows(HUB_ID, split):
        try:
            document, question = row["document"], row["question"]
            story, summary, answers = document["id"], document["summary"], row["answers"]
        except (KeyError, TypeError) as error:
            raise DataError(f"{place}: needs document with id and summary, question and answers ({error})") from error
        texts = tuple(sources.text_of(answer, "text", place) for answer in answers)
        yield Question(story, sources.text_of(summary, "text", place), sources.text_of(question, "text", place), texts)
