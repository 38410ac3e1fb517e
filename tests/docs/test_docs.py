"""What the documents show is accepted: recipes are read, Python runs, names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from rl4lms.config import recipe_from_dict
from rl4lms.plugins import registry
from rl4lms.rewards import build

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[object]:
    found = [
        (path.name, code)
        for path in sorted(DOCS.glob("*.md"))
        for kind, code in FENCE.findall(path.read_text())
        if kind == language
    ]
    return [pytest.param(code, id=f"{name}-{number}") for number, (name, code) in enumerate(found)]


@pytest.mark.parametrize("code", blocks("yaml"))
def test_recipes_are_accepted(code: str) -> None:
    recipe_from_dict({"model": "gpt2", "data": "prompts.jsonl", **yaml.safe_load(code)})


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (registry.rewards, registry.metrics):
        monkeypatch.setattr(kind, "_entries", dict(kind._entries))
    exec(compile(code, "docs", "exec"), {})


@pytest.mark.parametrize(("document", "kind"), [("rewards.md", registry.rewards), ("metrics.md", registry.metrics)])
def test_every_component_is_named(document: str, kind: registry.Registry) -> None:
    text = (DOCS / document).read_text()
    toys = {"dates", "increasing_numbers", "imdb_grammar"}
    assert [
        name for name in kind.names() if f"`{name}`" not in text and f"name: {name}" not in text and name not in toys
    ] == []


def test_the_first_example_is_a_reward() -> None:
    code = FENCE.search((DOCS / "rewards.md").read_text())
    assert code is not None
    scope: dict[str, object] = {}
    entries = registry.rewards._entries
    registry.rewards._entries = dict(entries)
    try:
        exec(compile(code[2], "docs", "exec"), scope)
        assert build("no_shouting")(completions=["QUIET", "quiet"]) == [pytest.approx(-0.9), 0.0]
    finally:
        registry.rewards._entries = entries


@pytest.mark.parametrize(
    "document",
    sorted([*DOCS.glob("*.md"), DOCS.parent / "README.md", *(DOCS.parent / "reports").glob("*.md")]),
    ids=lambda path: path.name,
)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target
