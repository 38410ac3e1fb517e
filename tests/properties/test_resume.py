"""Resuming: what continues, what is refused, what is kept. Kills are in `tests/faults/test_kills.py`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rl4lms.errors import CheckpointError, ConfigError, DataError
from rl4lms.training.checkpoint import verify
from rl4lms.training.run import run
from tests.runs import metric_lines, small_recipe, weights_hash


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    run(recipe)
    before = (metric_lines(tmp_path / "run"), weights_hash(tmp_path / "run" / "model"))
    run(recipe, resume=True)
    assert (metric_lines(tmp_path / "run"), weights_hash(tmp_path / "run" / "model")) == before


def test_a_damaged_checkpoint_is_passed_over_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small_recipe(tmp_path)
    run(recipe)
    reference = (metric_lines(tmp_path / "run"), weights_hash(tmp_path / "run" / "model"))
    newest = tmp_path / "run" / "checkpoints" / "step-000003"
    data = bytearray((newest / "policy.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (newest / "policy.safetensors").write_bytes(bytes(data))
    assert "checksum" in (verify(newest) or "")
    run(recipe, resume=True)
    assert "step-000003 is not usable" in capsys.readouterr().err
    assert (metric_lines(tmp_path / "run"), weights_hash(tmp_path / "run" / "model")) == reference


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    run(small_recipe(tmp_path))
    changed = small_recipe(tmp_path, algorithm={"name": "ppo", "clip_range": 0.3})
    with pytest.raises(CheckpointError, match=r"algorithm\.clip_range: .* in the checkpoint, 0\.3 now"):
        run(changed, resume=True)


def test_another_reward_file_or_data_file_of_the_same_name_is_noticed(tmp_path: Path) -> None:
    code = tmp_path / "rewards.py"
    code.write_text("def good(completions, **columns):\n    return [float(len(c)) for c in completions]\n")
    run(small_recipe(tmp_path, reward={"name": f"{code}:good"}))
    code.write_text("def good(completions, **columns):\n    return [-1.0 for c in completions]\n")
    with pytest.raises(CheckpointError, match=r"sha256 of .*rewards\.py"):
        run(small_recipe(tmp_path, reward={"name": f"{code}:good"}), resume=True)


def test_nothing_is_started_over_when_every_checkpoint_is_damaged(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    run(recipe)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    for folder in (tmp_path / "run" / "checkpoints").iterdir():
        (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint is usable"):
        run(recipe, resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_pruning_never_removes_what_was_just_saved(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, checkpoint={"every": 1, "keep_last": 1})
    run(recipe)
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copytree(checkpoints / "step-000003", checkpoints / "step-000009")
    (checkpoints / "step-000009" / "manifest.json").unlink()
    longer = small_recipe(tmp_path, checkpoint={"every": 1, "keep_last": 1}, training={"iterations": 4, "prompts_per_iteration": 16})
    run(longer, resume=True)
    assert [path.name for path in checkpoints.iterdir()] == ["step-000004"]
    assert "iterations: 4" in (tmp_path / "run" / "config.resolved.yaml").read_text()


def test_a_start_that_failed_can_be_repeated(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run(small_recipe(tmp_path, data={"train": str(tmp_path / "none.jsonl")}))
    run(small_recipe(tmp_path))


def test_a_used_folder_is_not_overwritten(tmp_path: Path) -> None:
    run(small_recipe(tmp_path))
    with pytest.raises(ConfigError, match="--resume"):
        run(small_recipe(tmp_path))
    with pytest.raises(CheckpointError, match="no run to resume"):
        run(small_recipe(tmp_path, output_dir=str(tmp_path / "elsewhere")), resume=True)


def test_keeps_the_last_checkpoints_and_the_best(tmp_path: Path) -> None:
    recipe = small_recipe(
        tmp_path,
        training={"iterations": 5, "prompts_per_iteration": 8},
        evaluation={"every": 1, "prompts": 8},
        checkpoint={"every": 1, "keep_last": 2, "best": "eval/kl_per_token", "best_mode": "min"},
    )
    result = run(recipe)
    kept = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    best = json.loads((result.folder / "result.json").read_text())["best"]
    values = [line["eval/kl_per_token"] for line in metric_lines(tmp_path / "run")]
    assert best["value"] == min(values)
    assert best["step"] == values.index(min(values))
    assert set(kept) == {"step-000004", "step-000005", f"step-{int(best['step']):06d}"}
    assert best["step"] == 0  # nothing is nearer to the reference than the reference
    assert weights_hash(result.folder / "best") == weights_hash(tmp_path / "lm-gpt2")
