"""docs/config.md is what the code says, and every setting is explained."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.config import merge_defaults, recipe_from_dict
from rl4lms.config.reader import read_text
from rl4lms.config.reference import blocks, keys, setting_names
from tests.docs.pages import ROOT


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("config_page", ROOT / "scripts" / "config_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_says() -> None:
    page = script()
    assert page.PAGE.read_text(encoding="utf-8") == page.render(), "run python scripts/config_page.py"


def test_every_key_has_a_sentence_and_every_block_an_example_that_can_be_read() -> None:
    examples = script().EXAMPLES
    found = dict(blocks())
    assert set(examples) == set(found)
    for path, block in found.items():
        inner = {name.rpartition(".")[2] for name in found if name.rpartition(".")[0] == path and name}
        for key in keys(block):
            assert key.about or key.name in inner, f"{path}.{key.name} has no description"
        tree, _ = read_text(examples[path], path)
        supervised = {"supervised": {}} if path == "supervised" else {}
        recipe_from_dict(merge_defaults(tree, {"model": "gpt2", "data": "x.jsonl", "reward": "rouge", **supervised}))


@pytest.mark.parametrize(
    "name", [path for path, _ in blocks() if path] + sorted(setting_names() & {"seed", "reward", "rollout.top_p"})
)
def test_show_explains_settings(name: str) -> None:
    result = CliRunner().invoke(app, ["show", name])
    assert result.exit_code == 0
    assert name in result.output


def test_a_setting_that_is_not_there_has_a_suggestion() -> None:
    result = CliRunner().invoke(app, ["show", "rollout.top_q"])
    assert result.exit_code == 2
