"""Rewards that run beside the model's work: which, in what thread, and what happens to their errors."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rl4lms.errors import RewardError
from rl4lms.rewards import build
from rl4lms.rewards.background import begin_scoring
from rl4lms.rewards.call import score_rollout
from rl4lms.rewards.combine import Sum
from rl4lms.rewards.faults import STRICT
from tests.runs import small_loop


@pytest.fixture(scope="module")
def rollout(tmp_path_factory):
    loop = small_loop(tmp_path_factory.mktemp("loop"))
    return loop.engine.rollout(loop.samples[:4], loop.recipe.rollout, stream="train", step=0)


class Waiting:
    """A reward that is not done before the model's work is."""

    def __init__(self, in_background: bool) -> None:
        self.in_background, self.work_is_done = in_background, threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self, completions, **columns):
        self.thread = threading.current_thread()
        assert self.work_is_done.wait(10)
        return [1.0] * len(completions)


def test_a_reward_beside_begins_at_once_in_a_thread_of_its_own(rollout):
    reward = Waiting(in_background=True)
    result = begin_scoring(reward, rollout, STRICT)
    while reward.thread is None:  # it has begun while nobody asks for the result
        pass
    reward.work_is_done.set()
    assert result().scores == [1.0] * 4
    assert reward.thread is not threading.current_thread()
    assert reward.thread.daemon


def test_any_other_reward_runs_where_it_is_asked_for(rollout):
    reward = Waiting(in_background=False)
    result = begin_scoring(reward, rollout, STRICT)
    assert reward.thread is None
    reward.work_is_done.set()
    assert result().scores == [1.0] * 4
    assert reward.thread is threading.current_thread()


def test_errors_arrive_where_the_result_is_asked_for(rollout):
    class Failing:
        in_background = True

        def __call__(self, completions):
            raise ValueError("no")

    result = begin_scoring(Failing(), rollout, STRICT)
    with pytest.raises(RewardError, match="reward 'Failing' raised ValueError: no"):
        result()


@pytest.mark.parametrize(
    ("reward", "in_background"),
    [
        ("rouge_combined", True),
        ({"name": "length_penalty", "at_most": 5}, True),
        ({"name": "sum", "parts": [{"reward": "rouge_combined"}, {"reward": {"name": "repetition_penalty"}}]}, True),
        ({"name": "shaped", "reward": "rouge_combined"}, True),
        ({"name": "http", "url": "http://127.0.0.1:9/"}, True),
    ],
)
def test_which_of_ours_run_in_background(reward, in_background):
    assert build(reward).in_background is in_background


def test_a_composition_runs_beside_if_all_of_it_does(tmp_path: Path):
    (tmp_path / "mine.py").write_text("def mine(completions):\n    return [0.0] * len(completions)\n")
    reward = {"name": "sum", "parts": [{"reward": "rouge_combined"}, {"reward": f"{tmp_path}/mine.py:mine"}]}
    assert build(reward).in_background is False  # somebody's function may need the main thread, for signals say


def test_parts_of_a_mixed_sum_run_beside_each_other(rollout):
    """The first part ends when the second one, which stays in this thread, has begun."""
    waiting = Waiting(in_background=True)

    def here(completions):
        waiting.work_is_done.set()
        return [2.0] * len(completions)

    whole = Sum([{"reward": "dates", "key": "beside"}, {"reward": "dates", "key": "here", "weight": 10.0}])
    whole.inner = (waiting, here)
    assert whole.in_background is False
    output = score_rollout(whole, rollout)
    assert output.scores == [21.0] * 4
    assert list(output.parts) == ["beside", "here"]
    assert waiting.thread is not threading.current_thread()


def test_an_error_of_a_part_beside_names_the_part(rollout):
    class Failing:
        in_background = True

        def __call__(self, completions):
            raise ValueError("no")

    whole = Sum([{"reward": "dates", "key": "first"}, {"reward": "dates", "key": "second"}])
    whole.inner = (Failing(), lambda completions: [0.0] * len(completions))
    with pytest.raises(RewardError, match="part 'first' of the sum: reward 'Failing' raised ValueError: no"):
        score_rollout(whole, rollout)
