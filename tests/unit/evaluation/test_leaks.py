"""Which rows are evaluated: drawn, held out in whole groups, and never unawares those that were trained on."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import rl4lms
from rl4lms.checks.dry_run import describe
from rl4lms.cli.main import app
from rl4lms.config.data import DataConfig
from rl4lms.config.recipe import Recipe
from rl4lms.data.files import FileTask
from rl4lms.errors import ConfigError, DataError
from rl4lms.evaluation.evaluator import drawn
from rl4lms.evaluation.leaks import check_best, check_split
from rl4lms.tasks import task_of
from rl4lms.types import Sample
from tests.runs import small_recipe

Lines = list[dict[str, Any]]


def write(path: Path, rows: Lines) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(numbers: range) -> Lines:
    return [{"id": f"r{i}", "prompt": str(i), "references": [str(i + 1)]} for i in numbers]


# --- which are drawn
# ----------------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_sorted_by_a_label_gives_all_labels() -> None:
    samples = [Sample(str(i), str(i), meta={"label": i // 100}) for i in range(400)]
    some = drawn(samples, 60, 0)
    assert len({s.id for s in some}) == 60
    assert [int(s.id) for s in some] == sorted(int(s.id) for s in some)
    counts = [sum(s.meta["label"] == label for s in some) for label in range(4)]
    assert min(counts) > 5


def test_the_draw_depends_on_its_seed_and_on_nothing_else() -> None:
    samples = [Sample(str(i), str(i)) for i in range(100)]
    assert drawn(samples, 9, 0) == drawn(list(samples), 9, 0) != drawn(samples, 9, 1)
    assert drawn(samples, 100, 0) == drawn(samples, 200, 3) == samples


def test_runs_with_other_seeds_are_evaluated_on_the_same_rows_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    for seed, prompt_seed in ((0, 0), (1, 0), (0, 5)):
        settings: dict[str, Any] = {"seed": seed, "output_dir": str(tmp_path / f"run-{seed}-{prompt_seed}")}
        evaluation = {"prompt_seed": prompt_seed, "samples": 8}
        recipe = small_recipe(tmp_path, training={"iterations": 0}, evaluation=evaluation, **settings)
        folder = rl4lms.train(recipe, progress=True).folder
        (texts,) = (folder / "samples").glob("*.jsonl")
        seen.append([json.loads(line)["id"] for line in texts.read_text().splitlines()])
        assert "evaluated: 8 of 64 validation prompts, drawn with evaluation.prompt_seed" in capsys.readouterr().err
    assert seen[0] == seen[1] != seen[2]
    assert seen[0] != [str(i + 1) for i in range(8)]


# --- which are held out
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holdout", [None, 15])
@pytest.mark.parametrize("column", [None, "topic"])
def test_what_belongs_together_stays_together(tmp_path: Path, holdout: int | None, column: str | None) -> None:
    rows: Lines = [{"prompt": f"p{i % 20}", "topic": i % 10, "references": [str(i)]} for i in range(200)]
    task = FileTask(DataConfig(train=write(tmp_path / "rows.jsonl", rows), holdout=holdout, group_column=column))
    group = (lambda s: s.prompt) if column is None else (lambda s: s.meta["topic"])
    splits = [list(task.samples(name)) for name in ("train", "validation", "test")]  # type: ignore[arg-type]
    groups = [{group(s) for s in split} for split in splits]
    assert sum(map(len, groups)) == len(set.union(*groups)) == (20 if column is None else 10)
    assert sum(map(len, splits)) == 200
    assert all(20 <= len(split) <= 40 for split in splits[1:])
    assert task.held_out() == (
        f"{len(splits[1])} for validation and {len(splits[2])} for test, {len(splits[0])} to train on, of 200 rows of "
        f"{task.config.train}; rows of one {column or 'prompt'!r} stay together"
    )


def test_one_group_cannot_be_divided(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "p", "topic": i % 3, "references": [str(i)]} for i in range(9)])
    task = FileTask(DataConfig(train=path))
    assert len(task.samples("train")) == 9
    with pytest.raises(DataError, match=r"has a single 'prompt', so none is left.*data\.group_column"):
        task.samples("validation")
    with pytest.raises(DataError, match="leave none of"):
        FileTask(DataConfig(train=path, holdout=2)).samples("train")
    by_topic = FileTask(DataConfig(train=path, group_column="topic"))
    assert [len(by_topic.samples(name)) for name in ("train", "validation", "test")] == [3, 3, 3]  # type: ignore[arg-type]


def test_a_group_column_that_is_not_there_or_not_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", rows_of(range(5)))
    with pytest.raises(DataError, match=r"rows\.jsonl:1: no column 'topic' \(data\.group_column\)"):
        FileTask(DataConfig(train=path, group_column="topic")).samples("train")
    for unused in ({"holdout": 0}, {"validation": path}):
        with pytest.raises(ValueError, match="group_column has no effect"):
            DataConfig(train=path, group_column="prompt", **unused)


# --- which are trained on
# ----------------------------------------------------------------------------------------------------------------------


def same_file(train: Path) -> Path:
    return train


def another_path(train: Path) -> Path:
    return train.parent / "." / ".." / train.parent.name / train.name


def symlink(train: Path) -> Path:
    os.symlink(train, target := train.parent / "link.jsonl")
    return target


def hard_link(train: Path) -> Path:
    os.link(train, target := train.parent / "hard.jsonl")
    return target


def copy(train: Path) -> Path:
    return Path(shutil.copy(train, train.parent / "copy.jsonl"))


def another_order_and_ids(train: Path) -> Path:
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    return Path(write(train.parent / "other.jsonl", [{**row, "id": i} for i, row in enumerate(reversed(rows))]))


def another_format(train: Path) -> Path:
    target = train.parent / "other.csv"
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "references"])
        for row in map(json.loads, train.read_text().splitlines()):
            writer.writerow([row["prompt"], json.dumps(row["references"])])
    return target


def a_part(train: Path) -> Path:
    return Path(write(train.parent / "part.jsonl", [json.loads(line) for line in train.read_text().splitlines()[:4]]))


WAYS = [same_file, another_path, symlink, hard_link, copy, another_order_and_ids, another_format, a_part]


def recipe_on(folder: Path, other: str, split: str = "validation", **settings: Any) -> Recipe:
    evaluation = {"split": split, "on_training_data": False} | settings.pop("evaluation", {})
    data = {"train": str(folder / "train.jsonl"), "validation": None, "holdout": 0, split: other}
    return small_recipe(folder, data=data, evaluation=evaluation, **settings)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_rows_that_are_trained_on_must_be_asked_for(tmp_path: Path, way: Any, split: str) -> None:
    write(tmp_path / "train.jsonl", rows_of(range(12)))
    other = str(way(tmp_path / "train.jsonl"))
    recipe = recipe_on(tmp_path, other, split)
    message = rf"rows are rows of data\.train .*data\.{split}.*evaluation\.on_training_data: true"
    for use in (rl4lms.train, describe):
        with pytest.raises(ConfigError, match=message):
            use(recipe)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    known = recipe_on(tmp_path, other, split, evaluation={"on_training_data": True})
    assert check_split(known, task_of(known), split)  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "shared", "refused"), [(12, 0, False), (8, 4, False), (5, 7, True)])
def test_some_rows_are_noted_and_most_are_refused(tmp_path: Path, first: int, shared: int, refused: bool) -> None:
    write(tmp_path / "train.jsonl", rows_of(range(12)))
    recipe = recipe_on(tmp_path, write(tmp_path / "other.jsonl", rows_of(range(first, first + 12))))
    if refused:
        with pytest.raises(ConfigError, match=f"{shared} of the 12 validation rows"):
            check_split(recipe, task_of(recipe), "validation")
    else:
        note = check_split(recipe, task_of(recipe), "validation")
        assert note.startswith(f"{shared} of the 12 validation rows are rows of data.train") if shared else not note
    assert check_split(recipe, task_of(recipe), "train") == ""  # by its name


def test_the_same_prompts_for_other_columns_are_other_rows(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [{"prompt": "write", "topic": i} for i in range(9)])
    other = write(tmp_path / "other.jsonl", [{"prompt": "write", "topic": i} for i in range(9, 18)])
    recipe = recipe_on(tmp_path, other)
    assert check_split(recipe, task_of(recipe), "validation") == ""


def test_a_run_is_not_evaluated_on_its_training_file_unawares_and_any_model_on_any_file(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", rows_of(range(12)))
    recipe = recipe_on(tmp_path, write(tmp_path / "other.jsonl", rows_of(range(20, 32))), training={"iterations": 0})
    folder = rl4lms.train(recipe, progress=False).folder
    command = ["evaluate", str(folder), f"data.test={train}", "-q"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "12 of the 12 test rows are rows of data.train" in result.stderr
    assert CliRunner().invoke(app, [*command, "evaluation.on_training_data=true"]).exit_code == 0
    model = ["evaluate", recipe.model.path, "--data", train, "-q", "--metric", "diversity", "prompt.max_tokens=8"]
    result = CliRunner().invoke(app, [*model, "evaluation.generation={max_new_tokens: 4}", "evaluation.prompts=5"])
    assert (result.exit_code, result.stderr) == (0, "note: 5 of 12 prompts, drawn with evaluation.prompt_seed 0\n")


def test_the_best_checkpoint_is_not_chosen_by_what_it_is_reported_on(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", rows_of(range(12)))
    other = write(tmp_path / "other.jsonl", rows_of(range(20, 32)))
    best = {"best": "eval/reward"}
    for settings in (
        {"data": {"test": other, "validation": None, "holdout": 0}, "evaluation": {"split": "test"}},
        {"data": {"test": str(copy(Path(other))), "validation": other}},
    ):
        data = {"train": str(tmp_path / "train.jsonl"), **settings.pop("data")}
        recipe = small_recipe(tmp_path, data=data, checkpoint=best, **settings)
        for use in (rl4lms.train, describe):
            with pytest.raises(ConfigError, match=r"checkpoint\.best: .*say checkpoint\.best_on_test: true"):
                use(recipe)
        known = small_recipe(tmp_path, data=data, checkpoint=best | {"best_on_test": True}, **settings)
        check_best(known, task_of(known))
    fine = small_recipe(tmp_path, data={"train": other, "validation": str(tmp_path / "train.jsonl")}, checkpoint=best)
    check_best(fine, task_of(fine))
