"""Recipes that name Python files: packed with a submission, and executed for nobody who did not ask for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.access import Access
from rl4lms.grue.rescore import Scorer
from rl4lms.grue.result import RESULTS_FILE, Value, write_results
from rl4lms.grue.scores import documents_of, write_scores
from rl4lms.grue.spec import write_spec
from rl4lms.grue.submission import check_files, pack
from rl4lms.grue.submission_file import read_submission
from rl4lms.grue.suite import Cell, System, cells
from rl4lms.grue.verify import verify
from tests.cli.test_cli import call
from tests.unit.grue.made_up import predictions, result, task

CODE = """
from pathlib import Path
Path("executed").touch()

def length(completions, **columns):
    return [len(text.split()) / 20 for text in completions]

def words(completions, **columns):
    return {"words": [float(len(text.split())) for text in completions]}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a grid in `there`, whose metric was in a file of that folder, and a board with its submission."""
    folder = tmp_path_factory.mktemp("made")
    there = folder / "there"
    there.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(there)
        (there / "mine.py").write_text(CODE)
        settings = ["evaluation.prompts=6", "evaluation.metrics=[meteor_exact_stem, {name: mine.py:words}]"]
        (cell,) = cells(["commongen"], [System.read("zero_shot")], [0], settings=settings)
        recipe = cell.recipe(Path("run"))
        scorer = Scorer.of(recipe, "test")
        rows = {row.id: row for row in predictions()}
        scored = scorer([rows[name] for name in scorer.drawn(recipe)], wanted=())
        place = there / "grid" / "cells" / cell.key
        write_spec(place, cell)
        values = {key: Value.of(found) for key, found in scored.results.items()}
        about = {"fingerprint": cell.fingerprint, "algorithm": None, "metrics": values, "prompts": 6}
        decodings = ("own", "shared")
        for decoding in decodings:
            write_scores(place / f"{decoding}.parquet", scored.samples, documents_of(task(), "test"))
        write_results(place / RESULTS_FILE, [result("zero_shot", 0, decoding, **about) for decoding in decodings])
        pack(there / "grid", folder / "board" / "first", name="first", tried=1)
    (there / "mine.py").unlink()
    return folder


@pytest.fixture
def board(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The board, seen from a folder in which nothing is."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "board"


def executed() -> bool:
    """Whether the code was executed in this folder."""
    return Path("executed").exists()


def test_the_files_are_packed_and_run_only_where_that_was_asked_for(board):
    said = read_submission(board / "first")
    (packed,) = said.code.values()
    assert set(said.code) == {"mine.py"}
    assert packed in said.files
    assert not check_files(board / "first", said)
    done = call("grue", "verify", board)
    assert done.exit_code == 2
    assert f"{packed}; read that, and add --run-code" in done.output.replace("\n", "")
    assert not executed()
    done = call("grue", "verify", board, "--run-code")
    assert done.exit_code == 0, done.output
    assert "1 of 1 cells are re-scored" in done.output
    assert executed()


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "BOARD"),
        ("reproduce", "BOARD", "commongen/zero_shot/seed-0"),
        ("report", "BOARD", "-o", "page.html"),
        ("site", "pages", "BOARD"),
        ("export", "BOARD", "records", "--format", "eee", "--organization", "lab"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_command_executes_them_unasked(board, arguments):
    done = call("grue", *[str(board) if word == "BOARD" else word for word in arguments])
    assert done.exit_code == 2, done.output
    assert "--run-code" in done.output
    assert not executed()
    assert list(Path().iterdir()) == []


def test_tables_execute_nothing(board):
    assert call("grue", "table", board).exit_code == 0
    assert call("grue", "report", board, "-o", "page.html", "--no-texts").exit_code == 0
    assert not executed()


def test_a_task_of_a_file_is_not_executed_either(board):
    path = next(board.glob("first/cells/*/*/*/cell.json"))
    content = json.loads(path.read_text())
    (code,) = (board / "first" / "code").iterdir()
    content["cell"]["blocks"]["task"]["name"] = f"{code}:Task"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"run what is not of it: .*:Task"):
        Access().open(path.parent)
    assert not executed()


def test_altered_code_and_code_elsewhere_are_refused(board):
    (code,) = (board / "first" / "code").iterdir()
    code.write_text("import os")
    done = call("grue", "verify", board, "--run-code")
    assert done.exit_code == 1
    assert f"code/{code.name} was altered" in done.output
    for command in (["reproduce", board, "commongen/zero_shot/seed-0"], ["report", board, "-o", "page.html"]):
        done = call("grue", *command, "--run-code")
        assert done.exit_code == 2
        assert "altered since it was submitted" in done.output.replace("\n", " ")
    path = board / "first" / "submission.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"code": {"mine.py": "code/../../evil.py"}}))
    with pytest.raises(DataError, match=r"code\.mine\.py"):
        read_submission(board / "first")
    assert not executed()


@pytest.mark.parametrize("block", ["task", "evaluation", "model", "algorithm"])
def test_a_recipe_without_a_block_is_no_crash(board, block):
    path = next(board.glob("first/cells/*/*/*/cell.json"))
    content = json.loads(path.read_text())
    del content["cell"]["blocks"][block]
    path.write_text(json.dumps(content))
    for command in (["report", board, "-o", "page.html"], ["reproduce", board, "commongen/zero_shot/seed-0"]):
        done = call("grue", *command, "--run-code")
        assert done.exit_code == 2, done.output
        assert f"no block {block}" in done.output


def test_a_file_that_is_gone_cannot_be_submitted(board, tmp_path):
    with pytest.raises(ConfigError, match=r"its recipe names mine\.py, and there is no such file here"):
        pack(tmp_path / "there" / "grid", tmp_path / "out", name="second", tried=1)
    assert not (tmp_path / "out").exists()


def _ppo(*settings: str) -> Cell:
    (cell,) = cells(["commongen"], [System.read("ppo")], [0], settings=settings)
    return cell


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("reward={name: http, url: 'http://127.0.0.1:1/score'}", "http://127.0.0.1:1/score"),
        ("model.allow_pickle=true", "allow_pickle: true"),
        ("reward={name: sum, parts: [{reward: meteor_exact_stem}, {reward: FILE.py:length}]}", "FILE.py:length"),
    ],
)
def test_training_again_asks_before_pickles_servers_and_rewards(tmp_path, monkeypatch, setting, named):
    monkeypatch.chdir(tmp_path)
    Path("FILE.py").write_text(CODE)
    place = tmp_path / "grid" / "cells" / "commongen" / "ppo" / "seed-0"
    write_spec(place, _ppo(setting))
    with pytest.raises(ConfigError, match="--run-code") as caught:
        Access().open(place, training=True)
    assert named in str(caught.value)
    assert Access().open(place) == _ppo(setting)  # whoever scores needs no reward
    assert Access(run_code=True).open(place, training=True) == _ppo(setting)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cell_with_a_reward_of_its_own_is_trained_again_elsewhere(tmp_path, monkeypatch):
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
    monkeypatch.chdir(there)
    Path("mine.py").write_text(CODE)
    quick = ["evaluation.prompts=8", "training.iterations=2", "training.prompts_per_iteration=8"]
    done = call(
        "grue", "run", "--tasks=commongen", "--systems=ppo", "--seeds=1", "-q", "--reward=mine.py:length", *quick
    )
    assert done.exit_code == 0, done.output
    pack(there / "runs" / "grue", tmp_path / "first", name="first", tried=1)
    (there / "mine.py").unlink()
    monkeypatch.chdir(here)
    done = call("grue", "reproduce", tmp_path / "first", "commongen/ppo/seed-0", "-q", "--run-code")
    assert done.exit_code == 0, done.output
    assert verify(next(tmp_path.glob("first/cells/*/*/*")), {}) == []
