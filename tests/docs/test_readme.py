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


def tree() -> list[tuple[bool, str]]:
    """Every name of the tree, and whether it is one of the package."""
    found = re.search(r"```\nsrc/rl4lms/\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    lines = found[1].splitlines()
    columns = [re.match(r"((?:[a-z_]+(?:/|\.py)  ?)+) +\S", line.strip()) for line in lines]
    assert None not in columns, lines[columns.index(None)]
    return [
        (line.startswith("  "), name)
        for line, column in zip(lines, columns, strict=True)
        if column
        for name in column[1].split()
    ]


def test_every_path_of_the_tree_exists_and_none_is_missing() -> None:
    root = README.parent
    for in_package, name in tree():
        assert ((root / "src" / "rl4lms" if in_package else root) / name).exists(), name
    rooms = {
        path.name
        for path in (root / "src" / "rl4lms").iterdir()
        if not path.name.startswith("__") and path.name != "py.typed"
    }
    assert {name.removesuffix("/") for in_package, name in tree() if in_package} == rooms


def test_the_tree_names_the_pages_and_the_files_of_the_loop() -> None:
    text = README.read_text(encoding="utf-8").partition("## What is where")[2]
    pages = re.search(r"^docs/ +(.*)$", text, re.MULTILINE)
    assert pages
    assert set(pages[1].split(", ")) == {path.stem for path in (README.parent / "docs").glob("*.md")}
    for folder in ("training", "algorithms"):
        line = re.search(rf"^  {folder}/ .*$", text, re.MULTILINE)
        assert line
        files = {path.name for path in (README.parent / "src" / "rl4lms" / folder).glob("[a-z]*.py")} - {"optimizer.py"}
        assert set(re.findall(r"\w+\.py", line[0])) == files
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_every_example_has_a_paragraph() -> None:
    examples = README.parent / "examples"
    text = (examples / "README.md").read_text(encoding="utf-8")
    for path in examples.iterdir():
        name = f"{path.name}/" if path.is_dir() else path.name
        assert f"### `{name}`" in text or name in ("README.md", "__pycache__/"), name
