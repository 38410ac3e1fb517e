"""What is shown at an evaluation."""

from __future__ import annotations

import pytest

from rl4lms.metrics import build, compute_all
from rl4lms.training.display import Display


def test_the_line_of_an_evaluation_has_the_keys_that_metrics_report(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"prompts": ["p"], "completions": ["a b a b c"], "references": [()], "columns": {}}
    numbers = {f"eval/{result.key}": result.mean for result in compute_all([build("diversity")], **rows)}
    Display(texts=False).evaluation(3, {"eval/reward": 0.5, **numbers}, [])
    assert capsys.readouterr().err.split() == ["step", "3", "reward", "0.500", "distinct-2", "0.750"]
