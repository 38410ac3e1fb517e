"""`torchrun -m rl4lms train`: one run folder, written by one process; resumed; and one fate for all processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from rl4lms.cli.main import main
from rl4lms.config import dump_recipe
from rl4lms.training.run import run
from tests.distributed.processes import starts_alone
from tests.runs import metric_lines, small_recipe, weights_hash

TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
    *("--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"),
]
REWARD = """
def increasing(completions, *, fail_after: int = 99, **columns):
    import pathlib
    calls = pathlib.Path(__file__).with_suffix(".calls")
    calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
    if len(calls.read_text()) > fail_after:
        raise ValueError("the reward server is gone")
    return [float(sum(b > a for a, b in zip(c.split(), c.split()[1:]))) for c in completions]
"""


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


def one_runs(folder: Path) -> None:
    """A run of one process, and the recipe of the same run that its reward stops in the third iteration."""
    run(small_recipe(folder, **settings(folder, "one")), progress=False)
    calls = len((folder / "one_reward.calls").read_text())
    two = settings(folder, "two")
    failing = small_recipe(folder, **{**two, "reward": {**two["reward"], "fail_after": calls - 2}})
    (folder / "two.yaml").write_text(dump_recipe(failing))


@starts_alone
def two_are_stopped(rank: int, folder: Path) -> None:
    """`rl4lms train` until the reward fails; its exit code and what it prints go to a file."""
    code = 0
    words = ["rl4lms", "train", str(folder / "two.yaml")]
    with (
        (folder / f"stopped-{rank}").open("w") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
        mock.patch.object(sys, "argv", words),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
        except BaseException:  # noqa: BLE001 - whatever it is, the test shows it
            code = 1
            traceback.print_exc()
        print("exit code", code)


@pytest.mark.slow
def test_a_run_of_two_processes_is_one_run_and_can_be_continued(two_processes: Path) -> None:
    """Warm start, evaluations, checkpoints, the best model; stopped by a reward that fails in the third iteration, and
    continued by `torchrun`.
    """
    folder = two_processes
    ended = [(folder / f"stopped-{rank}").read_text() for rank in (0, 1)]
    message = "iteration 3: reward 'increasing' raised ValueError: the reward server is gone"
    for told in ended:
        assert message in told
        assert "Traceback" not in told
        assert re.search(r"^exit code [1-9]", told, re.MULTILINE), told
    assert json.loads((folder / "two" / "checkpoints" / "step-000002" / "state.json").read_text())["step"] == 2

    (folder / "two_reward.py").write_text(REWARD.replace("if len(calls.read_text()) > fail_after", "if False"))
    resumed = subprocess.run(
        [*TORCHRUN, "-m", "rl4lms", "train", str(folder / "two"), "--resume"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    ours, theirs = metric_lines(folder / "two"), metric_lines(folder / "one")
    assert [line["step"] for line in ours] == [0, 1, 2, 3]
    for line, expected in zip(ours, theirs, strict=True):
        assert line.keys() == expected.keys()
        for key, value in expected.items():
            assert line[key] == value or abs(line[key] - value) <= 1e-4 * max(1, abs(value)), key
    names = {path.relative_to(folder / "one") for path in (folder / "one").rglob("*")}
    assert {path.relative_to(folder / "two") for path in (folder / "two").rglob("*")} - {Path("faults.jsonl")} == names
    asked, resolved = (
        yaml.safe_load(path.read_text()) for path in (folder / "two.yaml", folder / "two" / "config.resolved.yaml")
    )
    assert resolved["reward"]["fail_after"] == asked["reward"]["fail_after"]
    assert weights_hash(folder / "two" / "supervised") == weights_hash(folder / "one" / "supervised")
