from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch

from rl4lms.errors import DataError, RewardError
from rl4lms.rewards import score

BATCH = {
    "prompts": ["p", "q"],
    "completions": ["a", "b c"],
    "completion_ids": [[5], [6, 7]],
    "references": [("x",), ()],
    "columns": {"answer": [1, 2]},
}


def call(reward, **changes):
    return score(reward, **BATCH | changes)


# --- what a reward is given
# ---------------------------------------------------------------------------------------------------------------


def test_only_named_arguments_are_passed():
    def reward(completions, answer):
        assert (completions, answer) == (["a", "b c"], [1, 2])
        return [1, 2]

    assert call(reward).scores == [1.0, 2.0]


def test_keyword_arguments_take_everything():
    def reward(**batch):
        given.update(batch)
        return [0.0, 0.0]

    given: dict[str, object] = {}
    call(reward)
    known = {key: value for key, value in BATCH.items() if key != "columns"} | BATCH["columns"]
    assert given == {**known, "full_prompts": BATCH["prompts"]}  # where only strings are known
    ids = {"texts": ["pa", "q b c"], "full_prompts": ["up", "to q"], "prompt_ids": [[1], [2]]}
    call(reward, **ids)
    assert given == {**known, **ids}


@pytest.mark.parametrize("name", ["texts", "full_prompts", "prompt_ids"])
def test_what_rewards_are_given_is_no_name_for_a_column(name):
    with pytest.raises(DataError, match=f"the data has a column '{name}', a name that is reserved"):
        call(lambda completions: [0.0, 0.0], columns={name: ["a", "b"]})


def test_a_reward_that_needs_texts_where_only_strings_are_known():
    with pytest.raises(DataError, match="needs the data column 'texts'"):
        call(lambda texts: [0.0, 0.0])


def test_a_reward_written_for_trl_works_unchanged():
    """The signature of TRL's documentation: some arguments by name, the rest in **kwargs, hooks on request."""

    def reward(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, **kwargs):
        log_extra("text", completions)
        log_metric("mean", 0.5)
        assert trainer_state.global_step == 0
        return [
            float(len(ids)) if answer else None for ids, answer in zip(completion_ids, kwargs["answer"], strict=True)
        ]

    assert call(reward).scores == [1.0, 2.0]


def test_async_rewards_with_and_without_a_running_loop():
    async def reward(completions):
        await asyncio.sleep(0)
        return [len(text) for text in completions]

    async def notebook():
        return call(reward)

    assert call(reward).scores == [1.0, 3.0]
    assert asyncio.run(notebook()).scores == [1.0, 3.0]


def test_instances_are_called():
    class Reward:
        def __call__(self, completions, **columns):
            return [1.0 for _ in completions]

    assert call(Reward()).scores == [1.0, 1.0]


def test_what_the_reward_does_to_its_arguments_stays_there():
    def reward(completions, completion_ids):
        completions.clear()
        completion_ids[0].append(99)
        return [0, 0]

    call(reward)
    assert BATCH["completions"] == ["a", "b c"]
    assert BATCH["completion_ids"] == [[5], [6, 7]]


@pytest.mark.parametrize(
    "name", ["prompts", "completions", "completion_ids", "references", "trainer_state", "log_extra", "log_metric"]
)
def test_reserved_columns(name):
    with pytest.raises(DataError, match=f"column '{name}'.*reserved"):
        call(lambda completions: [0, 0], columns={name: [1, 2]})


def test_missing_columns_and_wrong_lengths():
    with pytest.raises(DataError, match=r"needs the data column 'question'.*answer"):
        call(lambda completions, question: [0, 0])
    with pytest.raises(RewardError, match="answer has 1 rows for 2"):
        call(lambda completions: [0, 0], columns={"answer": [1]})


def test_errors_of_the_reward_name_it_and_the_place():
    def mine(completions):
        raise ZeroDivisionError("by nothing")

    async def later(completions):
        return {}["key"]

    with pytest.raises(
        RewardError, match=r"reward 'mine' raised ZeroDivisionError: by nothing \(test_call\.py, line \d+\)"
    ) as caught:
        call(mine)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(RewardError, match=r"reward 'later' raised KeyError: 'key' \(test_call\.py"):
        call(later)


def test_errors_meant_for_users_stay_what_they_are():
    def mine(completions):
        raise DataError("no such column")

    with pytest.raises(DataError, match=r"^no such column$"):
        call(mine)


# --- what may come back
# -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "returned",
    [
        [1, 2.0],
        (1.0, 2),
        np.array([1, 2]),
        np.array([1, 2], dtype=np.float32),
        torch.tensor([1.0, 2.0], requires_grad=True),
        torch.tensor([1, 2], dtype=torch.bfloat16),
        [torch.tensor(1.0), np.float64(2)],
        [np.array(1), torch.tensor(2)],
        [True, 2],
    ],
)
def test_numbers(returned):
    output = call(lambda completions: returned)
    assert output.scores == [1.0, 2.0]
    assert all(type(value) is float for value in output.scores)
    assert not output.dense
    assert output.parts == {}


@pytest.mark.parametrize(
    "returned",
    [
        [[1], [2, 3]],
        ([1.0], (2.0, 3.0)),
        [torch.tensor([1.0]), np.array([2, 3])],
        [[torch.tensor(1)], [np.float32(2), 3]],
    ],
)
def test_dense(returned):
    output = call(lambda completions: returned)
    assert output.dense
    assert output.scores == [[1.0], [2.0, 3.0]]
    assert output.totals() == [1.0, 5.0]


def test_a_dense_array_where_lengths_agree():
    assert call(lambda completions: np.ones((2, 3)), completion_ids=[[1, 2, 3]] * 2).scores == [[1.0] * 3] * 2


def test_none_leaves_a_row_out():
    assert call(lambda completions: [None, 2]).scores == [None, 2.0]
    assert call(lambda completions: [None, [1, 2]]).scores == [None, [1.0, 2.0]]
    assert call(lambda completions: [None, None]).totals() == [None, None]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0], "1 value for 2 completions"),
        ([1.0, 2.0, 3.0], "3 values for 2"),
        (1.0, "expected a list"),
        ("ab", "expected a list"),
        (None, "expected a list"),
        ({"a": 1, "b": 2}, "one value for a whole set of texts; a reward needs one per text"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0]}, "several values per text; choose one with the option `key`: a, b"),
        ([1.0, "2"], "row 2 is str '2'"),
        ([float("nan"), 1.0], "row 1 is nan"),
        ([1.0, float("inf")], "row 2 is inf"),
        ([1.0, -float("inf")], "row 2 is -inf"),
        ([1.0, 1j], "row 2 is complex"),
        ([[1.0], 2.0], "row 2 is float 2.0 where other rows are lists"),
        ([[1.0], [2.0]], "row 2 has 1 values for the 2 tokens"),
        ([[1.0], [2.0, None]], "row 2, token 2 is NoneType"),
        ([[1.0], [2.0, float("nan")]], "row 2, token 2 is nan"),
        ([[1.0], [[2.0], [3.0]]], "row 2, token 1 is list"),
        (torch.tensor(1.0), "expected a list"),
        (torch.ones(2, 3), "row 1 has 3 values for the 1 tokens"),
    ],
)
def test_everything_else_is_refused_with_the_place(returned, message):
    def mine(completions):
        return returned

    with pytest.raises(RewardError, match=message) as caught:
        call(mine)
    assert "'mine'" in str(caught.value)
