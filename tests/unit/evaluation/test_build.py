"""Mistakes in rewards and metrics show before the warm start, and in a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rl4lms.checks.dry_run import describe
from rl4lms.cli.main import app
from rl4lms.config import dump_recipe
from rl4lms.errors import ConfigError, DataError, MissingPartError, RewardError, Rl4lmsError
from rl4lms.rewards import build
from rl4lms.training.run import run
from tests.runs import small_recipe

MISTAKES: list[tuple[Any, type[Rl4lmsError], str]] = [
    (
        "rouge",
        RewardError,
        "metric 'rouge' has several values per text; choose one with the option `key`: rouge1, rouge2, rougeL, "
        "rougeLsum",
    ),
    ({"name": "rouge", "key": "rouge3"}, RewardError, "has no values per text called 'rouge3'"),
    ("diversity", RewardError, "gives one value for a whole set of texts"),
    ("reference_perplexity", ConfigError, "measures the policy itself, not its texts, and cannot be a reward"),
    ("parent", DataError, "parent needs the data column 'table'"),
    ({"name": "scale", "reward": "commongen_penalty"}, DataError, "commongen_penalty needs the data column 'concepts'"),
    (
        {"name": "standardise", "over": "prompt", "reward": "dates"},
        ConfigError,
        "set rollout.completions_per_prompt to 2 or more",
    ),
    (
        {"name": "http", "url": "http://127.0.0.1:9/", "headers": {"X": "$NOT_SET_HERE"}},
        ConfigError,
        "NOT_SET_HERE is not set",
    ),
    ({"name": "cider", "corpus": "nowhere.jsonl"}, DataError, "nowhere.jsonl"),
    ({"name": "sum", "parts": [{"reward": "dates"}, {"reward": "dates"}]}, ConfigError, "two parts are called 'dates'"),
    ({"name": "sum", "parts": [{"reward": "spice"}]}, MissingPartError, "aac-metrics"),
]


@pytest.mark.parametrize(("reward", "error", "message"), MISTAKES, ids=[str(row[0])[:40] for row in MISTAKES])
def test_before_the_warm_start(tmp_path: Path, reward: Any, error: type[Rl4lmsError], message: str) -> None:
    recipe = small_recipe(tmp_path, reward=reward, supervised={"max_steps": 2})
    with pytest.raises(error) as caught:
        run(recipe)
    assert message in str(caught.value)
    assert not (tmp_path / "run" / "supervised").exists()


@pytest.mark.parametrize(("reward", "error", "message"), MISTAKES, ids=[str(row[0])[:40] for row in MISTAKES])
def test_in_a_dry_run(tmp_path: Path, reward: Any, error: type[Rl4lmsError], message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(small_recipe(tmp_path, reward=reward)))
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["train", str(path), "--dry-run"])
    assert isinstance(result.exception, error | SystemExit)
    assert message in result.output + str(result.exception)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_names_what_will_be_absent_and_builds_no_model(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def mine(completions, *, x=1):\n    raise SystemError('this was called')\n")
    metrics = [{"name": "spice"}, {"name": "perplexity", "model": "nobody/has-this"}, {"name": "rouge"}]
    recipe = small_recipe(tmp_path, reward=f"{tmp_path}/mine.py:mine", evaluation={"metrics": metrics})
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe))
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["train", str(path), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "absent: spice" in result.output


def test_data_without_references_are_named_before_training(tmp_path: Path) -> None:
    data = tmp_path / "bare.jsonl"
    data.write_text("".join(json.dumps({"prompt": str(i)}) + "\n" for i in range(30)))
    with pytest.raises(DataError, match="compares with references, and no row has any"):
        run(small_recipe(tmp_path, data={"train": str(data)}, reward="rouge_combined"))


def test_a_reward_given_as_an_object_gets_its_corpus_and_is_tried(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text(
        "".join(json.dumps({"prompt": str(i), "references": [f"{i} {i + 1} {i + 2}"]}) + "\n" for i in range(20))
    )
    settings = {"data": {"train": str(data)}, "training": {"iterations": 1, "prompts_per_iteration": 8}}
    result = run(small_recipe(tmp_path, **settings), reward=build("cider_d"))
    assert "eval/reward" in result.metrics
    with pytest.raises(RewardError, match="choose one with the option `key`"):
        run(small_recipe(tmp_path, output_dir=str(tmp_path / "other"), **settings), reward=build("rouge"))


OWN = """
from dataclasses import dataclass
from typing import Annotated
import rl4lms

@dataclass(kw_only=True)
class Mine(rl4lms.Algorithm):
    speed: Annotated[float, rl4lms.Option("of it", gt=0)] = 1.0
    def advantages(self, experience): experience.advantages = experience.rewards
    def loss(self, new, old): return (new.behaviour * 0).sum(), {}

def reward(completions, *, letters: Annotated[int, rl4lms.Option("counted", ge=1)] = 1):
    return [0.0 for _ in completions]

def metric(completions, *, letters: Annotated[int, rl4lms.Option("counted", ge=1)] = 1):
    return {"mine": [0.0 for _ in completions]}
"""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": {"name": "{}:Mine", "spede": 2}}, "option 'spede': unknown key; did you mean 'speed'?"),
        ({"algorithm": {"name": "{}:Mine", "speed": 0}}, "option 'speed': should be greater than 0, got 0"),
        ({"algorithm": "{}:Nobody"}, "has no class 'Nobody'"),
        ({"algorithm": "{}:reward"}, "is no subclass of rl4lms.Algorithm"),
        ({"reward": {"name": "{}:reward", "letter": 2}}, "option 'letter': unknown key; did you mean 'letters'?"),
        (
            {"reward": {"name": "sum", "parts": [{"reward": {"name": "{}:reward", "letters": 0}}]}},
            "option 'letters': should be greater than or equal to 1, got 0",
        ),
        ({"evaluation": {"metrics": [{"name": "{}:metric", "letters": "x"}]}}, 'should be a whole number, got "x"'),
    ],
)
def test_a_dry_run_says_of_options_in_files_what_training_says(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    settings = json.loads(json.dumps(settings).replace("{}", str(tmp_path / "own.py")))
    recipe = small_recipe(tmp_path, **settings)
    with pytest.raises(ConfigError) as dry:
        describe(recipe)
    assert message in str(dry.value)
    with pytest.raises(ConfigError) as training:
        run(recipe)
    assert str(training.value) == str(dry.value)
