"""Runs on conversations from end to end: training, evaluation, generation, the model that is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import rl4lms
from rl4lms.errors import ConfigError, ModelError
from tests.tiny import CHAT_TEMPLATE, chat_tokenizer, tiny_lm

SETTINGS: dict[str, Any] = {
    "device": "cpu",
    "prompt": {"max_tokens": 16, "system": "7"},
    "rollout": {"max_new_tokens": 5},
    "training": {"iterations": 1, "prompts_per_iteration": 4},
    "evaluation": {"every": 0, "prompts": 4, "metrics": ["diversity", "reference_perplexity"]},
    "tracking": {"progress": False},
}


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


ROWS = [{"prompt": user(f"{i} {i + 1}"), "references": ["3 4"]} for i in range(16)]
SEEN: list[Any] = []


def answers(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    SEEN.append((prompts, completions))
    return [float(len(answer[0]["content"].split())) for answer in completions]


def save_chat(folder: Path, template: str | None = CHAT_TEMPLATE, family: str = "gpt2") -> str:
    tokenizer = chat_tokenizer(template)
    tiny_lm(family, vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def train(tmp_path: Path, model: str, data: Any = ROWS, **settings: Any) -> rl4lms.RunResult:
    folder = {"output_dir": str(tmp_path / "run")}
    return rl4lms.train(model, data=data, reward=answers, **{**SETTINGS, **folder, **settings})


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_run_on_conversations(tmp_path: Path, family: str) -> None:
    SEEN.clear()
    result = train(tmp_path, save_chat(tmp_path / "lm", family=family))
    prompts, completions = SEEN[-1]
    assert all(len(prompt) == 1 and prompt[0]["role"] == "user" for prompt in prompts)
    assert all(answer[0]["role"] == "assistant" for answer in completions)
    assert result.metrics["eval/reference_perplexity"] > 1
    (file,) = sorted((tmp_path / "run" / "samples").iterdir())[-1:]
    record = json.loads(file.read_text().splitlines()[0])
    assert record["messages"] == user(record["prompt"])
    if family == "gpt2":
        assert record["text"].startswith(f"<system> 7 <user> {record['prompt']} <assistant>")


def test_a_run_generates_with_its_own_prompt_settings(tmp_path: Path) -> None:
    result = train(tmp_path, save_chat(tmp_path / "lm"))
    how: dict[str, Any] = {"temperature": 0}
    of_run = rl4lms.generate(result, [user("1 2")], **how)
    of_model = rl4lms.generate(str(result.model), [user("1 2")], system="7", **how, max_new_tokens=5)
    rendered = rl4lms.generate(result, ["<system> 7 </s> <user> 1 2 </s> <assistant>"], **how)
    assert of_run == of_model == rendered
    assert rl4lms.generate(result, ["1 2"], chat=True, **how) == of_run


def test_a_template_that_is_given_is_saved_with_the_model(tmp_path: Path) -> None:
    prompt = {"max_tokens": 16, "chat_template": CHAT_TEMPLATE}
    result = train(tmp_path, save_chat(tmp_path / "lm", None), prompt=prompt)
    assert AutoTokenizer.from_pretrained(result.model).chat_template == CHAT_TEMPLATE


def test_a_tokenizer_without_a_template_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the tokenizer has no chat template"):
        train(tmp_path, save_chat(tmp_path / "lm", None))


def test_settings_of_conversations_are_refused_for_texts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prompt\.system has no effect"):
        train(tmp_path, save_chat(tmp_path / "lm"), data=["1 2", "3 4", "5 6", "7 8"])
    with pytest.raises(ConfigError, match=r"prompt\.system has no effect"):
        rl4lms.generate(str(tmp_path / "lm"), ["1 2"], system="7")


def test_lists_of_conversations_are_data(tmp_path: Path) -> None:
    data = [user(str(i)) for i in range(8)]
    result = train(
        tmp_path, save_chat(tmp_path / "lm"), data=data, evaluation={"every": 0, "prompts": 4, "metrics": []}
    )
    assert result.metrics["eval/reward"] >= 0
