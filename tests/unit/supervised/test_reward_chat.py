"""Reward models of conversations: trained on what the template writes, and given the same during RL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rl4lms.errors import DataError
from rl4lms.metrics.call import build as build_metric
from rl4lms.metrics.call import compute
from rl4lms.rewards import build, score
from rl4lms.supervised.reward_data import read
from rl4lms.supervised.reward_model import train_reward_model
from tests.tiny import chat_tokenizer, tiny_lm


def say(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def write(path: Path, implicit: bool) -> str:
    with path.open("w") as file:
        for i in range(8):
            prompt, answers = [say("user", f"{i} 1")], ([say("assistant", f"2 {i}")], [say("assistant", f"3 {i}")])
            chosen, rejected = ([*prompt, *one] for one in answers) if implicit else answers
            row: dict[str, Any] = {"chosen": chosen, "rejected": rejected} | ({} if implicit else {"prompt": prompt})
            file.write(json.dumps(row) + "\n")
    return str(path)


def render(messages: list[Any]) -> str:
    return str(chat_tokenizer().apply_chat_template(messages, tokenize=False))


def save_base(folder: Path, **template: None) -> str:
    tokenizer = chat_tokenizer(**template)
    tiny_lm("gpt2", vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("implicit", [False, True])
def test_preferences_are_rendered_with_roles(tmp_path: Path, implicit: bool) -> None:
    data: Any = read(write(tmp_path / "p.jsonl", implicit), template=lambda: render)
    assert data.chosen[1] == "<user> 1 1 </s> <assistant> 2 1 </s> "
    assert data.rejected[1] == "<user> 1 1 </s> <assistant> 3 1 </s> "
    assert (data.has_prompt, data.chat) == (True, True)


def test_conversations_beside_texts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    write(path, False)
    with path.open("a") as file:
        file.write(json.dumps({"prompt": "1", "chosen": "2", "rejected": "3"}) + "\n")
    with pytest.raises(DataError, match=r"p\.jsonl:9: a text, where other rows are conversations"):
        read(str(path), template=lambda: render)


def test_the_score_during_rl_is_that_of_the_rendered_text(tmp_path: Path) -> None:
    out = tmp_path / "rm"
    train_reward_model(
        save_base(tmp_path / "base"), write(tmp_path / "p.jsonl", False), out, epochs=1, batch_size=4, device="cpu"
    )
    history = (say("user", "1 2"), say("assistant", "3"), say("user", "4"))
    batch: dict[str, Any] = {"prompts": ["4"], "completions": ["5 6"], "completion_ids": [[8, 9]], "columns": {}}
    batch |= {"references": [()], "texts": ["anything else"]}
    reward = build({"name": "preference", "model": str(out), "device": "cpu"})
    (found,) = score(reward, **batch, conversations=[history], full_conversations=[history]).scores
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    text = "<user> 1 2 </s> <assistant> 3 </s> <user> 4 </s> <assistant> 5 6 </s> "
    with torch.no_grad():
        by_hand = float(model(**tokenizer(text, return_tensors="pt")).logits[0, 0])
    assert found == pytest.approx(by_hand, abs=1e-5)
    with pytest.raises(DataError, match="was trained on conversations, and a prompt here is a plain text"):
        score(reward, **batch)


def test_without_a_template_the_contents_stand_one_after_the_other(tmp_path: Path) -> None:
    out = tmp_path / "rm"
    base = save_base(tmp_path / "base", template=None)
    train_reward_model(base, write(tmp_path / "p.jsonl", False), out, epochs=1, batch_size=4, device="cpu")
    assert not hasattr(AutoModelForSequenceClassification.from_pretrained(out).config, "rl4lms_chat")


def test_a_classifier_of_conversations_reads_them_with_roles_as_a_reward_and_as_a_metric(tmp_path: Path) -> None:
    path, out = tmp_path / "l.jsonl", tmp_path / "classifier"
    chats = [[say("user", f"{i} 1"), say("assistant", f"{2 + i % 2} {i}")] for i in range(8)]
    rows = [{"text": chat, "label": ["even", "odd"][i % 2]} for i, chat in enumerate(chats)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data: Any = read(str(path), template=lambda: render)
    assert data.texts[1] == "<user> 1 1 </s> <assistant> 3 1 </s> "
    assert (data.has_prompt, data.chat) == (True, True)
    train_reward_model(save_base(tmp_path / "base"), str(path), out, epochs=1, batch_size=4, device="cpu")
    history = (say("user", "1 2"), say("assistant", "3"), say("user", "4"))
    batch: dict[str, Any] = {"prompts": ["4"], "completions": ["5 6"], "columns": {}, "texts": ["anything else"]}
    batch |= {"references": [()]}
    spec = {"name": "classifier", "model": str(out), "label": "odd", "device": "cpu"}
    ids: dict[str, Any] = {"completion_ids": [[8, 9]]}
    (found,) = score(build(spec), **batch, **ids, conversations=[history], full_conversations=[history]).scores
    (measured,) = compute(build_metric(spec), **batch, conversations=[history])
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    text = "<user> 1 2 </s> <assistant> 3 </s> <user> 4 </s> <assistant> 5 6 </s> "
    with torch.no_grad():
        by_hand = float(
            model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0, model.config.label2id["odd"]]
        )
    assert [found, measured.mean] == pytest.approx([by_hand, by_hand], abs=1e-5)
    with pytest.raises(DataError, match=r"'classifier': .* was trained on conversations, and a prompt here is a plain"):
        compute(build_metric(spec), **batch)
