"""Pages that are to be followed from top to bottom can be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import rl4lms
from rl4lms.plugins import registry
from tests.docs.pages import ROOT, blocks, run_blocks, run_in_order

DOCS = ROOT / "docs"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and registries that forget."""
    monkeypatch.chdir(tmp_path)
    for kind in (registry.rewards, registry.metrics, registry.tasks, registry.algorithms):
        monkeypatch.setattr(kind, "_entries", dict(kind._entries))


def test_quickstart(tmp_path: Path) -> None:
    scope = run_in_order(DOCS / "quickstart.md")
    lines = [
        json.loads(line) for line in (tmp_path / "runs" / "first-seed0" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == list(range(13))
    assert lines[10]["eval/reward"] > lines[0]["eval/reward"] + 0.1  # it learns
    named = (
        "config.resolved.yaml",
        "env.json",
        "metrics.jsonl",
        "samples",
        "checkpoints",
        "result.json",
        "value/lm",
    )
    assert [name for name in named if not (tmp_path / "runs" / "first-seed0" / name).exists()] == []
    assert scope["result"].model == Path("runs/second/model")


def test_python_api(tmp_path: Path) -> None:
    begin = [block for block in blocks(DOCS / "quickstart.md") if block.language == "python"][
        :3
    ]  # the model, the prompts, a reward
    assert [block.file for block in begin] == [None, None, "my_reward.py"]
    run_blocks(begin)
    found = run_in_order(DOCS / "python-api.md")
    assert 0 <= found["result"].metrics["eval/variety"] <= 1
    assert found["numbers"]["first_ratio_error"] < 1e-4
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "api",
        "objects",
        "plugins",
        "recipe",
        "seed1",
    ]


def test_chat(tmp_path: Path) -> None:
    run_in_order(DOCS / "chat.md")
    (last,) = sorted((tmp_path / "runs" / "chat-seed0" / "samples").iterdir())[-1:]
    record = json.loads(last.read_text(encoding="utf-8").splitlines()[0])
    assert record["text"].startswith("<system> be brief <user> the ")
    assert [message["role"] for message in record["messages"]] == ["user", "assistant", "user"]


def test_sb3(tmp_path: Path) -> None:
    run_blocks([block for block in blocks(DOCS / "quickstart.md") if block.language == "python"][:3])
    found = run_in_order(DOCS / "sb3.md")
    assert found["infos"]["final_info"]["completion"].shape == (4,)
    assert found["agent"].num_timesteps == 16 * 12 * 4
    assert (tmp_path / "trained" / "model.safetensors").is_file()


def test_every_public_name_is_in_the_table() -> None:
    text = (DOCS / "python-api.md").read_text(encoding="utf-8").partition("## All public names")[2]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(rl4lms.__all__)


def test_an_algorithm_of_ones_own(tmp_path: Path) -> None:
    run_blocks([block for block in blocks(DOCS / "quickstart.md") if block.language == "python"][:3])
    run_in_order(DOCS / "algorithms" / "own.md")
    lines = [json.loads(line) for line in (tmp_path / "runs" / "grpo-seed0" / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["train/kl_in_loss"] >= 0
    assert lines[3]["train/kl_in_loss"] > 1e-5
    assert lines[1]["rollout/reward"] == lines[1]["rollout/score"]
