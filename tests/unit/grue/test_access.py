"""Recipes that name Python files: packed with a submission, and executed for nobody who did not ask for it."""

from __future__ import annotations

import json
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
Path("{mark}").touch()

def length(completions, **columns):
    return [len(text.split()) / 20 for text in completions]

def words(completions, **columns):
    return {{"words": [float(len(text.split())) for text in completions]}}
"""


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there once the code was executed."""
    return tmp_path / "executed"


@pytest.fixture
def board(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board with one submission, whose metric is in a file of the folder where its grid was run."""
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(there)
    (there / "mine.py").write_text(CODE.format(mark=mark))
    settings = ["evaluation.prompts=6", "evaluation.metrics=[meteor_exact_stem, {name: mine.py:words}]"]
    (cell,) = cells(["commongen"], [System.read("zero_shot")], [0], settings=settings)
    scorer = Scorer.of(cell.recipe(Path("run")), "test")
    rows = {row.id: row for row in predictions()}
    scored = scorer([rows[name] for name in scorer.drawn(cell.recipe(Path("run")))], wanted=())
    folder = there / "grid" / "cells" / cell.key
    write_spec(folder, cell)
    values = {key: Value.of(found) for key, found in scored.results.items()}
    about = {"fingerprint": cell.fingerprint, "algorithm": None, "metrics": values, "prompts": 6}
    for decoding in ("own", "shared"):
        write_scores(folder / f"{decoding}.parquet", scored.samples, documents_of(task(), "test"))
    write_results(folder / RESULTS_FILE, [result("zero_shot", 0, decoding, **about) for decoding in ("own", "shared")])
    pack(there / "grid", tmp_path / "board" / "first", name="first", tried=1)
    (there / "mine.py").unlink()
    mark.unlink()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return tmp_path / "board"


def test_the_files_are_packed_and_run_only_where_that_was_asked_for(board, mark):
    said = read_submission(board / "first")
    (packed,) = said.code.values()
    assert set(said.code) == {"mine.py"}
    assert packed in said.files
    assert not check_files(board / "first", said)
    done = call("grue", "verify", board)
    assert done.exit_code == 2
    assert f"{packed}; read that, and add --run-code" in done.output.replace("\n", "")
    assert not mark.exists()
    done = call("grue", "verify", board, "--run-code")
    assert done.exit_code == 0, done.output
    assert "1 of 1 cells are re-scored" in done.output
    assert mark.exists()


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
def test_no_command_executes_them_unasked(board, mark, arguments):
    done = call("grue", *[str(board) if word == "BOARD" else word for word in arguments])
    assert done.exit_code == 2, done.output
    assert "--run-code" in done.output
    assert not mark.exists()
    assert list(Path().iterdir()) == []


def test_tables_execute_nothing(board, mark):
    assert call("grue", "table", board).exit_code == 0
    assert call("grue", "report", board, "-o", "page.html", "--no-texts").exit_code == 0
    assert not mark.exists()


def test_a_task_of_a_file_is_not_executed_either(board, mark):
    path = next(board.glob("first/cells/*/*/*/cell.json"))
    content = json.loads(path.read_text())
    (code,) = (board / "first" / "code").iterdir()
    content["cell"]["blocks"]["task"]["name"] = f"{code}:Task"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"run what is not of it: .*:Task"):
        Access().open(path.parent)
    assert not mark.exists()


def test_altered_code_and_code_elsewhere_are_refused(board, mark):
    (code,) = (board / "first" / "code").iterdir()
    code.write_text("import os")
    done = call("grue", "verify", board, "--run-code")
    assert done.exit_code == 1
    assert f"code/{code.name} was altered" in done.output
    path = board / "first" / "submission.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"code": {"mine.py": "code/../../evil.py"}}))
    with pytest.raises(DataError, match=r"code\.mine\.py"):
        read_submission(board / "first")
    assert not mark.exists()


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
    Path("FILE.py").write_text(CODE.format(mark="x"))
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
    Path("mine.py").write_text(CODE.format(mark="executed"))
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
