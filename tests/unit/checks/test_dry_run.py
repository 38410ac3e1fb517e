"""What a dry run says of conversations."""

from __future__ import annotations

import json
from pathlib import Path

from rl4lms.checks.dry_run import describe
from tests.runs import small_recipe

TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}[assistant] "


def test_one_conversation_is_shown_as_the_model_reads_it(tmp_path: Path) -> None:
    rows = [{"prompt": "1 2"}, {"prompt": [{"role": "user", "content": "3 4"}]}]
    file = tmp_path / "chat.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompt = {"max_tokens": 8, "chat_template": TEMPLATE, "system": "5"}
    recipe = small_recipe(tmp_path, data={"train": str(file), "validation": str(file)}, prompt=prompt)
    lines = {line.name: line.value for line in describe(recipe)}
    assert lines["one prompt"] == '"[system] 5 [user] 3 4 [assistant] "'
    plain = small_recipe(tmp_path)
    assert "one prompt" not in {line.name for line in describe(plain)}
