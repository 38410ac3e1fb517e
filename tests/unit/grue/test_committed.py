"""The report that is committed says what its files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl4lms.grue import formats
from rl4lms.grue.board import boards_of, read_cells, read_groups
from rl4lms.grue.overall import overall_boards
from rl4lms.grue.submission import check_files
from rl4lms.grue.submission_file import read_submission
from rl4lms.grue.verify import tier_of

REPORT = Path(__file__).parents[3] / "reports" / "grue-mini"


def test_the_files_are_those_that_were_submitted():
    folder = REPORT / "board" / "rl4lms"
    said = read_submission(folder)
    assert said is not None
    assert check_files(folder, said) == []
    cells = read_cells(folder)
    assert len(cells) == 2 * 7 * 6 * 3
    tiers = [tier_of(place) for place, result in cells if result.decoding == "own"]
    assert tiers.count("re-run") == 3
    assert tiers.count("re-scored") == 123


@pytest.mark.slow
@pytest.mark.parametrize("decoding", ["own", "shared"])
def test_the_tables_are_those_of_the_files(decoding):
    groups = read_groups(REPORT / "board", decoding)
    sheets = (*map(formats.overall_sheet, overall_boards(groups)), *map(formats.sheet, boards_of(groups)))
    written = "".join(f"{formats.markdown(sheet)}\n" for sheet in sheets)
    assert written == (REPORT / f"{decoding}.md").read_text(encoding="utf-8")
