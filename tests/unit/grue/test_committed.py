"""The reports that are committed say what their files say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rl4lms.grue import formats
from rl4lms.grue.board import boards_of, read_cells, read_groups
from rl4lms.grue.overall import overall_boards
from rl4lms.grue.submission import check_files
from rl4lms.grue.submission_file import read_submission
from rl4lms.grue.verify import tier_of

REPORTS = Path(__file__).parents[3] / "reports"
#: By submission: how many of its runs are of which tier.
SUBMISSIONS = {
    "grue-mini/board/rl4lms": {"re-run": 3, "re-scored": 123},
    "grue-real/board/small-t5": {"re-scored": 30},
    "grue-real/board/smollm2": {"re-scored": 6},
}


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_the_files_are_those_that_were_submitted(name):
    folder = REPORTS / name
    said = read_submission(folder)
    assert said is not None
    assert check_files(folder, said) == []
    cells = read_cells(folder)
    assert len(cells) == 2 * sum(SUBMISSIONS[name].values())
    assert Counter(tier_of(place) for place, result in cells if result.decoding == "own") == SUBMISSIONS[name]


@pytest.mark.slow
@pytest.mark.parametrize("decoding", ["own", "shared"])
@pytest.mark.parametrize("report", ["grue-mini", "grue-real"])
def test_the_tables_are_those_of_the_files(report, decoding):
    groups = read_groups(REPORTS / report / "board", decoding)
    sheets = (*map(formats.overall_sheet, overall_boards(groups)), *map(formats.sheet, boards_of(groups)))
    written = "".join(f"{formats.markdown(sheet)}\n" for sheet in sheets)
    assert written == (REPORTS / report / f"{decoding}.md").read_text(encoding="utf-8")
