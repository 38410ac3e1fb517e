"""Resuming: what continues, what is refused, what is kept. Kills are in `tests/faults/test_kills.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rl4lms.errors import CheckpointError, ConfigError, DataError, Rl4lmsError
from rl4lms.evaluation import evaluator as evaluation
from rl4lms.runs.checkpoint import verify
from rl4lms.training.run import run
from tests.marks import slow_but
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


def test_a_repaired_reward_file_is_told_and_another_data_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / "rewards.py"
    code.write_text("def good(completions, **columns):\n    return [float(len(c)) for c in completions]\n")
    run(small_recipe(tmp_path, reward={"name": f"{code}:good"}))
    code.write_text("def good(completions, **columns):\n    return [-1.0 for c in completions]\n")
    longer = small_recipe(
        tmp_path, reward={"name": f"{code}:good"}, training={"iterations": 4, "prompts_per_iteration": 16}
    )
    note = f"the file {code} has changed since the checkpoint was written\n"
    run(longer, resume=True)
    assert capsys.readouterr().err.count(note) == 1
    assert metric_lines(tmp_path / "run")[-1]["rollout/score"] == -1
    run(longer, resume=True)
    assert note not in capsys.readouterr().err  # the checkpoint of iteration 4 knows the new file
    data = tmp_path / "numbers.jsonl"
    data.write_text(data.read_text() + '{"prompt": "1", "references": ["2"]}\n')
    with pytest.raises(CheckpointError) as caught:
        run(longer, resume=True)
    assert str(caught.value).splitlines()[1:2] == [f"  the file {data} has changed"]


@pytest.mark.slow
def test_running_statistics_of_a_reward_survive(tmp_path: Path) -> None:
    reward = {
        "name": "sum",
        "parts": [{"reward": {"name": "standardise", "reward": {"name": "increasing_numbers", "min_tokens": 6}}}],
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    long = {"iterations": 3, "prompts_per_iteration": 16}
    run(small_recipe(tmp_path / "a", reward=reward, training=long))
    run(small_recipe(tmp_path / "b", reward=reward, training=long | {"iterations": 1}))
    run(small_recipe(tmp_path / "b", reward=reward, training=long), resume=True)
    whole, parts = (metric_lines(tmp_path / name / "run") for name in "ab")
    assert [line["rollout/score"] for line in whole if "rollout/score" in line] == [
        line["rollout/score"] for line in parts if "rollout/score" in line
    ]
    assert weights_hash(tmp_path / "a" / "run" / "model") == weights_hash(tmp_path / "b" / "run" / "model")
    state = json.loads((tmp_path / "b" / "run" / "checkpoints" / "step-000003" / "state.json").read_text())["reward"]
    assert [part["count"] for part in state] == [48]
    assert whole[-1]["eval/reward"] >= 0  # reported as it was before: shares of increasing numbers, not deviations


def test_a_repaired_reward_inside_another_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = tmp_path / "rewards.py"
    code.write_text("def good(completions, **columns):\n    return [0.0 for c in completions]\n")
    reward = {"name": "sum", "parts": [{"reward": "dates"}, {"reward": f"{code}:good", "key": "good"}]}
    run(small_recipe(tmp_path, reward=reward))
    code.write_text("def good(completions, **columns):\n    return [-1.0 for c in completions]\n")
    run(small_recipe(tmp_path, reward=reward, training={"iterations": 4, "prompts_per_iteration": 16}), resume=True)
    assert f"the file {code} has changed since the checkpoint was written" in capsys.readouterr().err
    assert metric_lines(tmp_path / "run")[-1]["rollout/score/good"] == -1


def second_fails(compute: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[Any] = []

    def fails(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise DataError("metric 'diversity': no parser")
        return compute(*args, **kwargs)

    return fails


FAILING = ["metric", "reward of an evaluation", "reward of an iteration"]


@pytest.mark.parametrize("fails_in", slow_but(FAILING, FAILING[-1:]))
def test_what_fails_beside_the_update_loses_no_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_in: str
) -> None:
    code = tmp_path / "parts.py"
    good = (
        "calls = []\n"
        "def reward(completions, **columns):\n    calls.append(len(completions))\n    return [float(len(c)) for c in "
        "completions]\n"
    )
    # the prompts of an evaluation are 8, of an iteration 16; the evaluations come before iteration 1 and after 2 and 4
    bad = {
        "metric": good,
        "reward of an evaluation": good.replace(
            "    return [", "    if calls.count(8) == 2: raise ValueError('no parser')\n    return ["
        ),
        "reward of an iteration": good.replace(
            "    return [", "    if calls.count(16) == 3: raise ValueError('no parser')\n    return ["
        ),
    }[fails_in]
    settings = {
        "reward": {"name": f"{code}:reward"},
        "training": {"iterations": 4, "prompts_per_iteration": 16},
        "evaluation": {"every": 2, "prompts": 8, "metrics": [{"name": "diversity"}]},
        "checkpoint": {"every": 0},
    }
    code.write_text(good)
    reference = small_recipe(tmp_path, output_dir=str(tmp_path / "whole"), **settings)
    run(reference)
    code.write_text(bad)
    recipe = small_recipe(tmp_path, **settings)
    with monkeypatch.context() as patch:
        if fails_in == "metric":
            patch.setattr(evaluation, "compute_all", second_fails(evaluation.compute_all))
        with pytest.raises(Rl4lmsError) as caught:
            run(recipe)
    when = "iteration 3: " if fails_in == "reward of an iteration" else "the evaluation after iteration 2: "
    saved = tmp_path / "run" / "checkpoints" / "step-000002"
    assert str(caught.value).startswith(when)
    assert "no parser" in str(caught.value)
    assert str(caught.value).endswith(
        f" (last good checkpoint: {saved}; continue with: rl4lms train {tmp_path / 'run'} --resume, in Python: "
        "resume=True)"
    )
    assert verify(saved) is None
    code.write_text(good)
    run(recipe, resume=True)
    assert metric_lines(tmp_path / "run") == metric_lines(tmp_path / "whole")
    assert weights_hash(tmp_path / "run" / "model") == weights_hash(tmp_path / "whole" / "model")


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
    longer = small_recipe(
        tmp_path, checkpoint={"every": 1, "keep_last": 1}, training={"iterations": 4, "prompts_per_iteration": 16}
    )
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


@pytest.mark.parametrize(
    "optimizer",
    [{"name": "rmsprop", "momentum": 0.9}, {"name": "sgd"}, {"name": "sgd", "momentum": 0.9}],
)
@pytest.mark.slow
def test_every_optimiser_continues_to_the_same_weights(tmp_path: Path, optimizer: dict[str, Any]) -> None:
    settings = {**optimizer, "learning_rate": 1e-3}
    run(small_recipe(tmp_path, optimizer=settings))
    short = small_recipe(tmp_path, optimizer=settings, training={"iterations": 2}, output_dir=str(tmp_path / "resumed"))
    run(short)
    run(small_recipe(tmp_path, optimizer=settings, output_dir=str(tmp_path / "resumed")), resume=True)
    assert weights_hash(tmp_path / "resumed" / "model") == weights_hash(tmp_path / "run" / "model")


def test_an_algorithm_may_keep_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running baseline, say: continuing without it gives other weights."""
    from rl4lms.algorithms.ppo import PPO

    seen: list[float] = []
    baseline = {"mean": 0.0}

    def advantages(self: PPO, experience: Any) -> None:
        baseline["mean"] = 0.5 * baseline["mean"] + float(experience.scores.sum(-1).mean())
        seen.append(baseline["mean"])
        original(self, experience)

    original = PPO.advantages
    monkeypatch.setattr(PPO, "advantages", advantages)
    monkeypatch.setattr(PPO, "state_dict", lambda self: dict(baseline))
    monkeypatch.setattr(PPO, "load_state_dict", lambda self, state: baseline.update(state))
    run(small_recipe(tmp_path))
    whole = list(seen)
    seen.clear()
    baseline["mean"] = 0.0
    run(small_recipe(tmp_path, training={"iterations": 2}, output_dir=str(tmp_path / "resumed")))
    baseline["mean"] = -99.0
    run(small_recipe(tmp_path, output_dir=str(tmp_path / "resumed")), resume=True)
    assert seen == whole
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="the algorithm cannot continue from its state: PPO keeps no state"):
        run(small_recipe(tmp_path, training={"iterations": 4}, output_dir=str(tmp_path / "resumed")), resume=True)


def test_a_changed_algorithm_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It determines the numbers as much as the reward does."""
    code = tmp_path / "mine.py"
    code.write_text("from rl4lms import PPO\n\n\nclass Mine(PPO):\n    pass\n")
    run(small_recipe(tmp_path, algorithm={"name": f"{code}:Mine"}))
    code.write_text("from rl4lms import PPO\n\n\nclass Mine(PPO):\n    whole_sequences = True\n")
    longer = {"iterations": 4, "prompts_per_iteration": 16}
    run(small_recipe(tmp_path, algorithm={"name": f"{code}:Mine"}, training=longer), resume=True)
    assert f"the file {code} has changed since the checkpoint was written\n" in capsys.readouterr().err
