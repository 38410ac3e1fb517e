"""The numbers of a run, read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl4lms.errors import CheckpointError, ConfigError
from rl4lms.runs.history import History, read_history


def test_what_a_run_logged_comes_back_and_as_a_data_frame(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 0, "eval/reward": 0.5}\n{"step": 1, "train/loss": null}\n{"step": 2, "eval/reward": 1.5}\n{"step": 3'
    )
    history = read_history(tmp_path)
    assert history == [
        {"step": 0, "eval/reward": 0.5},
        {"step": 1, "train/loss": None},
        {"step": 2, "eval/reward": 1.5},
    ]
    assert history.series("eval/reward") == [(0, 0.5), (2, 1.5)]
    assert history.series("train/loss") == history.series("train/early_stop") == []  # a run may have these
    with pytest.raises(ConfigError, match=r"^'eval/rewrad' was not logged; did you mean 'eval/reward'\?$"):
        history.series("eval/rewrad")
    with pytest.raises(ConfigError, match=r"^'nothing' was not logged; known: "):
        history.series("nothing")
    assert History().series("nothing") == []  # nothing is logged yet
    assert history.log_keys() == ["eval/reward", "train/loss"]
    frame = history.to_pandas()
    assert list(frame.index) == [0, 1, 2]
    assert frame["eval/reward"].dropna().tolist() == [0.5, 1.5]


@pytest.mark.parametrize("content", [None, '{"step": 0}\n{"loss": 1}\n', '{"step": 0}\n[1]\n', "{\n"])
def test_no_run_or_a_damaged_line_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        read_history(tmp_path)
