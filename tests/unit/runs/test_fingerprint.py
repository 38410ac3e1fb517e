"""Files that a run must find unchanged when it goes on."""

from __future__ import annotations

from pathlib import Path

from rl4lms.config import recipe_from_dict
from rl4lms.runs.fingerprint import difference, fingerprint


def test_a_template_file_that_was_changed_is_told(tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{{ messages }}")
    recipe = recipe_from_dict({"model": "m", "data": "p.jsonl", "prompt": {"chat_template": str(file)}})
    before = fingerprint(recipe)
    assert fingerprint(recipe) == before
    file.write_text("{{ messages[0] }}")
    after = fingerprint(recipe)
    (key,) = (key for key in before if before[key] != after[key])
    assert difference(key, before, after) == f"the file {file} has changed"


def test_a_template_that_is_written_out_is_no_file() -> None:
    recipe = recipe_from_dict({"model": "m", "data": "p.jsonl", "prompt": {"chat_template": "{{ messages }}"}})
    assert not any("sha256" in key for key in fingerprint(recipe))
