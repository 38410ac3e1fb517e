"""The overall table, against numbers that are spelt out."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from rl4lms.errors import DataError
from rl4lms.grue.board import boards, read_groups
from rl4lms.grue.formats import all_rows, overall_sheet
from rl4lms.grue.norms import check_norm, normalised, norms_of
from rl4lms.grue.overall import overall_boards
from rl4lms.grue.suite import TASKS
from rl4lms.stats import iqm
from rl4lms.tasks import build
from rl4lms.tasks.commongen.task import CommonGenTask
from rl4lms.tasks.totto.task import TottoTask
from tests.unit.grue.made_up import write_cell

NORMS = {"meteor_exact_stem": (0.2, 0.9), "derivable": (0.5, 1.0), "distinct-2": (2.0, 1.0)}


@pytest.fixture(autouse=True)
def constants(monkeypatch):
    """Two tasks of one metric of each prompt, and one of the whole set that stands for naturalness."""
    for task in (CommonGenTask, TottoTask):
        monkeypatch.setattr(task, "norms", {("mini", 1): NORMS}, raising=False)
        monkeypatch.setattr(
            task, "board", {"task": ("meteor_exact_stem",), "naturalness": ("distinct-2",)}, raising=False
        )


def write_grid(folder, systems, seeds=3, tasks=("commongen", "totto"), prompts=12, spread=0.05):
    rng = np.random.default_rng(0)
    truth = {}
    for task in tasks:
        difficulty = rng.normal(0, 0.1, prompts)
        for system, mean in systems.items():
            for seed in range(seeds):
                values = mean + difficulty + rng.normal(0, spread, prompts) + rng.normal(0, 0.01)
                write_cell(folder, system, seed, values.tolist(), whole=1.0 + seed / 10, task=task)
                truth[task, system, seed] = values
    return truth


def only(folder, decoding="own"):
    (found,) = overall_boards(read_groups(folder, decoding))
    return found


def test_the_score_is_the_mean_over_tasks_of_normalised_means(tmp_path):
    truth = write_grid(tmp_path, {"zero_shot": 0.2, "supervised": 0.5, "mine": 0.8})
    found = only(tmp_path)
    assert (found.edition, list(found.tasks), found.absent) == ("mini", ["commongen", "totto"], "")
    by_run = {
        system: [
            [(statistics.fmean(truth[task, system, seed]) - 0.2) / 0.7 for seed in range(3)]
            for task in ("commongen", "totto")
        ]
        for system in found.rows
    }
    for system, row in found.rows.items():
        flat = [score for task in by_run[system] for score in task]
        assert row.score.value == pytest.approx(statistics.fmean(flat))
        assert row.iqm.value == pytest.approx(iqm(flat))
        assert row.naturalness.value == pytest.approx((1.1 - 2.0) / -1.0)
        assert row.score.low < row.score.value < row.score.high
    wins = [
        statistics.fmean(x > y for x in ours for y in theirs)
        for ours, theirs in zip(by_run["mine"], by_run["supervised"], strict=True)
    ]
    assert found.rows["mine"].improvement.value == pytest.approx(statistics.fmean(wins)) == 1.0
    assert found.rows["supervised"].improvement is None
    assert [str(row.rank) for row in found.rows.values()] == ["3", "2", "1"]


def test_the_error_is_that_of_independent_tasks(tmp_path):
    write_grid(tmp_path, {"supervised": 0.5})
    of_tasks = [table.rows["supervised"][1]["meteor_exact_stem"] for table in boards(tmp_path, "own")]
    expected = math.hypot(*(one.stderr for one in of_tasks)) / 2 / 0.7
    assert only(tmp_path).rows["supervised"].score.stderr == pytest.approx(expected)


def test_equal_systems_share_a_rank(tmp_path):
    for system in ("ppo", "nlpo", "mine"):
        for seed in range(3):
            own = [0.3, 0.5, 0.4, 0.9] if system != "mine" else [0.0, 0.1, 0.0, 0.2]
            write_cell(tmp_path, system, seed, [value + seed / 1000 for value in own])
    ranks = {system: row.rank for system, row in only(tmp_path).rows.items()}
    assert ranks["ppo"] == ranks["nlpo"]
    assert ranks["ppo"].rank == 1
    assert ranks["mine"].rank == 3


def test_what_is_incomplete_has_no_score_and_is_told(tmp_path):
    systems = {"supervised": 0.5, "ppo": 0.6, "few": 0.7, "part": 0.8}
    truth = write_grid(tmp_path, systems)
    for name in ("commongen/few/seed-1", "totto/part/seed-0", "totto/part/seed-1", "totto/part/seed-2"):
        for file in (tmp_path / "cells" / name).iterdir():
            file.unlink()
    board = only(tmp_path)
    rows = board.rows
    assert (rows["few"].lacks, rows["few"].score, rows["few"].rank) == ("2 of 3 seeds of commongen", None, None)
    assert (rows["part"].lacks, rows["part"].iqm) == ("1 of 2 tasks", None)
    assert (str(rows["ppo"].rank), rows["ppo"].lacks) == ("1", "")
    sheet = overall_sheet(board)
    assert "few: 2 of 3 seeds of commongen, so no score and no rank" in sheet.notes
    per_task = boards(tmp_path, "own")[0]
    assert set(per_task.ranks["meteor_exact_stem"]) == {"supervised", "ppo", "part"}
    assert len(truth) == 24
    lines = all_rows([board], [per_task])
    assert [line[-1] for line in lines if line[4] == "few" and line[0] == "(overall)"] == ["2 of 3 seeds of commongen"]


def test_one_seed_has_a_score_without_error_and_no_rank(tmp_path):
    write_grid(tmp_path, {"supervised": 0.5, "mine": 0.9}, seeds=1)
    for row in only(tmp_path).rows.values():
        assert row.score is not None
        assert (row.score.stderr, row.rank) == (None, None)


def test_ten_seeds_have_the_interval_of_a_bootstrap(tmp_path):
    write_grid(tmp_path, {"mine": 0.5}, seeds=9, tasks=("commongen",))
    write_grid(tmp_path / "more", {"mine": 0.5}, seeds=10, tasks=("commongen",))
    few, many = (only(folder).rows["mine"].score for folder in (tmp_path, tmp_path / "more"))
    assert few.high - few.value == pytest.approx(few.value - few.low)  # t is symmetric
    assert many.high - many.value != pytest.approx(many.value - many.low, rel=1e-6)
    assert many.high - many.low == pytest.approx(few.high - few.low, rel=0.3)


def test_documents_count_once_not_each_of_their_prompts(tmp_path):
    rng = np.random.default_rng(2)
    names = [f"d{i // 6}" for i in range(24)]
    of_documents = np.repeat(rng.normal(0, 0.3, 4), 6)
    for seed in range(3):
        values = (0.5 + of_documents + rng.normal(0, 0.02, 24)).tolist()
        write_cell(tmp_path / "apart", "mine", seed, values)
        write_cell(tmp_path / "together", "mine", seed, values, documents=names)
    apart, together = (only(tmp_path / name).rows["mine"].score for name in ("apart", "together"))
    assert together.value == pytest.approx(apart.value)
    assert together.stderr > 1.8 * apart.stderr


def test_an_edition_without_constants_says_so(tmp_path):
    write_cell(tmp_path, "mine", 0, [0.1, 0.2], edition="full")
    found = only(tmp_path)
    assert found.rows == {}
    assert "no constants (base model, references) are known for commongen full, version 1" in found.absent
    assert overall_sheet(found).notes == [f"no overall score: {found.absent}"]


def test_translation_counts_once_and_other_tasks_not_at_all(tmp_path):
    write_grid(tmp_path, {"mine": 0.5}, tasks=("commongen",))
    for seed in range(3):
        write_cell(tmp_path, "mine", seed, [0.9] * 12, task="wmt16")
    assert list(only(tmp_path).tasks) == ["commongen"]


def test_constants_point_the_way_of_their_metric():
    assert normalised(0.55, (0.2, 0.9)) == pytest.approx(0.5)
    assert normalised(30.0, (80.0, 0.0)) == pytest.approx(0.625)  # an error rate
    check_norm("ter", (80.0, 0.0), False)
    for norm, better in (((0.5, 0.5), True), ((0.2, 0.9), False), ((0.2, 0.9), None)):
        with pytest.raises(DataError, match="no better than the base model"):
            check_norm("x", norm, better)


@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("commongen", "totto")])
def test_every_mini_task_has_constants_for_its_metrics(name):
    task = build({"name": name, "edition": "mini"})
    known = norms_of(task, task.version)
    assert set(task.board["task"]) <= set(known)
    assert "derivable" in known
    assert not norms_of(task, task.version + 1)
