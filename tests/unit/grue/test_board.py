from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from rich.console import Console

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue import board, formats
from rl4lms.grue.overall import overall_boards
from rl4lms.grue.result import read_result
from rl4lms.grue.suite import SYSTEMS
from rl4lms.reporting.inert import comma_separated
from tests.unit.grue.made_up import change_scores, result, write_cell


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


def test_ranks_of_a_task_are_by_metric(grid):
    (found,) = board.boards(grid, "own")
    assert {system: str(rank) for system, rank in found.ranks["meteor_exact_stem"].items()} == {
        "supervised+ppo": "1",
        "mine": "2",
        "zero_shot": "3",
    }
    assert set(found.ranks) == {"meteor_exact_stem", "distinct-2"}
    write_cell(grid, "mine", 3, [0.5] * 8)  # now the others lack a seed
    (found,) = board.boards(grid, "own")
    assert list(found.ranks["meteor_exact_stem"]) == ["mine"]
    assert (
        "no rank: zero_shot, supervised+ppo; not every seed of the others (4), or no value"
        in formats.sheet(found).notes
    )


def test_the_table_in_four_forms(grid):
    (found,) = board.boards(grid, "shared", ["meteor_exact_stem"])
    assert "the decoding that all share" in found.title
    value = found.rows["zero_shot"][1]["meteor_exact_stem"]
    text = f"{value.value:.3f} ± {value.stderr:.3f}"
    table = formats.sheet(found)
    assert f"| zero_shot | reported | 3 | 3 | {text} |" in formats.markdown(table)
    tex = text.replace("±", r"$\pm$")
    assert rf"zero\_shot & reported & 3 & 3 & {tex} \\" in formats.latex(table)
    assert text.replace(" ± ", "±").replace("0.", ".") in printed(table)
    rows = list(csv.DictReader(io.StringIO(comma_separated(formats.all_rows([], [found])))))
    assert [float(row["mean"]) for row in rows if row["system"] == "zero_shot"] == [value.value]
    assert [row["rank"] for row in rows if row["system"] == "zero_shot"] == ["3"]


def printed(table):
    console = Console(record=True, width=80, file=io.StringIO())
    formats.show(table, console)
    return console.export_text()


def test_six_systems_fit_on_80_columns(tmp_path):
    rng = np.random.default_rng(0)
    for system in SYSTEMS:
        for seed in range(2):
            write_cell(tmp_path, system, seed, rng.random(8).tolist())
    groups = board.read_groups(tmp_path, "own")
    for table in (formats.overall_sheet(*overall_boards(groups)), *map(formats.sheet, board.boards_of(groups))):
        text = printed(table)
        assert max(map(len, text.splitlines())) <= 80
        for row in table.rows:
            assert all(formats._short(cell) in text for cell in row)


def test_numbers_above_ten_keep_their_zeros():
    assert formats._short("10.2 ± 0.8") == "10.2±.8"
    assert formats._short("0.382 ± 0.020") == ".382±.020"


@pytest.mark.parametrize("name", ["-1+x", "<b>x</b>", "../x", "a/b", "=1", ""])
def test_names_are_no_formulas_and_no_paths(name):
    row = result().model_dump(mode="json")
    for key in ("task", "system"):
        with pytest.raises(DataError, match=f"file: {key}: "):
            read_result({**row, key: name}, "file")


HOSTILE = [
    "=HYPERLINK(1)",
    " \t@SUM(A1)",
    "－1+x",
    "a|b\n| c",
    "<script>alert(1)</script>",
    "![x](http://x.example/y)",
    "`code` **bold** _slanted_ ~~gone~~",
    "www.example.org https://example.org a@example.org &lt;",
    "\\input{/etc/passwd} $x^2$ #1 ~ {",
    "[red]markup[/red]",
    "\x1b[31mred\u202eturned",
    "\\\\[1cm]",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_do_nothing_in_any_format(name):
    table = formats.Sheet(f"of {name}", ["system", "tier", name], [[name, "reported", "1"]], notes=[f"see {name}"])
    plain = formats.plain(name)
    shown = " ".join(printed(table).split())
    assert " ".join(plain.split())[:40] in shown  # as it is, brackets and all
    written = formats.markdown(table)
    assert len(written.splitlines()) == 7
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in written.splitlines()[2:5]] == [4, 4, 4]
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", written)
    assert not re.search(r"[<>`*\[\]~@&]|://|www\.|\b_|_\b", bare)
    tex = formats.latex(table)
    of_names = re.sub(r"\\(?:text\w+\{\}|[{}$&#%_])", "", tex.splitlines()[6].removesuffix(r" \\"))
    assert of_names.count("&") == 2
    assert not re.search(r"[\\$#%_^~<>|\"]", of_names)
    assert len(tex.splitlines()) == 9
    for row in csv.reader(io.StringIO(comma_separated([[name, 1.0]]))):
        assert row[0].lstrip()[:1] not in tuple("=+-@＝＋－＠\t\r")
        assert row[1] == "1.0"
    for text in (shown, written, tex, comma_separated([[name]])):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)


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
    with pytest.raises(DataError, match="different numbers of prompts"):
        board.boards(grid, "own")


def test_cells_with_prompts_in_another_order_are_not_paired(grid):
    change_scores(grid / "cells" / "commongen" / "mine" / "seed-1" / "own.parquet", lambda rows: rows.reverse())
    with pytest.raises(DataError, match="the same prompts in the same order"):
        board.boards(grid, "own")
