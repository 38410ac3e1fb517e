"""What is noted of completions that were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rl4lms.config.model import ModelConfig
from rl4lms.evaluation.sample import sample
from tests.runs import save_tiny
from tests.tiny import number_tokenizer

GREEDY, TEMPLATE = (
    "at temperature 0 the 2 completions of a prompt are one and the same text",
    "--chat makes messages of them",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose tokenizer has a chat template."""
    folder = save_tiny(tmp_path_factory.mktemp("chat") / "lm", "gpt2")
    tokenizer = number_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("prompt", "how", "noted"),
    [
        ("1 2", {"decoding": {"temperature": 0.0}, "number": 2}, [GREEDY, TEMPLATE]),
        ("1 2", {"decoding": {"temperature": 0.0}, "number": 2, "chat": True}, [GREEDY]),
        ("1 2", {"decoding": {}, "number": 2}, [TEMPLATE]),
        ([{"role": "user", "content": "1 2"}], {"decoding": {"temperature": 0.0}}, []),
    ],
)
def test_what_is_noted(model: Path, prompt: Any, how: dict[str, Any], noted: list[str]) -> None:
    decoding = {"max_new_tokens": 3, **how.pop("decoding")} if "decoding" in how else {}
    rollout, note = sample(ModelConfig(path=str(model)), [prompt], decoding, **how)
    assert [said in note for said in (GREEDY, TEMPLATE)] == [said in noted for said in (GREEDY, TEMPLATE)]
    if GREEDY in noted:
        assert rollout.completions[0] == rollout.completions[1]
