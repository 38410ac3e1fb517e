"""The published CNN/DailyMail and DialogSum: one row per summary, from files or the Hub."""

from __future__ import annotations

from collections.abc import Iterator

from rl4lms.data.files import read_rows
from rl4lms.tasks import sources
from rl4lms.types import Split

Text = tuple[str, tuple[str, ...]]  # what is summarised, and its summaries

_SUMMARIES = ("summary", "summary1", "summary2", "summary3")


def articles(folder: str | None, split: Split) -> Iterator[Text]:
    """Return the articles of CNN/DailyMail, each with its highlights, which stand on lines of their own.

    Raises:
        DataError: a file is absent or damaged, or a row has no article or no highlights.
    """
    if folder is None:
        rows = sources.hub_rows("abisee/cnn_dailymail", split, name="3.0.0")
    else:
        rows = read_rows(str(sources.find(folder, f"{split}.csv", f"{split}.jsonl", f"{split}.parquet")))
    for place, row in rows:
        yield sources.text_of(row, "article", place), (sources.text_of(row, "highlights", place),)


def dialogues(folder: str | None, split: Split) -> Iterator[Text]:
    """Return the dialogues of DialogSum, one turn per line, with one summary or, in the published test set, three.

    Raises:
        DataError: a file is absent or damaged, or a row has no dialogue or no summary.
    """
    if folder is None:
        rows = sources.hub_rows("knkarthick/dialogsum", split)
    else:
        name = "dev" if split == "validation" else split
        rows = sources.json_lines(sources.find(folder, f"dialogsum.{name}.jsonl"))
    for place, row in rows:
        columns = [name for name in _SUMMARIES if name in row] or ["summary"]
        yield sources.text_of(row, "dialogue", place), tuple(sources.text_of(row, name, place) for name in columns)
