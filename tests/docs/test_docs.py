"""What the documents show is accepted: recipes are read, Python runs, names exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from rl4lms.cli.main import app
from rl4lms.errors import ConfigError
from rl4lms.plugins import registry
from rl4lms.rewards import build
from tests.contracts.test_layering import LAYERS
from tests.docs.pages import ROOT, Block, blocks, recipe_of

DOCS = ROOT / "docs"
DOCUMENTS = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").glob("*.md")])
# These run from top to bottom, see test_pages.py and test_from_trl.py; README's Python builds a model first, see test_readme.py.
IN_ORDER = {f"docs/{name}.md" for name in ("quickstart", "chat", "from-trl", "python-api", "sb3", "algorithms/own")}
ELSEWHERE = {*IN_ORDER, "README.md"}


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def of(language: str, elsewhere: Iterable[str] = ()) -> list[Any]:
    found = [block for document in DOCUMENTS for block in blocks(document) if block.language == language]
    return [pytest.param(block, id=block.name) for block in found if block.document not in elsewhere]


COMMANDS = [
    line for block in of("sh", IN_ORDER) for line in block.values[0].code.splitlines() if line.startswith("rl4lms ")
]


@pytest.fixture(autouse=True)
def _registries_forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")  # documents name files of it, and may write others beside it
    monkeypatch.chdir(tmp_path)
    for kind in (registry.rewards, registry.metrics, registry.tasks, registry.algorithms):
        monkeypatch.setattr(kind, "_entries", dict(kind._entries))


@pytest.mark.parametrize("block", of("yaml"))
def test_recipes_are_accepted(block: Block) -> None:
    recipe_of(block.code)


@pytest.mark.parametrize("block", of("python", ELSEWHERE))
def test_python_runs(block: Block) -> None:
    exec(compile(block.code, block.name, "exec"), {"__name__": "page"})


@pytest.mark.parametrize("block", of("toml"))
def test_toml_is_toml(block: Block) -> None:
    tomllib.loads(block.code)


def test_every_block_says_its_language() -> None:
    assert {block.language for document in DOCUMENTS for block in blocks(document)} <= {
        "python",
        "yaml",
        "sh",
        "toml",
        "text",
    }
    for document in DOCUMENTS:  # the tree of the README is the only plain one
        fences = re.findall(r"^```(\w*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
        plain = len(fences) - 2 * sum(map(bool, fences))
        assert plain == (2 if document.name == "README.md" and document.parent == ROOT else 0), document


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_have_the_options_that_are_shown(line: str) -> None:
    """Without running them: some need models or data that are not there."""
    words = shlex.split(line.partition(" && ")[0].rstrip("\\"), comments=True)[1:]
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} - known == set()


def test_options_that_no_option_can_say_alone() -> None:
    (block,) = (block for block in blocks(ROOT / "CONTRIBUTING.md") if block.language == "python")
    exec(compile(block.code, block.name, "exec"), {"__name__": "page"})
    assert build({"name": "length_between", "low": 2})(completions=["one", "one two"]) == [0.0, 1.0]
    with pytest.raises(ConfigError, match=r"low \(9\) is above high \(3\)"):
        build({"name": "length_between", "low": 9, "high": 3})


@pytest.mark.parametrize(("document", "kind"), [("rewards.md", registry.rewards), ("metrics.md", registry.metrics)])
def test_every_component_is_named(document: str, kind: registry.Registry) -> None:
    cards = sorted((ROOT / "src" / "rl4lms" / "tasks").glob("*/README.md"))  # of the gold measures of mini editions
    text = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / document, *cards))
    toys = {"dates", "increasing_numbers"}
    assert [
        name for name in kind.names() if f"`{name}`" not in text and f"name: {name}" not in text and name not in toys
    ] == []


def test_the_first_example_is_a_reward() -> None:
    exec(compile(blocks(DOCS / "rewards.md")[0].code, "docs", "exec"), {})
    assert build("no_shouting")(completions=["QUIET", "quiet"]) == [pytest.approx(-0.9), 0.0]


@pytest.mark.parametrize("document", [*DOCUMENTS, *sorted((ROOT / "reports").glob("*.md"))], ids=short)
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", document.read_text(encoding="utf-8")):
        page = document.parent / target if target else document
        assert page.exists(), target
        if anchor:
            assert anchor in anchors(page), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What headings are linked by."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=short)
def test_tests_that_are_named_exist(document: Path) -> None:
    for path in re.findall(
        r"`((?:tests|examples|reports|benchmarks)/[\w/.-]+)[`:]", document.read_text(encoding="utf-8")
    ):
        assert (ROOT / path).exists(), path


def test_the_order_of_imports_is_the_one_that_is_enforced() -> None:
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    chain = " ".join(line for line in lines if "←" in line)
    told = [set(layer.strip(" `").split(", ")) for layer in chain.split("←")]
    package = ROOT / "src" / "rl4lms"
    there = [
        {name for name in layer if (package / name).exists() or (package / f"{name}.py").exists()} for layer in LAYERS
    ]
    assert told == [layer for layer in there if layer]


def test_the_limits_of_the_reading_cost_are_those_of_the_script() -> None:
    script = (ROOT / "scripts" / "reading_cost.py").read_text(encoding="utf-8")
    limits = re.search(r"^RL_FILES, RL_LINES, STAND_ALONE_LINES = (\d+), (\d+), (\d+)$", script, re.MULTILINE)
    assert limits
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"at most {limits[1]} files and {limits[2]} lines" in text
    assert f"(at most {limits[3]} lines)" in text
