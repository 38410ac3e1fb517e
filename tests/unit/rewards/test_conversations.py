"""Rewards on conversations: functions get TRL's form, the library's own rewards and metrics get texts."""

from __future__ import annotations

from typing import Any

import pytest

from rl4lms.errors import RewardError
from rl4lms.rewards import build, score

USER, SYSTEM = {"role": "user", "content": "1 2"}, {"role": "system", "content": "s"}
BATCH: dict[str, Any] = {
    "prompts": ["1 2", "1 2"],
    "completions": ["3", "4 5"],
    "completion_ids": [[5], [6, 7]],
    "references": [("3",), ("3",)],
    "columns": {},
    "conversations": [(USER,), (USER,)],
    "full_conversations": [(SYSTEM, USER), (USER,)],
}
ANSWERS = [[{"role": "assistant", "content": "3"}], [{"role": "assistant", "content": "4 5"}]]


def test_a_function_gets_messages() -> None:
    given: dict[str, Any] = {}

    def reward(**batch: Any) -> list[float]:
        given.update(batch)
        return [1.0, 0.0]

    assert score(reward, **BATCH).scores == [1.0, 0.0]
    assert (given["prompts"], given["completions"]) == ([[USER], [USER]], ANSWERS)
    assert given["full_prompts"] == [[SYSTEM, USER], [USER]]
    assert "conversations" not in given
    given["prompts"][0][0]["content"] = "changed"  # by the reward, whose copies these are
    assert USER["content"] == "1 2"


def test_a_row_whose_prompt_is_a_text_stays_one() -> None:
    def reward(prompts: list[Any], completions: list[Any]) -> list[float]:
        assert (prompts, completions) == ([[USER], "1 2"], [ANSWERS[0], "4 5"])
        return [1.0, 0.0]

    score(reward, **BATCH | {"conversations": [(USER,), ()], "full_conversations": [(USER,), ()]})


def test_rewards_inside_others_get_messages_too() -> None:
    def length(completions: list[Any]) -> list[float]:
        return [float(len(answer[0]["content"].split())) for answer in completions]

    whole = build({"name": "sum", "parts": [{"reward": {"name": "scale", "factor": 2.0, "reward": LENGTH}}]})
    whole.inner[0].inner = (length,)
    assert score(whole, **BATCH).scores == [2.0, 4.0]


LENGTH = {"name": "length_penalty", "at_most": 1}


def test_own_rewards_and_metrics_read_texts() -> None:
    assert score(build({"name": "rouge", "key": "rouge1"}), **BATCH).scores == [1.0, 0.0]
    own = score(build(LENGTH), **BATCH).scores
    without = {name: values for name, values in BATCH.items() if "conversations" not in name}
    assert own == score(build(LENGTH), **without).scores


def test_standardising_over_a_prompt_tells_conversations_apart_that_end_alike() -> None:
    rows = {"completions": ["1", "2", "1", "4"], "completion_ids": [[1]] * 4, "references": [()] * 4, "columns": {}}
    chats = [(USER,), (USER,), (SYSTEM, USER), (SYSTEM, USER)]
    reward = build({"name": "standardise", "over": "prompt", "reward": LENGTH})
    reward.inner = (lambda completions: [float(answer[0]["content"]) for answer in completions],)
    found = score(reward, prompts=["1 2"] * 4, conversations=chats, full_conversations=chats, **rows).scores
    assert found == [-1.0, 1.0, -1.0, 1.0]


@pytest.mark.parametrize("raised", [AttributeError("'list' object has no attribute 'split'"), TypeError("not a str")])
def test_a_function_for_texts_is_told_what_completions_are(raised: Exception) -> None:
    def of_texts(completions: list[str]) -> list[float]:
        raise raised

    rows: dict[str, Any] = {"completion_ids": [[1]], "references": [()], "columns": {}}
    chats = [[{"role": "user", "content": "1 2"}]]
    with pytest.raises(RewardError, match=r"; prompts are conversations.*completion\[0\]\['content'\]$"):
        score(of_texts, prompts=["1 2"], completions=["3"], conversations=chats, full_conversations=chats, **rows)
    with pytest.raises(RewardError) as caught:
        score(of_texts, prompts=["1 2"], completions=["3"], **rows)
    assert "prompts are conversations" not in str(caught.value)
