"""Runs that a script of the user's started: its functions may be registered in it, in a file, or gone with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.plugins import registry
from tests.runs import number_prompts, save_tiny

pytestmark = pytest.mark.slow  # a process of its own

SCRIPT = """
import rl4lms

open("executed.txt", "a").write(__name__ + chr(10))


def long(completions, **columns):
    return [float(len(text)) for text in completions]


@rl4lms.reward("registered_here")
def registered(completions, **columns):
    return [2.0 * len(text) for text in completions]


class Thing:
    def __call__(self, completions, **columns):
        return [1.0] * len(completions)


def run(name, reward):
    rl4lms.train(
        "lm", reward=reward, output_dir=name, device="cpu", algorithm="ppo", prompt={"max_tokens": 8},
        data={"train": "numbers.jsonl", "validation": "held.jsonl", "test": "held.jsonl"},
        rollout={"max_new_tokens": 4}, training={"iterations": 1, "prompts_per_iteration": 4},
        evaluation={"prompts": 4, "metrics": ["diversity"], "on_training_data": True}, tracking={"progress": False},
    )


GUARDrun("file", long)
run("registered", "registered_here")
run("lambda", lambda completions, **columns: [0.0] * len(completions))
run("object", Thing())
"""
RUNS = ("file", "registered", "lambda", "object")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four finished runs of a script without a guard, and the same script with one."""
    folder = tmp_path_factory.mktemp("script")
    save_tiny(folder / "lm", "gpt2")
    number_prompts(folder / "numbers.jsonl")
    number_prompts(folder / "held.jsonl", 12)
    head, body = SCRIPT.split("GUARD")
    (folder / "plain.py").write_text(head + body)
    guarded = "".join(f"    {line}\n" for line in body.splitlines())
    (folder / "guarded.py").write_text(f'{head}if __name__ == "__main__":\n{guarded}')
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "plain.py"], cwd=folder, env=environment, check=True, capture_output=True)
    return folder


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    (folder / "executed.txt").write_text("")
    for name in [name for name in sys.modules if name.startswith("rl4lms_file_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(registry.rewards, "_entries", dict(registry.rewards._entries))

    def call(*words: str):
        return CliRunner(env={"COLUMNS": "100", "TERM": "dumb"}).invoke(app, words)

    return call


@pytest.mark.parametrize("run", RUNS)
def test_texts_need_no_reward(call, run: str, folder: Path) -> None:
    result = call("generate", run, "1 2")
    assert result.exit_code == 0, result.output
    assert (folder / "executed.txt").read_text() == ""


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ("file", "plain.py calls rl4lms.train whenever it is executed"),
        ("registered", "nothing here registers 'registered_here'; import the script that does, with --import FILE"),
        ("lambda", "__main__:<lambda> was an object of the script that trained this run"),
        ("object", "__main__:Thing was an object of the script that trained this run"),
    ],
)
def test_what_is_evaluated_without_its_reward_says_so(call, run: str, why: str) -> None:
    result = call("evaluate", run, "-q")
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines() if line.startswith("reward")] == [["reward", "absent"]]
    assert why in " ".join(result.stderr.split())
    assert "kl_per_token" in result.stdout


@pytest.mark.parametrize(("words", "code"), [(("evaluate",), 0), (("train", "--resume"), 0)])
def test_a_script_that_registers_is_imported(call, words: tuple[str, ...], code: int, folder: Path) -> None:
    result = call(words[0], "registered", *words[1:], "-q", "--import", "guarded.py")
    assert result.exit_code == code, result.output
    assert "absent" not in result.output
    assert "__main__" not in (folder / "executed.txt").read_text()


@pytest.mark.parametrize(
    "words", [("evaluate", "file"), ("train", "file", "--resume"), ("train", "registered", "--resume")]
)
def test_a_script_that_trains_when_it_is_imported_is_refused(call, words: tuple[str, ...]) -> None:
    result = call(*words, "--import", "plain.py")
    assert result.exit_code == 2
    assert 'put that call under `if __name__ == "__main__":`' in result.stderr


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("file", "calls rl4lms.train whenever it is executed"),
        ("registered", "one that a script registers is known once that script is imported: --import FILE"),
        ("lambda", "a recipe can name a function that is registered or at the top of a file"),
        ("object", "a recipe can name a function that is registered or at the top of a file"),
    ],
)
def test_what_cannot_be_resumed_says_how_it_can(call, run: str, message: str) -> None:
    result = call("train", run, "--resume", "-q")
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_file_to_import_must_be_there(call) -> None:
    result = call("evaluate", "file", "--import", "missing.py")
    assert result.exit_code == 2
    assert "--import missing.py: there is no such file" in result.stderr
