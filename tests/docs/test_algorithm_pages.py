"""The pages of algorithms: what they say computes something exists, options are those of the signature, and keys are
logged.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import annotated_types
import pytest

import rl4lms
from rl4lms.log_keys import describe
from rl4lms.plugins import registry
from rl4lms.plugins.options import options_model
from tests.docs.pages import ROOT

PACKAGE, PAGES = ROOT / "src" / "rl4lms", ROOT / "docs" / "algorithms"
DOCUMENTS = [ROOT / "docs" / "algorithms.md", *sorted(PAGES.glob("*.md"))]
_PLACE = re.compile(r"`([\w/]+\.py):([\w.]+)`")
_LIMITS = {annotated_types.Ge: "≥", annotated_types.Gt: ">", annotated_types.Le: "≤", annotated_types.Lt: "<"}


def text_of(document: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def definitions(tree: ast.AST, prefix: str = "") -> set[str]:
    """Names of all functions, methods and classes, such as `NLPO.update`."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found |= {prefix + node.name} | definitions(node, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_what_computes_something_exists(document: Path) -> None:
    places = _PLACE.findall(text_of(document))
    assert places or document.stem == "algorithms"
    for file, name in places:
        tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
        assert name in definitions(tree), f"{file}:{name}"


def test_a_wrong_name_would_be_seen() -> None:
    tree = ast.parse("class A:\n    def b(self): ...\ndef c(): ...\n")
    assert definitions(tree) == {"A", "A.b", "c"}
    assert _PLACE.findall("`core/kl.py:k3`, `algorithms/ppo.py:PPO.loss`") == [
        ("core/kl.py", "k3"),
        ("algorithms/ppo.py", "PPO.loss"),
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_tests_and_files_that_are_named_exist(document: Path) -> None:
    for path in re.findall(r"`((?:tests|examples|src)/[\w/.-]+)`", text_of(document)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", registry.algorithms.names())
def test_the_options_are_those_of_the_signature(name: str) -> None:
    section = text_of(PAGES / f"{name}.md").partition("## Options")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
    told = {cells[0].strip("`"): (cells[1], cells[2]) for cells in rows}
    assert len(told) == len(rows)
    fields: dict[str, Any] = {
        field.alias or key: field for key, field in options_model(registry.algorithms, name).model_fields.items()
    }
    assert told == {key: (shown(field.default), limits(field)) for key, field in fields.items()}
    assert all(cells[3] for cells in rows)


def shown(value: object) -> str:
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def limits(field: Any) -> str:
    """Limits as `rl4lms show` prints them."""
    return ", ".join(
        f"{_LIMITS[type(limit)]} {getattr(limit, type(limit).__name__.lower())}" for limit in field.metadata
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_keys_are_those_that_runs_log(document: Path) -> None:
    keys = set(re.findall(r"`((?:rollout|train|eval|time)/[\w./<>-]+\w)`", text_of(document)))
    keys = {key for key in keys if not key.endswith(".py")}  # rollout/ is a folder, too
    assert [key for key in sorted(keys) if describe(key) is None and key != "train/kl_in_loss"] == []


def test_every_algorithm_has_a_page_that_the_index_names() -> None:
    index = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8")
    for name in registry.algorithms.names():
        assert f"| `{name}` |" in index
        assert f"(algorithms/{name}.md)" in index


def test_what_an_algorithm_may_need_is_all_there() -> None:
    section = text_of(PAGES / "own.md").partition("## What it needs")[2].partition("\n## ")[0]
    told = {
        name: default == "True"
        for name, default in re.findall(r"^\| `(\w+)` \| (True|False) \|", section, re.MULTILINE)
    }
    plain = type("Plain", (rl4lms.Algorithm,), {"advantages": None, "loss": None})()
    assert told == {
        name: getattr(plain, name) for name in dir(plain) if name.startswith("needs_") or name == "whole_sequences"
    }


@pytest.mark.parametrize("name", registry.algorithms.names())
def test_an_algorithm_is_one_short_file(name: str) -> None:
    lines = (PACKAGE / "algorithms" / f"{name}.py").read_text(encoding="utf-8").count("\n")
    assert lines <= (120 if name == "trpo" else 80)
