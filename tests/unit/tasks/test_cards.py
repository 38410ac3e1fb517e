"""Every task has a card, and the recipes that it shows are accepted."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml

from rl4lms.config import recipe_from_dict
from rl4lms.plugins import registry

TASKS = sorted(name for name, entry in registry.tasks._entries.items() if str(entry.target).startswith("rl4lms."))
_BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("name", TASKS)
def test_a_card_names_its_task_and_shows_recipes(name: str) -> None:
    task = registry.tasks.get(name)
    card = Path(inspect.getfile(task)).with_name("README.md").read_text(encoding="utf-8")
    assert name in card.splitlines()[0]
    assert f"Task version: **{task.version}**" in card
    recipes = [
        text for block in _BLOCK.findall(card) for text in re.split(r"^(?=task:)", block, flags=re.MULTILINE) if text
    ]
    assert any(recipe_from_dict(yaml.safe_load(text)).task.name == name for text in recipes)  # type: ignore[union-attr]
