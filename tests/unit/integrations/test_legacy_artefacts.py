"""The original's files, written from those of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.config import dump_recipe
from rl4lms.errors import CheckpointError
from rl4lms.integrations.legacy.artefacts import write_artefacts
from rl4lms.training.run import run
from tests.runs import metric_lines, small_recipe

SETTINGS: dict[str, Any] = {
    "algorithm": {"name": "ppo", "ent_coef": 0.01},
    "prompt": {"max_tokens": 8, "prefix": "5 "},
    "evaluation": {
        "every": 1,
        "prompts": 8,
        "on_training_data": True,
        "metrics": ["rouge", "sacrebleu", {"name": "diversity", "detail": "all"}],
    },
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    run(small_recipe(place, **SETTINGS))
    write_artefacts(place / "run")
    return place / "run"


def test_every_file_of_the_original_but_the_pickles(folder: Path) -> None:
    there = {path.name for path in folder.iterdir()}
    assert there >= {
        "config.json",
        "log.txt",
        "rollout_info.jsonl",
        "training_info.jsonl",
        "val_split_metrics.jsonl",
        "epoch_0_val_split_predictions.json",
        "epoch_2_val_split_predictions.json",
        "model",
        "metrics.jsonl",
    }
    assert json.loads((folder / "config.json").read_text())["algorithm"]["name"] == "ppo"


def test_iterations_have_the_numbers_of_the_run(folder: Path) -> None:
    ours = metric_lines(folder)
    rollouts, updates = lines(folder / "rollout_info.jsonl"), lines(folder / "training_info.jsonl")
    assert len(rollouts) == len(updates) == 3
    for step, (rollout, update) in enumerate(zip(rollouts, updates, strict=True), 1):
        assert rollout["rollout_info/ep_rew"] == ours[step]["rollout/score"]
        assert rollout["rollout_info/ep_lens"] == ours[step]["rollout/completion_tokens"]
        assert rollout["rollout_info/kl_div_mean"] == ours[step]["rollout/kl_per_token"]
        # the KL part of the reward, which the run has per sequence, too
        of_kl = -ours[step]["rollout/kl_coef"] * ours[step]["rollout/kl_per_sequence"]
        assert rollout["rollout_info/ep_kl_rew"] == pytest.approx(of_kl, abs=1e-5)
        assert update["ppo/entropy_loss"] == -ours[step]["train/entropy"]
        assert {
            "ppo/policy_gradient_loss",
            "ppo/value_loss",
            "ppo/approx_kl",
            "ppo/explained_variance",
        } <= update.keys()
    assert (folder / "log.txt").read_text().count("\n") == 3 + 3 + 4


def test_evaluations_are_epochs_with_the_original_names_and_scale(folder: Path) -> None:
    ours, theirs = metric_lines(folder), lines(folder / "val_split_metrics.jsonl")
    assert [line["epoch"] for line in theirs] == [0, 0, 1, 2]  # before training, and after iterations 1 to 3
    last = theirs[-1]["metrics"]
    assert last["lexical/rouge_rougeL"] == ours[-1]["eval/rougeL"]
    assert last["lexical/sacrebleu"] == pytest.approx(ours[-1]["eval/sacrebleu"] / 100)
    assert last["diversity_metrics/distinct-2"] == ours[-1]["eval/distinct-2"]
    assert last["diversity_metrics/max_pred_length-nopunct"] == ours[-1]["eval/max_length-nopunct"]
    assert {key.partition("/")[0] for key in last} == {"lexical", "diversity_metrics"}  # nothing of ours is left


def test_predictions_have_a_record_for_each_prompt(folder: Path) -> None:
    rows = json.loads((folder / "epoch_2_val_split_predictions.json").read_text())
    kept = json.loads((folder / "evaluations" / "step-000003.json").read_text())["samples"]
    assert len(rows) == len(kept) == 8
    first, own = rows[0], kept[0]
    assert first["split_name"] == "val"
    assert (first["sample_id"], first["generated_text"]) == (own["id"], own["completion"])
    assert first["prompt_text"] == f"5 {own['prompt']}"
    assert first["ref_text"] == "<START-1>1 2 3<END-1>"
    assert first["lexical/rouge_rouge1"] == own["rouge1"]
    assert first["lexical/sacrebleu"] == "n/a"  # of the corpus


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the run is not finished"):
        write_artefacts(tmp_path)


def test_train_writes_them_when_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_recipe(small_recipe(tmp_path, training={"iterations": 1})))

    def call(*words: str) -> Any:
        return CliRunner().invoke(app, ["train", str(recipe), "-q", *words])

    done = call("--artefacts", "rl4lms")
    assert done.exit_code == 0, done.output
    assert "artefacts   6 files with the original's names, such as epoch_0_val_split_predictions.json" in done.stdout
    assert (tmp_path / "run" / "epoch_0_val_split_predictions.json").is_file()
    assert "only rl4lms" in call("--artefacts", "trl").stderr
    refused = CliRunner().invoke(app, ["train", str(recipe), "--dry-run", "--artefacts", "rl4lms"])
    assert (refused.exit_code, refused.stdout) == (2, "")
    seeds = call("--artefacts", "rl4lms", "--seeds", "0,1", "output_dir=both")
    assert seeds.exit_code == 0, seeds.output
    assert all((tmp_path / "both" / f"seed-{seed}" / "rollout_info.jsonl").is_file() for seed in (0, 1))
