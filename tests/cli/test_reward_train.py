"""`rl4lms reward train`: what it prints and writes."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rl4lms.cli import reward as cli_reward
from rl4lms.cli.main import app
from rl4lms.config.reader import read_text
from rl4lms.plugins.component import Component
from rl4lms.rewards import build
from rl4lms.supervised.reward_model import train_reward_model
from tests.tiny import tiny_lm, word_tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_lm("bert").save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def call(base: Path, *words: object) -> Any:
    options = ["--base", base, "--epochs", "1", "--device", "cpu", "--quiet", *words]
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["reward", "train", *map(str, options)])


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def used(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("use it as")).removeprefix("use it as").strip()


def test_the_error_of_ratings_is_no_calibration_error(base, tmp_path):
    train = jsonl(tmp_path / "train.jsonl", [{"text": f"w{3 + i}", "rating": i % 3} for i in range(20)])
    result = call(base, "--train", train, "--output", tmp_path / "one")
    assert result.exit_code == 0, result.output
    assert "rms error" in result.output
    assert "calibration error" not in result.output


@pytest.mark.slow
def test_a_measure_that_is_not_defined_is_printed_as_such(base, tmp_path):
    rows = [{"text": f"w{3 + i}", "rating": 5 if i == 0 else 1} for i in range(40)]
    train = jsonl(tmp_path / "train.jsonl", rows)
    for seed in range(3):  # of 40 rows, the one that differs is rarely among the four that are held out
        output = tmp_path / f"seed-{seed}"
        result = call(base, "--train", train, "--curve", "0.5", "--seed", seed, "--output", output)
        assert result.exit_code == 0, result.output
        assert (output / "model.safetensors").is_file()
        if json.loads((output / "reward_model.json").read_text())["result"]["accuracy"] is None:
            break
    assert "accuracy    not defined on 4 held-out rows" in result.output
    assert "rows  accuracy not defined" in result.output
    assert "| accuracy | not defined |" in (output / "README.md").read_text()


@pytest.mark.parametrize("join", [None, " "])
def test_what_stands_between_prompt_and_text_is_known(base, tmp_path, caplog, join):
    rows = [{"prompt": "w9", "text": f"{'' if i % 2 else ' '}w{3 + i % 20}", "label": i % 2} for i in range(12)]
    train, output = jsonl(tmp_path / "train.jsonl", rows), tmp_path / "reward"
    result = call(base, "--train", train, "--output", output, *([] if join is None else ["--join", join]))
    assert result.exit_code == 0, result.output
    assert json.loads((output / "reward_model.json").read_text())["join"] == (join or "")
    assert f"on prompt and text with {join or ''!r} between" in (output / "README.md").read_text()
    assert f"texts       prompt + {join or ''!r} + text" in result.output
    assert ("6 of 12 rows have no white space" in caplog.text) == (join is None)


@pytest.mark.parametrize("prompt", [{}, {"prompt": "w9"}])
def test_the_line_that_is_printed_builds_the_reward(base, tmp_path, prompt):
    rows = [{**prompt, "text": f"w{3 + i % 20}", "label": i % 2} for i in range(12)]
    output = tmp_path / "a, b: c"
    result = call(base, "--train", jsonl(tmp_path / "train.jsonl", rows), "--output", output)
    assert result.exit_code == 0, result.output
    assert "note        nothing was held out: fewer than 20 rows" in result.output
    line = used(result.output)
    written = json.loads((output / "reward_model.json").read_text())
    assert written["use"] == line
    assert line in (output / "README.md").read_text()
    component = Component.model_validate(read_text(line, "line")[0]["reward"])
    assert component.options["label"] == "1"
    assert component.options.get("include_prompt", True) is written["include_prompt"] is bool(prompt)
    reward = build(component)
    scores = reward(prompts=["w9"], completions=[" w3"], completion_ids=[[1]], references=[()])
    assert 0 < scores[0] < 1


def test_the_command_has_the_defaults_of_the_function():
    """A command line loads no torch, so that they stand there again."""
    command, function = (inspect.signature(f).parameters for f in (cli_reward.train, train_reward_model))
    shared = command.keys() & function.keys() - {"train", "output", "base", "curve"}
    assert len(shared) >= 10
    assert {name: command[name].default for name in shared} == {name: function[name].default for name in shared}
