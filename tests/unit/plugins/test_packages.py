"""Optional packages: absent, broken, and which extras bring them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import rl4lms
from rl4lms.errors import BrokenPackageError, MissingExtraError, MissingPartError, Rl4lmsError
from rl4lms.metrics.spice import Spice
from rl4lms.plugins.packages import EXTRAS, import_optional, of_extra
from rl4lms.training.run import run
from tests.runs import small_recipe

PACKAGE = Path(rl4lms.__file__).parent
PROJECT = Path(__file__).parents[3] / "pyproject.toml"


@pytest.mark.parametrize("package", EXTRAS)
def test_one_that_is_absent(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtraError, match=rf'{package} is not installed; run: pip install "rl4lms\[{EXTRAS[package]}\]"'
    ):
        of_extra(package)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import a_package_that_is_absent", "ModuleNotFoundError: No module named 'a_package_that_is_absent'"),
        ("from math import tau2", "ImportError: cannot import name 'tau2'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_one_that_is_broken_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str) -> None:
    """By whatever its import fails, and wherever it is used."""
    for package in ("wandb", "aac_metrics"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(code)
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BrokenPackageError, match=f"wandb is installed, but importing it fails: {re.escape(why)}"):
        run(small_recipe(tmp_path, tracking={"report_to": ["wandb"]}))
    with pytest.raises(BrokenPackageError, match="aac_metrics is installed"):
        Spice()


def test_a_package_without_the_part_is_not_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "an_optional_package.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    absent: Rl4lmsError = MissingPartError("it", "get it")
    with pytest.raises(BrokenPackageError, match=r"No module named .an_optional_package\.part."):
        import_optional("an_optional_package.part", absent)
    with pytest.raises(MissingPartError):
        import_optional("another_package.part", absent)


def test_extras_are_what_the_code_imports() -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = {
        re.split(r"[\[<>=]", text)[0]: extra for extra, texts in extras.items() if extra != "dev" for text in texts
    }
    del named["rl4lms"]  # an extra that brings another one
    assert named == EXTRAS
    asked: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = {name.partition(".")[0] for name in names} & EXTRAS.keys()
            assert not found, f"{path}:{node.lineno}: import {found} by rl4lms.plugins.packages.of_extra"
            if path.name != "packages.py" and isinstance(node, ast.Constant) and node.value in EXTRAS:
                asked.add(str(node.value))
    assert asked == EXTRAS.keys()
