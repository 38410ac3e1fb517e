"""Components of all four kinds from somebody's file: `path/to/file.py:name` in a recipe."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest

from rl4lms.config import Component, recipe_from_dict
from rl4lms.errors import ConfigError
from rl4lms.plugins import registry
from rl4lms.plugins.building import build, build_task
from rl4lms.rewards import build as build_reward
from rl4lms.training.run import run
from tests.runs import metric_lines, small_recipe

MINE = '''
from dataclasses import dataclass
from typing import Annotated, ClassVar

from rl4lms.algorithms.ppo import PPO
from rl4lms.plugins.options import Option
from rl4lms.types import Sample

Size = Annotated[int, Option("how many prompts", ge=1)]


def longest(completions, *, scale: float = 1.0):
    return [scale * len(text) for text in completions]


def words(completions, *, at_least: int = 0):
    return {"words": [float(max(at_least, len(text.split()))) for text in completions]}


class Numbers:
    """Prompts of one number."""

    name, version, edition, models, classifiers = "numbers", 1, "mini", {}, {}

    def __init__(self, size: Size = 16) -> None:
        self.size = size
        self.defaults = {"rollout": {"max_new_tokens": 5}, "reward": {"name": "increasing_numbers", "min_tokens": 6}}

    def samples(self, split):
        return [Sample(str(i), str(i % 20), ("1 2 3",)) for i in range(self.size)]

    supervised = samples


class Mine(PPO):
    """PPO by another name."""


@dataclass(kw_only=True)
class Reinforce:
    """Its options are its fields."""

    n_epochs: Annotated[int, Option("passes over the batch", ge=1)] = 1
    baseline: bool = True


class Half:
    defaults = {}


class Failing:
    def __init__(self):
        raise OSError("no disk")
'''


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A file with a component of every kind, in the working directory."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine.py"


def test_a_run_of_nothing_but_a_file(mine, tmp_path):
    recipe = small_recipe(
        tmp_path,
        task={"name": "mine.py:Numbers", "size": 32},
        data=None,
        reward={"name": "mine.py:longest", "scale": 0.1},
        algorithm={"name": "mine.py:Mine", "n_epochs": 1, "minibatch_size": 8},
        evaluation={"metrics": [{"name": "mine.py:words", "at_least": 2}]},
    )
    assert recipe.task.options == {"size": 32}
    result = run(recipe)
    assert [line["train/updates"] for line in metric_lines(result.folder) if "train/updates" in line] == [2, 2, 2]
    assert json.loads((result.folder / "result.json").read_text())["eval"]["eval/words"]["mean"] >= 2


def test_a_file_only_runs_when_its_component_is_built_and_a_task_when_the_recipe_is_read(mine):
    mine.write_text("raise SystemExit\n")
    names = {
        "reward": "mine.py:f",
        "algorithm": {"name": "mine.py:f", "x": 1},
        "evaluation": {"metrics": ["mine.py:f"]},
    }
    recipe = recipe_from_dict({"model": "gpt2", "data": "x", **names})
    assert (recipe.algorithm.name, recipe.algorithm.options) == ("mine.py:f", {"x": 1})
    with pytest.raises(ConfigError) as caught:
        recipe_from_dict({"model": "gpt2", "task": "mine.py:f"})
    assert str(caught.value) == f"<arguments>: task: task 'mine.py:f': {mine}:1: SystemExit"


def test_defaults_of_a_task_in_a_file_are_part_of_the_recipe(mine):
    recipe = recipe_from_dict({"model": "gpt2", "task": "mine.py:Numbers", "rollout": {"top_k": 3}})
    assert (recipe.rollout.max_new_tokens, recipe.rollout.top_k, recipe.reward.name) == (5, 3, "increasing_numbers")
    assert recipe.task.options == {"size": 16}
    with pytest.raises(ConfigError, match=r"^<arguments>: task\.sise: unknown key; did you mean 'size'\?$"):
        recipe_from_dict({"model": "gpt2", "task": {"name": "mine.py:Numbers", "sise": 3}})
    with pytest.raises(ConfigError, match=r"^<arguments>: task\.size: should be greater than or equal to 1, got 0$"):
        recipe_from_dict({"model": "gpt2", "task": {"name": "mine.py:Numbers", "size": 0}})


def test_an_algorithm_in_a_file(mine):
    assert registry.algorithms.get("mine.py:Mine").needs_value
    assert registry.algorithms.entry("mine.py:Reinforce").summary == "Its options are its fields."
    built = build(registry.algorithms, {"name": "mine.py:Reinforce", "n_epochs": 3})
    assert (built.n_epochs, built.baseline) == (3, True)


KINDS = {
    "reward": registry.rewards,
    "metric": registry.metrics,
    "task": registry.tasks,
    "algorithm": registry.algorithms,
}


@pytest.mark.parametrize(
    ("kind", "component", "message"),
    [
        ("reward", "mine.py:longst", "mine.py has no function 'longst'; did you mean 'longest'?"),
        ("metric", "mine.py:word", "mine.py has no function 'word'; did you mean 'words'?"),
        ("task", "mine.py:Number", "mine.py has no class 'Number'; did you mean 'Numbers'?"),
        ("algorithm", "mine.py:Reinforc", "mine.py has no class 'Reinforc'; did you mean 'Reinforce'?"),
        ("algorithm", "yours.py:Mine", "there is no file {here}/yours.py"),
    ],
)
def test_what_is_not_there(mine, tmp_path, kind, component, message):
    with pytest.raises(ConfigError) as caught:
        build(KINDS[kind], component)
    assert str(caught.value) == f"{kind} {component!r}: " + message.replace("{here}", str(tmp_path.resolve()))


@pytest.mark.parametrize(
    ("kind", "component", "message"),
    [
        ("reward", {"name": "mine.py:longest", "scal": 1}, ", option 'scal': unknown key; did you mean 'scale'?"),
        (
            "metric",
            {"name": "mine.py:words", "at_least": "2"},
            ", option 'at_least': should be a whole number, got \"2\"",
        ),
        (
            "algorithm",
            {"name": "mine.py:Reinforce", "n_epoch": 1},
            ", option 'n_epoch': unknown key; did you mean 'n_epochs'?",
        ),
        (
            "algorithm",
            {"name": "mine.py:Mine", "n_epoch": 1},
            ", option 'n_epoch': unknown key; did you mean 'n_epochs'?",
        ),
        (
            "task",
            {"name": "mine.py:Numbers", "size": 0},
            ", option 'size': should be greater than or equal to 1, got 0",
        ),
        ("task", {"name": "mine.py:Failing"}, " raised OSError: no disk (mine.py, line {line})"),
    ],
)
def test_wrong_options_and_failing_constructors(mine, kind, component, message):
    line = MINE.splitlines().index('        raise OSError("no disk")') + 1
    with pytest.raises(ConfigError) as caught:
        build(KINDS[kind], Component(**component))
    assert str(caught.value) == f"{kind} {component['name']!r}" + message.replace("{line}", str(line))


def test_what_is_no_task(mine):
    lacks = "name, version, edition, models, classifiers, samples, supervised"
    with pytest.raises(ConfigError) as caught:
        build_task("mine.py:Half")
    assert str(caught.value) == f"task 'mine.py:Half' lacks {lacks}; rl4lms.types.Task says what a task has"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_the_file_names_its_line(mine, kind):
    mine.write_text("import json\n\njson.loads('')\n")
    with pytest.raises(ConfigError) as caught:
        build(KINDS[kind], "mine.py:f")
    assert (
        str(caught.value) == f"{kind} 'mine.py:f': {mine}:3: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
    )


def test_a_component_that_its_file_registers_can_be_built_by_file_too(mine, monkeypatch):
    for kind in (registry.tasks, registry.algorithms):
        monkeypatch.setattr(kind, "_entries", dict(kind._entries))
    decorated = MINE.replace("class Numbers", '@rl4lms.task("numbers")\nclass Numbers')
    mine.write_text(
        "import rl4lms\n"
        + decorated.replace("@dataclass(kw_only=True)", '@rl4lms.algorithm("mine")\n@dataclass(kw_only=True)')
    )
    assert build(registry.tasks, "mine.py:Numbers").size == 16
    assert build(registry.tasks, {"name": "numbers", "size": 3}).size == 3
    assert build(registry.algorithms, {"name": "mine", "n_epochs": 2}).n_epochs == 2


def test_a_file_is_imported_and_named_at_once(mine, tmp_path, monkeypatch):
    """The same function twice is no collision, under whatever module name its file was executed, and after an edit."""
    monkeypatch.setattr(registry.metrics, "_entries", dict(registry.metrics._entries))
    source = (
        "import rl4lms\n@rl4lms.metric('twice')\n{}(completions=()): return {{'twice': [1.0 for _ in completions]}}\n"
    )
    (tmp_path / "twice_imported.py").write_text(source.format("def once"))
    monkeypatch.syspath_prepend(tmp_path)
    imported = importlib.import_module("twice_imported")
    named = registry.metrics.get("twice_imported.py:once")
    assert named is not imported.once
    assert registry.metrics.get("twice") is named
    os.utime("twice_imported.py", ns=(1, 1))
    assert registry.metrics.get("twice_imported.py:once") is not named
    (tmp_path / "another.py").write_text(source.format("def once"))
    with pytest.raises(ConfigError, match=r"the metric name 'twice' is taken by .*:once; choose another name"):
        registry.metrics.get("another.py:once")


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("reward", "mine.py", "name the function in the file: mine.py:longest or mine.py:words or "),
        ("algorithm", "mine.py", "name the class in the file: mine.py:"),
        ("task", "empty.py", "the file has no class; write one, and name it as empty.py:name"),
        ("metric", "torn.py", "name the function in the file, as torn.py:name; the file cannot be read: "),
        ("metric", "yours.py", "there is no file "),
    ],
)
def test_a_file_without_the_name_in_it(mine, tmp_path, kind, path, message):
    """By every door: a recipe, and the components themselves. Nothing is executed."""
    mine.write_text(f"{MINE}\nraise SystemExit\n")
    (tmp_path / "empty.py").write_text("def _hidden(): ...\n")
    (tmp_path / "torn.py").write_text("def f(:\n")
    with pytest.raises(ConfigError) as caught:
        (build_reward if kind == "reward" else KINDS[kind].get)(path)
    assert str(caught.value).startswith(f"{kind} {path!r}: {message}")
    block = {"evaluation": {"metrics": [path]}} if kind == "metric" else {kind: path}
    with pytest.raises(ConfigError) as caught:
        recipe_from_dict({"model": "gpt2", "data": "x", **block})
    assert f"{kind} {path!r}: {message}" in str(caught.value)
