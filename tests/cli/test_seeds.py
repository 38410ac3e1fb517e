"""`rl4lms train --seeds`: every seed's run is the one that it would be alone; what is finished is not trained again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rl4lms.cli import seeds as cli_seeds
from rl4lms.cli.main import app
from rl4lms.config import dump_recipe
from rl4lms.errors import ConfigError, Interrupted
from rl4lms.stats.paired import contrast
from rl4lms.studies.systems import group, read_run
from rl4lms.training import run as training_run
from tests.runs import small_recipe, weights_hash


def call(*words: object) -> Any:
    return CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, [str(word) for word in words])


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    settings = {"iterations": 1, "prompts_per_iteration": 4}
    evaluation = {"every": 0, "prompts": 4, "metrics": [], "on_training_data": True}
    made = small_recipe(tmp_path, output_dir="runs", training=settings, evaluation=evaluation)
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(made).replace("output_dir: runs", "output_dir: runs/small"))
    return path


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0,1,2", [0, 1, 2]), ("0-3", [0, 1, 2, 3]), ("7", [7]), ("5, 0-1", [5, 0, 1]), ("3-3", [3])],
)
def test_seeds_as_text(text: str, seeds: list[int]) -> None:
    assert cli_seeds.parse(text) == seeds


@pytest.mark.parametrize("text", ["", "0,", "a", "-1", "2-0", "0-2,1", "0-5000", "1.5", "0--2"])
def test_what_is_no_list_of_seeds(text: str) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        cli_seeds.parse(text)


def test_runs_table_and_resume(recipe: Path) -> None:
    """One after the other, each as it would be alone; the table has their means; finished ones are skipped."""
    result = call("train", recipe, "--seeds", "0,2")
    assert result.exit_code == 0, result.output
    folders = [Path(f"runs/small/seed-{seed}") for seed in (0, 2)]
    ends = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert [end["seed"] for end in ends] == [0, 2]
    assert "seed 0 (1 of 2): runs/small/seed-0\n" in result.stderr
    assert "seed 2 (2 of 2): runs/small/seed-2\n" in result.stderr
    rewards = [end["eval"]["eval/reward"]["mean"] for end in ends]
    line = next(line for line in result.stdout.splitlines() if line.startswith("reward "))
    shown = [float(number) for number in re.findall(r"-?\d[\d.e-]*", line)]
    runs = [read_run(folder).final for folder in folders]
    found = contrast([run.values("reward") for run in runs])  # what `rl4lms compare` has of the same runs
    assert shown == pytest.approx([*rewards, np.mean(rewards), found.low, found.high], rel=1e-3)
    said = " ".join(result.stdout.split())
    assert (
        "95 % interval, as of rl4lms compare: t with Satterthwaite's degrees of freedom, over n = 4 prompts and 2 seeds"
        in said
    )
    assert "rl4lms report runs/small/seed-0 runs/small/seed-2\n" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 80

    alone = call("train", recipe, "seed=2", "--output", "alone", "-q")
    assert alone.exit_code == 0
    assert "rl4lms report alone\n" in alone.stdout  # in place of the table
    finished = call("train", "alone", "--resume", "-q")
    assert "there is nothing left to train after iteration 1 of 1: the model is evaluated and saved" in finished.stderr
    assert "result.json" in call("train", "--help").stdout
    assert weights_hash(Path("alone/model")) == weights_hash(folders[1] / "model")
    assert weights_hash(folders[0] / "model") != weights_hash(folders[1] / "model")

    (folders[1] / "result.json").unlink()  # as if it had been stopped just before the end
    again = call("train", recipe, "--seeds", "0,2")
    assert again.exit_code == 2
    assert "runs/small/seed-0: the run folder is not empty; add --resume" in again.stderr
    before = (folders[0] / "result.json").stat().st_mtime_ns
    again = call("train", recipe, "--seeds", "0,2", "--resume")
    assert again.exit_code == 0, again.output
    assert "seed 0 (1 of 2): runs/small/seed-0 is finished\n" in again.stderr
    assert (folders[0] / "result.json").stat().st_mtime_ns == before
    assert json.loads((folders[1] / "result.json").read_text())["seed"] == 2
    assert [len(system.runs) for system in group([(None, read_run(folder)) for folder in folders])] == [2]

    more = call("train", recipe, "--seeds", "0,2", "--resume", "training.iterations=2", "--dry-run")
    assert [line.split() for line in more.stdout.splitlines()[-2:]] == [
        ["#", "seed", "0", "continue:", "runs/small/seed-0"],
        ["#", "seed", "2", "continue:", "runs/small/seed-2"],
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=3"], "--seeds says what seed=3 says"),
        (["push_to_hub={repo_id: me/mine}"], "every run would upload its model to me/mine"),
        (["--resume"], "no run to resume in any of runs/small/seed-0, runs/small/seed-1"),
    ],
)
def test_what_does_not_go_with_seeds(recipe: Path, words: list[str], message: str) -> None:
    result = call("train", recipe, "--seeds", "0,1", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("runs").exists()


def test_a_run_folder_has_its_seed(recipe: Path) -> None:
    folder = Path("one")
    folder.mkdir()
    (folder / "config.resolved.yaml").write_text(recipe.read_text())
    result = call("train", folder, "--resume", "--seeds", "0,1")
    assert (result.exit_code, "one is the folder of one run; name the recipe" in result.stderr) == (2, True)
    result = call("train", recipe, "--output", folder, "--seeds", "0,1")
    assert (result.exit_code, "one is the folder of one run; name another output_dir" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (lambda folder: Interrupted("stopped by SIGINT", folder), 0, "seed 1 (2 of 3): stopped by SIGINT; "),
        (lambda folder: KeyboardInterrupt(), 130, "seed 1 (2 of 3): stopped at once; "),
        (lambda folder: ConfigError("it is no good"), 2, "seed 1 (2 of 3) failed; "),
    ],
)
def test_a_seed_that_does_not_end(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[Path], BaseException], code: int, said: str
) -> None:
    """Nothing after it is begun, and the command that goes on is the one that was typed."""

    def train(one: Any, **options: Any) -> None:
        folder = training_run.run_folder(one)
        folder.mkdir(parents=True)
        (folder / "config.resolved.yaml").write_text("")
        if one.seed == 1:
            raise error(folder)
        (folder / "result.json").write_text("{}")

    monkeypatch.setattr(training_run, "run", train)
    words = [str(recipe), "kl.kl_coef=0.3", "--reward", "exact_match", "--quiet"]
    result = call("train", *words, "--seeds", "0-2")
    assert result.exit_code == code
    command = f"rl4lms train {recipe} kl.kl_coef=0.3 --reward exact_match --quiet --seeds 0-2 --resume"
    assert f"{said}finished: seed 0; continue with:\n  {command}\n" in result.stderr
    assert ("error: it is no good" in result.stderr) == (code == 2)
    assert not Path("runs/small/seed-2").exists()


def test_without_an_output_dir_folders_are_named_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipes = cli_seeds.recipes_of(small_recipe(tmp_path, output_dir=None, name="mine"), [0, 4], [])
    assert [str(training_run.run_folder(one)) for one in recipes] == ["runs/mine-seed0", "runs/mine-seed4"]
