from __future__ import annotations

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics import compute
from rl4lms.metrics.local_recall import LocalRecall
from rl4lms.rewards import build as build_reward
from rl4lms.rewards import score

GOLD = [("A cat sat.", "the cat sat", "the cat"), ("dogs run", "dogs ran , fast")]


def test_by_hand():
    """cat is a word of three, sat and the of two, a of one; dogs of two, run, ran and fast of one."""
    values = LocalRecall()(completions=["The cat!", "dogs run fast"], references=GOLD)
    assert values["sentence_local_recall-1"] == [0.0, pytest.approx(2 / 3)]
    assert values["sentence_local_recall-2"] == [0.5, 1.0]
    assert values["sentence_local_recall-3"] == [1.0, None]
    assert values["local_recall-1"].value == pytest.approx(2 / 4)
    assert values["local_recall-2"].value == pytest.approx(2 / 3)
    assert (values["local_recall-3"].value, values["local_recall-3"].n) == (1.0, 1)


def test_a_level_without_words_has_no_key():
    values = LocalRecall()(completions=["a"], references=[("a b", "c d")])
    assert set(values) == {"local_recall-1", "sentence_local_recall-1"}
    assert LocalRecall()(completions=["a"], references=[("?",)]) == {}
    assert compute(LocalRecall(), prompts=[""], completions=["a"], references=[""], columns={}) == []


def test_tokenizers():
    batch = {"completions": ["猫坐"], "references": [("猫坐在", "猫")]}
    assert LocalRecall()(**batch)["local_recall-1"].value == 0
    assert LocalRecall(tokenizer="characters")(**batch)["local_recall-1"].value == 0.5
    assert "tok:characters" in LocalRecall(tokenizer="characters").signature


def test_as_a_reward_it_needs_a_level():
    reward = build_reward({"name": "local_recall", "key": "sentence_local_recall-2"})
    batch = {"prompts": ["", ""], "completions": ["the cat", "x"], "completion_ids": [[1], [1]], "columns": {}}
    assert score(reward, **batch, references=GOLD).scores == [0.5, 0.0]
    assert LocalRecall.needs_references
    with pytest.raises((ConfigError, DataError, RuntimeError), match="key"):
        score(build_reward("local_recall"), **batch, references=GOLD)


def test_rows_do_not_see_each_other_and_any_text_has_a_value():
    texts, gold = ["the cat", "", "\ud800 é 日本"], [GOLD[0], GOLD[1], ("é", "日本 é", "?")]
    together = LocalRecall()(completions=texts, references=gold)
    for row, text in enumerate(texts):
        alone = LocalRecall()(completions=[text], references=[gold[row]])
        for k in (1, 2, 3):
            key = f"sentence_local_recall-{k}"
            assert together[key][row] == alone.get(key, [None])[0]
    best = LocalRecall()(completions=["A cat sat the"], references=GOLD[:1])
    assert all(value == [1.0] for key, value in best.items() if key.startswith("sentence"))
