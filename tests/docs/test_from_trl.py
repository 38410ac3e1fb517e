"""docs/from-trl.md: its recipe runs, and every key that it names is one. tests/doors holds the arguments to TRL's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rl4lms.config.reference import setting_names
from rl4lms.plugins import registry
from rl4lms.plugins.options import options_model
from tests.docs.pages import run_in_order
from tests.trl_tables import PAGE, tables


def test_every_key_is_one() -> None:
    options = {
        f"algorithm.{field.alias}"
        for algorithm in registry.algorithms.names()
        for field in options_model(registry.algorithms, algorithm).model_fields.values()
    }
    found = tables()
    assert {name: len(rows) > 4 for name, rows in found.items()} == dict.fromkeys(
        ("GRPOConfig", "RLOOConfig", "PPOConfig", "TrainingArguments"), True
    )
    named = {key for rows in found.values() for _, keys in rows for key in keys}
    assert named - setting_names() - options == set()


def test_no_argument_has_two_lines() -> None:
    for rows in tables().values():
        names = [name for given, _ in rows for name in given]
        assert len(names) == len(set(names))


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_in_order(PAGE)
    result = json.loads((tmp_path / "runs" / "from-trl-seed0" / "result.json").read_text(encoding="utf-8"))
    assert "eval/reward" in json.dumps(result)
