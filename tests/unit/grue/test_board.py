from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from rich.console import Console

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue import board
from rl4lms.grue.result import read_result
from tests.unit.grue.made_up import result, write_cell


@pytest.fixture
def grid(tmp_path):
    rng = np.random.default_rng(0)
    for system, mean in (("zero_shot", 0.2), ("supervised+ppo", 0.7), ("mine", 0.5)):
        for seed in range(3):
            write_cell(tmp_path, system, seed, list(mean + 0.1 * rng.random(8)), whole=mean + seed / 10)
    return tmp_path


def test_means_over_prompts_and_seeds(grid):
    (found,) = board.boards(grid, "own")
    assert list(found.columns) == ["meteor_exact_stem", "distinct-2"]  # those that the task names and the cells have
    assert list(found.rows) == ["zero_shot", "supervised+ppo", "mine"]  # the paper's first
    seeds, numbers = found.rows["mine"]
    assert seeds == 3
    of_cells = [one.scores.values("meteor_exact_stem") for one in cells(grid) if one.result.system == "mine"]
    assert numbers["meteor_exact_stem"].value == pytest.approx(np.mean(of_cells))
    of_sets = np.array([0.5, 0.6, 0.7])
    assert numbers["distinct-2"].value == pytest.approx(of_sets.mean())
    assert numbers["distinct-2"].stderr == pytest.approx(of_sets.std(ddof=1) / np.sqrt(3))


def cells(grid):
    return [
        board.Measured(result, board.read_scores(place / "own.parquet"))
        for place, result in board.read_cells(grid)
        if result.decoding == "own"
    ]


def test_the_table_in_four_forms(grid):
    (found,) = board.boards(grid, "shared", ["meteor_exact_stem"])
    assert "the decoding that all share" in found.title
    value = found.rows["zero_shot"][1]["meteor_exact_stem"]
    text = f"{value.value:.3f} ± {value.stderr:.3f}"
    assert f"| zero_shot | reported | 3 | {text} |" in board.markdown(found)
    tex = text.replace("±", r"$\pm$")
    assert rf"zero\_shot & reported & 3 & {tex} \\" in board.latex(found)
    console = Console(record=True, width=80, file=io.StringIO())
    board.show(found, console)
    assert text.replace(" ± ", "±").replace("0.", ".") in console.export_text()
    rows = list(csv.DictReader(io.StringIO(board.comma_separated([found]))))
    assert [float(row["mean"]) for row in rows if row["system"] == "zero_shot"] == [value.value]


def test_numbers_above_ten_keep_their_zeros():
    assert board._short("10.2 ± 0.8") == "10.2±.8"
    assert board._short("0.382 ± 0.020") == ".382±.020"


@pytest.mark.parametrize("name", ["-1+x", "<b>x</b>", "../x", "a/b", "=1", ""])
def test_names_are_no_formulas_and_no_paths(name):
    row = result().model_dump(mode="json")
    for key in ("task", "system"):
        with pytest.raises(DataError, match=f"file: {key}: "):
            read_result({**row, key: name}, "file")


def test_what_cannot_be_shown(tmp_path, grid):
    with pytest.raises(ConfigError, match="neither a grid nor a folder of submissions"):
        board.boards(tmp_path / "other", "own")
    with pytest.raises(ConfigError, match="metric 'meteor': no result has it; known: distinct-2, meteor_exact_stem"):
        board.boards(grid, "own", ["meteor"])
    place = grid / "cells" / "commongen" / "mine" / "seed-0"
    place.rename(place.with_name("seed-7"))
    with pytest.raises(DataError, match="says that it is of the cell commongen/mine/seed-0"):
        board.boards(grid, "own")


def test_cells_with_other_prompts_are_not_averaged(grid):
    write_cell(grid, "mine", 3, [0.5, 0.6])
    with pytest.raises(DataError, match="answers 2 prompts, and not the 8 of"):
        board.boards(grid, "own")
