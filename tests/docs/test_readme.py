"""The README's Python example runs as it stands, and what it names exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    """It builds the tiny base model of the task first, hence slow."""
    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    assert len(code[1].strip().splitlines()) <= 10
    environment = os.environ | {"RL4LMS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code[1]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "runs/brevity/model" in done.stdout


def test_every_path_of_the_tree_exists() -> None:
    text = README.read_text(encoding="utf-8")
    tree = re.search(r"```\nsrc/rl4lms/\n(.*?)```", text, re.DOTALL)
    assert tree
    package = README.parent / "src" / "rl4lms"
    for line in tree[1].splitlines():
        for name in re.findall(r"[a-z_]+(?:/|\.py)", line.split("   ")[0] if not line.startswith("  ") else line[:60]):
            assert (package / name).exists() or (README.parent / name).exists(), name
