from __future__ import annotations

import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl4lms.errors import ConfigError, RewardError
from rl4lms.rewards import build, load_state, nested, score, state_of
from rl4lms.rewards.combine import Sum
from rl4lms.rewards.transform import Clip, Scale, Standardise
from tests.unit.rewards.words import batch, giving, scored


def test_scale_is_a_line_and_leaves_none_alone():
    output = scored(Scale(giving(1.0, None, -2.0), factor=2.0, offset=0.5), "a", "b", "c")
    assert output.scores == [2.5, None, -3.5]
    assert output.parts == {"raw": [1.0, None, -2.0]}


def test_scale_of_a_dense_reward_puts_the_offset_on_the_last_token():
    output = scored(Scale(giving([1.0, 2.0], [], [3.0]), factor=10.0, offset=1.0), "a b", "", "c")
    assert output.scores == [[10.0, 21.0], [], [31.0]]


def test_clip():
    output = scored(Clip(giving(-3.0, 0.25, 3.0, None), low=-1, high=1), "a", "b", "c", "d")
    assert output.scores == [-1.0, 0.25, 1.0, None]
    assert output.parts["raw"] == [-3.0, 0.25, 3.0, None]
    assert scored(Clip(giving(-3.0, 3.0), high=1), "a", "b").scores == [-3.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "name low, high or both"), ({"low": 1, "high": 1}, "low 1 must be below high 1")],
)
def test_bounds_must_make_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        build({"name": "clip", "reward": "dates", **options})


@pytest.mark.parametrize("name", ["clip", "standardise", "product", "ensemble"])
def test_one_score_per_completion_is_needed(name):
    dense = giving([1.0])
    rewards = {"clip": lambda: Clip(dense, low=0), "standardise": lambda: Standardise(dense)}
    if name in rewards:
        reward = rewards[name]()
    else:
        reward = build({"name": name, "parts": [{"reward": "dates"}, {"reward": "dates", "key": "other"}]})
        reward.inner = (dense, giving(1.0))
    with pytest.raises(
        RewardError, match=f"^reward '{name}' needs one score per completion, and the reward inside gives one per token"
    ):
        scored(reward, "a")


def test_standardised_over_the_batch():
    output = scored(Standardise(giving(1.0, 2.0, None, 6.0), over="batch"), "a", "b", "c", "d")
    kept = [1.0, 2.0, 6.0]
    expected = [(value - 3.0) / statistics.pstdev(kept) for value in kept]
    assert [output.scores[i] for i in (0, 1, 3)] == pytest.approx(expected)
    assert output.scores[2] is None
    assert output.parts["raw"] == [1.0, 2.0, None, 6.0]


@pytest.mark.parametrize("over", ["batch", "running", "prompt"])
@given(score_of_all=st.floats(-1e6, 1e6), n=st.integers(2, 9), calls=st.integers(1, 3))
def test_equal_scores_become_zero(over, score_of_all, n, calls):
    reward, rows = Standardise(giving(*[score_of_all] * n), over=over), batch(*["a"] * n, prompts=["p"] * n)
    for _ in range(calls):
        assert score(reward, **rows).scores == [0.0] * n


def test_small_differences_on_a_large_score_count():
    assert scored(Standardise(giving(1e6, 1e6 + 1e-4), over="batch"), "a", "b").scores == pytest.approx(
        [-1.0, 1.0], rel=1e-3
    )


def test_a_transform_inside_another_keeps_both_scores():
    output = scored(Clip({"name": "scale", "factor": 2.0, "reward": "dates"}, high=1.5), "2020-01-01")
    assert output.scores == [1.5]
    assert output.parts == {"scale": [2.0], "raw": [1.0]}


def test_standardised_over_the_completions_of_a_prompt_wherever_they_stand():
    reward = Standardise(giving(1.0, 10.0, 3.0, 20.0), over="prompt")
    output = score(reward, **batch("a", "b", "c", "d", prompts=["p", "q", "p", "q"]))
    assert output.scores == pytest.approx([-1.0, -1.0, 1.0, 1.0])
    with pytest.raises(RewardError, match=r"every prompt has one; raise rollout\.completions_per_prompt"):
        scored(reward, "a", "b", "c", "d")


def test_running_statistics_are_those_of_all_scores_so_far():
    reward, seen = Standardise(giving(), over="running"), []
    for scores in ([1.0, 5.0, 2.0], [100.0, None, 3.0], [None, None, None], [-7.5, 0.0, 1e-3]):
        reward.inner = (giving(*scores),)
        output = scored(reward, "a", "b", "c")
        seen += [value for value in scores if value is not None]
        mean, deviation = statistics.fmean(seen), statistics.pstdev(seen)
        for value, got in zip(scores, output.scores, strict=True):
            assert got is None if value is None else got == pytest.approx((value - mean) / deviation, rel=1e-12)


def test_evaluations_report_scores_as_they_are_and_change_no_statistics():
    reward = Standardise(giving(1.0, 5.0))
    before = reward.state_dict()
    assert scored(reward, "a", "b", training=False).scores == [1.0, 5.0]
    assert reward.state_dict() == before
    whole = Sum([{"reward": "dates", "weight": 2.0}])
    whole.inner = (reward,)
    assert scored(whole, "a", "b", training=False).scores == [2.0, 10.0]


def test_states_survive_json_also_deep_inside():
    def deep():
        return build(
            {
                "name": "sum",
                "parts": [
                    {
                        "reward": {
                            "name": "scale",
                            "factor": 2.0,
                            "reward": {"name": "standardise", "reward": "increasing_numbers"},
                        }
                    },
                    {"reward": {"name": "standardise", "reward": "dates"}},
                ],
            }
        )

    one, texts = deep(), ("1 2 3", "2020-01-01", "x")
    scored(one, *texts)
    other = deep()
    load_state(other, json.loads(json.dumps(state_of(one))))
    assert len(state_of(other)) == 2
    assert scored(other, *texts).scores == scored(one, *texts).scores
    assert scored(deep(), *texts).scores != scored(one, *texts).scores


def test_states_of_another_reward_are_refused():
    with pytest.raises(RewardError, match="the state of 2 rewards, and this reward has 1"):
        load_state(Standardise("dates"), [{}, {}])


def test_nested_names_everything_from_the_outside_in():
    reward = build(
        {
            "name": "clip",
            "low": 0,
            "reward": {"name": "product", "parts": [{"reward": "dates"}, {"reward": "rouge_combined"}]},
        }
    )
    assert [type(part).__name__ for part in nested(reward)] == [
        "Clip",
        "Product",
        "MetricReward",
        "Dates",
        "MetricReward",
        "RougeCombined",
    ]
