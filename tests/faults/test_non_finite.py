"""NaN and infinity in a loss or a gradient: the run stops before the optimiser step, and what it was working on can be
looked at.
"""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rl4lms.errors import NonFiniteError
from rl4lms.runs import failed_batch
from rl4lms.training.loop import Loop
from tests.runs import small_loop

SETTINGS: dict[str, Any] = {
    "training": {"iterations": 4, "prompts_per_iteration": 8},
    "algorithm": {"name": "ppo", "n_epochs": 1, "minibatch_size": 4},
    "rollout": {"completions_per_prompt": 2, "max_new_tokens": 5},
}


def poisoned(tmp_path: Path, value: float, where: str) -> Loop:
    """A loop whose third iteration meets `value` in the experience of completion 5, or in a gradient."""
    loop = small_loop(tmp_path, **SETTINGS)
    advantages = loop.algorithm.advantages

    def poison(experience: Any) -> None:
        advantages(experience)
        if loop.state.step == 2:
            getattr(experience, where)[5, 0] = value

    loop.algorithm.advantages = poison  # type: ignore[method-assign]
    return loop


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["advantages", "returns"])
def test_the_run_stops_before_the_step_and_leaves_the_batch(tmp_path: Path, value: float, where: str) -> None:
    loop = poisoned(tmp_path, value, where)
    steps: list[bool] = []
    loop.state.optimizer.register_step_pre_hook(
        lambda *_: steps.append(
            all(bool(p.grad.isfinite().all()) for p in loop.models.policy.parameters() if p.grad is not None)
        )
    )
    with pytest.raises(NonFiniteError) as caught:
        loop.run()
    assert steps
    assert all(steps)
    assert all(bool(p.isfinite().all()) for p in loop.models.policy.parameters())
    folder = tmp_path / "run" / "failed-batch-000003"
    last = tmp_path / "run" / "checkpoints" / "step-000002"
    message = str(caught.value)
    named = f"algorithm 'PPO': advantages() set experience.{where} to NaN or infinity, first in row 6; "
    assert message.startswith(f"iteration 3: {named}")
    assert message.endswith(
        f"; its batch is in {folder} (last good checkpoint: {last}; continue with: rl4lms train {tmp_path / 'run'} "
        f"--resume, in Python: resume=True)"
    )
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == caught.value.rows == [5]
    (bad,) = rows
    assert bad[where][0] == str(value)
    assert bad["completion_ids"]
    assert len(bad["logprobs"]) == len(bad["completion_ids"]) == len(bad["advantages"])
    about = json.loads((folder / "error.json").read_text())
    assert about["iteration"] == 3
    assert about["rows"] == caught.value.rows
    tensors = load_file(folder / "batch.safetensors")
    assert tensors["minibatch"].tolist() == caught.value.rows
    assert tensors[where].shape == tensors["completion_mask"].shape == (16, tensors["completion_ids"].shape[1])
    assert not math.isfinite(tensors[where][5, 0])


def test_a_loss_that_is_not_finite_names_its_minibatch(tmp_path: Path) -> None:
    loop = small_loop(tmp_path, **SETTINGS)
    loss = loop.algorithm.loss

    def poison(new: Any, old: Any) -> Any:
        found, stats = loss(new, old)
        return found * math.nan, stats

    loop.algorithm.loss = poison  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match=r"iteration 1: the loss is nan and the gradient norm") as caught:
        loop.run()
    rows = (tmp_path / "run" / "failed-batch-000001" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 4
    assert [json.loads(row)["row"] for row in rows] == caught.value.rows


def test_rows_read_like_the_rollout(tmp_path: Path) -> None:
    loop = poisoned(tmp_path, math.nan, "advantages")
    with pytest.raises(NonFiniteError):
        loop.run()
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "failed-batch-000003" / "rows.jsonl").read_text().splitlines()
    ]
    prompts = {sample.id: sample.prompt for sample in loop.samples}
    for row in rows:
        assert row["prompt"] == prompts[row["id"]]
        assert row["references"] == ["1 2 3"]
        assert row["completion"] == loop.models.tokenizer.decode(row["completion_ids"], skip_special_tokens=True)
        assert row["score"] == pytest.approx(sum(row["scores"]))


def test_the_error_survives_where_the_batch_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = poisoned(tmp_path, math.nan, "advantages")

    def fails(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(failed_batch, "save_file", fails)
    with pytest.raises(
        NonFiniteError, match=r"its batch could not be written: No space left on device \(last good checkpoint"
    ):
        loop.run()
    assert not (tmp_path / "run" / "failed-batch-000003").exists()


def test_an_algorithm_that_names_no_rows_gets_all_of_them(tmp_path: Path) -> None:
    loop = small_loop(tmp_path, **SETTINGS)

    def fails(experience: Any, step: int) -> dict[str, float]:
        raise NonFiniteError("the loss is nan")

    loop.algorithm.update = fails  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="no checkpoint was written yet"):
        loop.run()
    folder = tmp_path / "run" / "failed-batch-000001"
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 16
    assert load_file(folder / "batch.safetensors")["minibatch"].tolist() == list(range(16))


def test_resuming_repeats_the_failure_and_a_repaired_run_goes_on(tmp_path: Path) -> None:
    loop = poisoned(tmp_path, math.nan, "returns")
    with pytest.raises(NonFiniteError) as first:
        loop.run()
    again = poisoned(tmp_path, math.nan, "returns")
    step, _ = again.checkpoints.latest()
    assert step == 2
    again.checkpoints.load(step, again.state)
    with pytest.raises(NonFiniteError) as second:
        again.run()
    assert second.value.rows == first.value.rows
    mended = small_loop(tmp_path, **SETTINGS)
    mended.checkpoints.load(2, mended.state)
    mended.run()
    assert mended.state.step == 4


def test_rows_travel_with_the_pickled_error() -> None:
    error = pickle.loads(pickle.dumps(NonFiniteError("the loss is nan", rows=[3, 1])))
    assert (str(error), error.rows) == ("the loss is nan", [3, 1])
    assert NonFiniteError("x").rows is None
    assert torch.tensor(error.rows).tolist() == [3, 1]
