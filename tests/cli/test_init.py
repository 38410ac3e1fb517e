"""`rl4lms init`: what it writes is read, trained, and true of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.config import read_recipe, recipe_from_dict
from rl4lms.config.reader import read_text
from rl4lms.config.reference import blocks, keys
from rl4lms.config.starter import COMMON
from tests.runs import number_prompts, save_tiny


def call(*words: object) -> Any:
    return CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_shows_every_block() -> None:
    assert set(COMMON) == {path for path, _ in blocks()}
    for path, model in blocks():
        assert set(COMMON[path]) <= {key.name for key in keys(model)}
        assert all(
            key.name in COMMON[path] for key in keys(model) if key.default == "(required)" and key.kind == "text"
        )


def uncommented(text: str) -> dict[str, Any]:
    return read_text("\n".join(re.sub(r"^#(?! )|^#(?=  *\w+:)", "", line) for line in text.splitlines()), "x")[0]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, marks=pytest.mark.slow),  # as the next, and a second longer
        {"algorithm": "nlpo", "reward": "rouge"},
        {"model": "gpt2", "data": "prompts.jsonl", "reward": "my.py:function"},
        {"model": "gpt2", "data": "prompts.jsonl", "reward": "increasing_numbers"},
    ],
)
def test_what_it_says_holds(folder: Path, given: dict[str, str]) -> None:
    """The file is the recipe that was asked for; each commented block, taken in, changes nothing, or is read."""
    result = call("init", *(word for key, value in given.items() for word in (f"--{key}", value)))
    assert result.exit_code == 0, result.output
    assert "rl4lms doctor recipe.yaml" in result.stdout
    given = given if "data" in given else {**given, "task": "imdb"}
    wanted = recipe_from_dict({**given, "name": "recipe"})
    text = Path("recipe.yaml").read_text()
    assert read_recipe("recipe.yaml") == wanted
    assert max(map(len, text.splitlines())) <= 120 or "metrics: [{" in text
    everything = uncommented(text)
    for name, value in everything.items():
        if name == "evaluation":
            assert value.pop("generation").items() <= wanted.decoding.model_dump().items()
        if name == "model":
            recipe_from_dict({**given, "model": value})
            value.pop("lora")
        if name not in ("task", "data", "supervised", "mask", "push_to_hub"):
            assert recipe_from_dict({**given, "name": "recipe", name: value}) == wanted, name
    own = {key: everything[key] for key in ("supervised", "mask", "push_to_hub")}
    found = recipe_from_dict({"model": "gpt2", "data": everything["data"], **own})
    assert found.supervised == found.supervised.model_validate({})
    assert found.mask == found.mask.model_validate({"source": "lagged"})
    if "task" in given:
        assert recipe_from_dict({**given, "name": "recipe", "task": everything["task"]}) == wanted


def test_it_trains(folder: Path) -> None:
    save_tiny(folder / "lm", "gpt2")
    number_prompts(folder / "numbers.jsonl")
    flags = ["--model", "lm", "--data", "numbers.jsonl", "--reward", "increasing_numbers", "--algorithm", "nlpo"]
    assert call("init", "first.yaml", *flags).exit_code == 0
    small = ["training.iterations=1", "training.prompts_per_iteration=4", "rollout.max_new_tokens=6"]
    small += ["prompt.max_tokens=8", "evaluation.prompts=4"]
    assert call("train", "first.yaml", "--dry-run", *small).exit_code == 0
    result = call("train", "first.yaml", "-q", *small)
    assert result.exit_code == 0, result.output
    assert Path("runs/first-seed0/result.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["there.yaml"], "there.yaml is there already; name another file, or add --force"),
        (["recipe.txt"], "such as recipe.yaml"),
        (["no/recipe.yaml"], "there is no folder no"),
        (["--data", "prompts.jsonl"], "model: is required"),
        (["--model", "gpt2", "--data", "prompts.jsonl"], "--reward: none is named"),
        (["--algorithm", "nlp"], "did you mean 'nlpo'?"),
        (["--task", "imdb", "--data", "prompts.jsonl"], "exactly one of `task` and `data`"),
    ],
)
def test_mistakes_write_nothing(folder: Path, words: list[str], message: str) -> None:
    Path("there.yaml").write_text("mine")
    result = call("init", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"there.yaml": "mine"}


def test_force_writes_over_a_file(folder: Path) -> None:
    Path("there.yaml").write_text("mine")
    assert call("init", "there.yaml", "--force").exit_code == 0
    assert read_recipe("there.yaml").task is not None
