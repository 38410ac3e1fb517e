from __future__ import annotations

import json
import shutil

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue import overlap
from rl4lms.grue.board import boards, read_cells
from rl4lms.grue.submission import check_files, grids, pack
from rl4lms.grue.submission_file import read_submission
from rl4lms.types import Sample
from tests.cli.test_cli import call
from tests.unit.grue.made_up import change, predictions, task


@pytest.fixture(scope="module")
def made(tmp_path_factory, write):
    folder = tmp_path_factory.mktemp("made")
    for seed in range(2):
        write(folder / "grid", seed)
    pack(folder / "grid", folder / "board" / "first", name="first", tried=2, training=["CommonGen train"])
    return folder


@pytest.fixture
def packed(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "board" / "first"


def test_a_submission_holds_what_is_needed_to_check_it_and_nothing_else(packed):
    files = sorted(path.name for path in packed.rglob("seed-0/*"))
    assert files == ["cell.json", "own.parquet", "results.json", "shared.parquet"]
    said = read_submission(packed)
    assert (said.name, said.tried, [data.name for data in said.training]) == ("first", 2, ["CommonGen train"])
    assert len(said.files) == 8
    everything = b"".join(path.read_bytes() for path in packed.rglob("*") if path.is_file())
    assert b"/home/me" not in everything  # where a model was
    assert task().samples("test")[1].prompt.encode() not in everything
    assert not check_files(packed, said)
    done = call("grue", "verify", packed.parent)
    assert done.exit_code == 0, done.output
    assert "2 of 2 cells are re-scored" in done.output
    (table,) = boards(packed.parent, "own")
    assert table.tiers == {"zero_shot": "re-scored"}
    assert not check_files(packed, said)  # the tier is no part of it


def test_the_words_that_a_test_set_shares_are_counted(tmp_path, add_cell):
    add_cell(0)
    path = tmp_path / "extra.jsonl"
    rows = task().samples("test")
    longest = max(rows, key=lambda row: len(row.references[0].split()))
    path.write_text(json.dumps({"text": f"Well, {longest.references[0]} indeed"}) + "\n")
    said = pack(tmp_path / "grid", tmp_path / "out", name="a", tried=1, training=[str(path)])
    (declared,) = said.training
    assert declared.overlap["commongen"] == overlap.of_training([longest.references[0]], rows)
    assert declared.overlap["commongen"].shared >= 1
    outputs = said.outputs["commongen/zero_shot"]  # these are references
    assert outputs.shared == outputs.texts > 0


def test_n_grams_by_hand():
    samples = [
        Sample("a", "one two", ("x y z", "the cat sat")),
        Sample("b", "the dog sat down", ("it did",)),
        Sample("c", "no", ("way",)),
    ]
    assert overlap.of_training(["The CAT, sat.", "dog"], samples, 3) == overlap.Overlap(n=3, texts=2, shared=1)
    written = [("a", "so the cat sat"), ("b", "the dog sat"), ("c", "no way")]
    found = overlap.of_outputs(written, {row.id: row for row in samples}, 3)
    assert found == overlap.Overlap(n=3, texts=2, shared=1)  # of b every word stands in the prompt


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda folder: change(next(folder.rglob("own.parquet")), lambda rows: rows.pop()), "own.parquet was altered"),
        (lambda folder: change(next(folder.rglob("cell.json")), lambda c: c.pop("start")), "cell.json was altered"),
        (lambda folder: next(folder.rglob("seed-0/results.json")).unlink(), "results.json is named in submission.json"),
        (lambda folder: (folder / "cells" / "x.txt").write_text("x"), "x.txt is not named in submission.json"),
        (lambda folder: (folder / "cells" / "passwords").symlink_to("/etc/passwd"), "cells/passwords is a link"),
        (
            lambda folder: change(
                folder / "submission.json",
                lambda c: [c["files"].pop(path) for path in list(c["files"]) if "seed-0" in path],
            ),
            "commongen/zero_shot: seed 0 is missing",
        ),
    ],
)
def test_altered_submissions_are_refused(packed, edit, message):
    edit(packed)
    assert any(message in fault for fault in check_files(packed, read_submission(packed)))
    done = call("grue", "verify", packed)
    assert done.exit_code == 1
    assert "nothing was scored" in done.output


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(name="../x"), "submission.json: name: "),
        (lambda c: c.update(tried=0), "submission.json: tried: "),
        (lambda c: c.update(schema_version=2), "submission.json: schema_version: "),
        (lambda c: c.update(secret=1), "submission.json: secret: "),
        (lambda c: c.pop("files"), "submission.json: files: "),
    ],
)
def test_damaged_submissions_name_the_key(packed, edit, message):
    change(packed / "submission.json", edit)
    with pytest.raises(DataError, match=message):
        grids(packed.parent)
    (packed / "submission.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        grids(packed.parent)


def test_what_cannot_be_submitted(tmp_path, add_cell):
    grid, out = tmp_path / "grid", tmp_path / "out"
    with pytest.raises(ConfigError, match="no cell of a grid is there"):
        pack(grid, out, name="a", tried=1)
    place = add_cell(1)
    with pytest.raises(ConfigError, match="commongen/zero_shot: seed 0 is missing"):
        pack(grid, out, name="a", tried=1)
    (add_cell(0) / "results.json").unlink()
    with pytest.raises(ConfigError, match="zero_shot/seed-0 was begun and is not finished"):
        pack(grid, out, name="a", tried=1)
    add_cell(0)
    for wrong, message in (
        ({"systems": ["ppo"]}, "no cell is of 'ppo'"),
        ({"training": ["missing.jsonl"]}, "missing.jsonl: no such file"),
        ({"name": "a b"}, "submission.json: name: "),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            pack(grid, out, **({"name": "a", "tried": 1} | wrong))
    assert not out.exists()
    assert place.is_dir()


def test_one_submission_supersedes_another_and_two_do_not_share_a_cell(packed, tmp_path):
    board = packed.parent
    shutil.copytree(packed, board / "second")
    change(board / "second" / "submission.json", lambda c: c.update(name="second"))
    with pytest.raises(DataError, match="a second result of commongen/zero_shot/seed-0, own"):
        read_cells(board)
    change(board / "second" / "submission.json", lambda c: c.update(supersedes=["first"]))
    assert grids(board) == [board / "second"]
    assert {place.parents[3].name for place, _ in read_cells(board)} == {"second"}


@pytest.mark.slow
def test_predictions_from_elsewhere_become_a_cell(tmp_path, add_cell):
    add_cell(0)
    grid, path = tmp_path / "grid", tmp_path / "predictions.jsonl"
    rows = [{"id": row.id, "completion": row.completion} for row in predictions()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["grue", "score", path, "--task", "commongen", "evaluation.metrics=[meteor_exact_stem]"]
    assert "--into needs --system" in call(*command, "--into", grid).output
    assert "name its grid with --into" in call(*command, "--seed", "1").output
    command += ["--into", grid, "--system", "theirs", "--model", "a model of <theirs>"]
    assert "is of the test split" in call(*command, "--split", "validation").output
    done = call(*command)
    assert done.exit_code == 0, done.output
    assert "is there already" in call(*command).output
    done = call("grue", "verify", grid, "commongen/theirs/seed-0")
    assert done.exit_code == 0, done.output
    done = call("grue", "reproduce", grid, "commongen/theirs/seed-0")
    assert done.exit_code == 2
    assert "no recipe to run again; these predictions were made by a model of <theirs>" in done.output
    place = grid / "cells" / "commongen" / "theirs" / "seed-0"
    change(place / "own.parquet", lambda rows: rows[0].update(completion="another"))
    done = call("grue", "verify", grid, "commongen/theirs/seed-0")
    assert "the predictions are others than those that were scored" in done.output
