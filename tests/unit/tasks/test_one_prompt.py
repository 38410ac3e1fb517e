"""The task `one_prompt`."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.tasks import build
from tests.runs import run_steps, small_loop


def test_every_split_has_the_prompt_as_often_as_asked_for() -> None:
    task = build({"name": "one_prompt", "prompt": "1 2", "n_samples": 3})
    for split in ("train", "validation", "test"):
        samples = task.samples(split)  # type: ignore[arg-type]
        assert [sample.prompt for sample in samples] == ["1 2"] * 3
        assert len({sample.id for sample in samples}) == 3
        assert all(sample.references == () for sample in samples)


def test_no_prompt_no_samples_and_no_warm_start_are_told() -> None:
    with pytest.raises(ConfigError, match="the text to continue"):
        build("one_prompt")
    with pytest.raises(ConfigError, match="n_samples"):
        build({"name": "one_prompt", "prompt": "1", "n_samples": 0})
    with pytest.raises(DataError, match="no texts that a warm start could learn"):
        build({"name": "one_prompt", "prompt": "1"}).supervised("train")


def test_completions_of_the_one_prompt_differ(tmp_path: Path) -> None:
    task = {"name": "one_prompt", "prompt": "1 2", "n_samples": 5}
    loop = small_loop(tmp_path, data=None, task=task, training={"prompts_per_iteration": 16})
    (numbers,) = run_steps(loop, 1)
    assert numbers["rollout/unique_completions"] > 0.5
