"""`torchrun -m rl4lms train`: one run folder, written by one process; resumed; and one fate for all processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from rl4lms.config import dump_recipe
from rl4lms.training.run import run
from tests.runs import metric_lines, small_recipe, weights_hash

REWARD = """
def increasing(completions, *, fail_after: int = 99, **columns):
    import pathlib
    calls = pathlib.Path(__file__).with_suffix(".calls")
    calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
    if len(calls.read_text()) > fail_after:
        raise ValueError("the reward server is gone")
    return [float(sum(b > a for a, b in zip(c.split(), c.split()[1:]))) for c in completions]
"""


def launch(recipe: Any, *options: str) -> subprocess.CompletedProcess[str]:
    path = Path(recipe.output_dir).with_suffix(".yaml")
    path.write_text(dump_recipe(recipe))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "TOKENIZERS_PARALLELISM": "false"}
    source = Path(recipe.output_dir) if "--resume" in options else path
    return subprocess.run(
        [*command, "-m", "rl4lms", "train", str(source), *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )


def settings(tmp_path: Path, name: str, **more: Any) -> dict[str, Any]:
    code = tmp_path / f"{name}_reward.py"
    code.write_text(REWARD)
    return {
        "output_dir": str(tmp_path / name),
        "reward": {"name": f"{code}:increasing"},
        "supervised": {"max_steps": 3, "batch_size": 8},
        "optimizer": {"name": "sgd", "learning_rate": 0.05},
        "checkpoint": {"every": 1, "best": "eval/reward"},
        **more,
    }


def test_a_run_of_two_processes_is_one_run_and_can_be_continued(tmp_path: Path) -> None:
    """Warm start, evaluations, checkpoints, the best model; stopped by a reward that fails in the third iteration, and
    continued.
    """
    recipe = small_recipe(tmp_path, **settings(tmp_path, "one"))
    run(recipe, progress=False)
    calls = len((tmp_path / "one_reward.calls").read_text())

    two = settings(tmp_path, "two")
    failing = small_recipe(tmp_path, **{**two, "reward": {**two["reward"], "fail_after": calls - 2}})
    ended = launch(failing)
    assert ended.returncode != 0
    message = "iteration 3: reward 'increasing' raised ValueError: the reward server is gone"
    assert message in ended.stderr, ended.stderr[-3000:]
    assert not re.search(r'File ".*rl4lms/training', ended.stderr), ended.stderr[
        -3000:
    ]  # ours is a message; torchrun adds its own trace
    assert json.loads((tmp_path / "two" / "checkpoints" / "step-000002" / "state.json").read_text())["step"] == 2

    code = tmp_path / "two_reward.py"
    code.write_text(REWARD.replace("if len(calls.read_text()) > fail_after", "if False"))
    resumed = launch(failing, "--resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    ours, theirs = metric_lines(tmp_path / "two"), metric_lines(tmp_path / "one")
    assert [line["step"] for line in ours] == [0, 1, 2, 3]
    for line, expected in zip(ours, theirs, strict=True):
        assert line.keys() == expected.keys()
        for key, value in expected.items():
            assert line[key] == value or abs(line[key] - value) <= 1e-4 * max(1, abs(value)), key
    names = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*")}
    assert {path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*")} - {
        Path("faults.jsonl")
    } == names
    assert yaml.safe_load((tmp_path / "two" / "config.resolved.yaml").read_text())["reward"]["fail_after"] == calls - 2
    assert weights_hash(tmp_path / "two" / "supervised") == weights_hash(tmp_path / "one" / "supervised")
