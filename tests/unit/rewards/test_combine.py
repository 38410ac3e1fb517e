from __future__ import annotations

import pytest

from rl4lms.errors import ConfigError, RewardError
from rl4lms.plugins import registry
from rl4lms.rewards import build, score

BATCH = {
    "prompts": ["p", "q"],
    "completions": ["1 2 3 2020-01-01", "words"],
    "completion_ids": [[5, 5, 5], [6, 7]],
    "references": [(), ()],
    "columns": {},
}


@pytest.fixture(autouse=True)
def rewards(monkeypatch):
    monkeypatch.setattr(registry.rewards, "_entries", dict(registry.rewards._entries))
    register = registry.rewards.register
    register("ones", lambda completions: [1.0 for _ in completions])
    register("dense_ones", lambda completion_ids: [[1.0] * len(ids) for ids in completion_ids])
    register("first_only", lambda completions: [2.0, None])
    register("tagged", lambda completions, tag: [float(value) for value in tag])


def combined(*parts):
    return build({"name": "sum", "parts": list(parts)})


def test_weights_and_parts():
    reward = combined(
        {"reward": "dates", "weight": 2},
        {"reward": {"name": "increasing_numbers", "min_tokens": 8}, "weight": -1, "key": "up"},
    )
    output = score(reward, **BATCH)
    assert output.scores == [pytest.approx(2 - 3 / 4), 0.0]
    assert not output.dense
    assert output.parts == {"dates": [1.0, 0.0], "up": [0.75, 0.0]}


def test_a_sequence_score_joins_a_dense_one_at_the_last_token():
    output = score(combined({"reward": "dense_ones", "weight": 0.5}, {"reward": "ones", "weight": 3}), **BATCH)
    assert output.dense
    assert output.scores == [[0.5, 0.5, 3.5], [0.5, 3.5]]
    assert output.parts == {"dense_ones": [3.0, 2.0], "ones": [1.0, 1.0]}
    assert output.totals() == [4.5, 4.0]


def test_a_row_that_one_part_leaves_out_is_left_out():
    output = score(combined({"reward": "ones"}, {"reward": "first_only"}), **BATCH)
    assert output.scores == [3.0, None]
    assert output.parts == {"ones": [1.0, 1.0], "first_only": [2.0, None]}
    assert score(combined({"reward": "dense_ones"}, {"reward": "first_only"}), **BATCH).scores == [
        [1.0, 1.0, 3.0],
        None,
    ]


def test_columns_reach_the_parts():
    output = score(combined({"reward": "tagged"}, {"reward": "ones"}), **BATCH | {"columns": {"tag": [5, 6]}})
    assert output.scores == [6.0, 7.0]


def test_sums_of_sums_report_every_part():
    inner = {"name": "sum", "parts": [{"reward": "ones", "weight": 2}, {"reward": "dates"}]}
    output = score(combined({"reward": inner, "weight": 10, "key": "inner"}, {"reward": "ones"}), **BATCH)
    assert output.scores == [31.0, 21.0]
    assert output.parts == {
        "inner": [3.0, 2.0],
        "inner/ones": [1.0, 1.0],
        "inner/dates": [1.0, 0.0],
        "ones": [1.0, 1.0],
    }


def test_a_sum_can_be_called_as_any_reward():
    reward = combined({"reward": "ones"}, {"reward": "tagged", "weight": 2})
    assert reward(prompts=["p"], completions=["c"], completion_ids=[[1]], references=[()], tag=[4]) == [9.0]
    assert reward(completions=["c"], tag=[4], trainer_state=None) == [9.0]


def test_mistakes():
    with pytest.raises(ConfigError, match="two parts are called 'ones'"):
        combined({"reward": "ones"}, {"reward": "ones"})
    with pytest.raises(ConfigError, match="parts"):
        combined()
    with pytest.raises(ConfigError, match="did you mean 'weight'"):
        combined({"reward": "ones", "wight": 1})
    with pytest.raises(ConfigError, match="weight"):
        combined({"reward": "ones", "weight": float("nan")})
    with pytest.raises(RewardError, match="row 1 has no tokens"):
        score(combined({"reward": "dense_ones"}, {"reward": "ones"}), **BATCH | {"completion_ids": [[], [1]]})
    registry.rewards.register("broken_part", lambda completions: [1.0])
    with pytest.raises(RewardError, match="1 value for 2"):
        score(combined({"reward": "ones"}, {"reward": "broken_part"}), **BATCH)


# --- products and ensembles
# ---------------------------------------------------------------------------------------------------------------


def test_a_product_of_parts():
    reward = build(
        {
            "name": "product",
            "parts": [{"reward": "dates"}, {"reward": "increasing_numbers", "key": "up"}, {"reward": "ones"}],
        }
    )
    output = score(reward, **BATCH)
    assert output.scores == [pytest.approx(0.3), 0.0]
    assert output.parts == {"dates": [1.0, 0.0], "up": [pytest.approx(0.3), 0.0], "ones": [1.0, 1.0]}


def test_a_product_leaves_out_what_a_factor_leaves_out():
    assert score(
        build({"name": "product", "parts": [{"reward": "ones"}, {"reward": "first_only"}]}), **BATCH
    ).scores == [2.0, None]


def test_an_ensemble_pays_for_disagreement():
    parts = [{"reward": {"name": "tagged"}, "key": "a"}, {"reward": "ones"}]
    columns = {"columns": {"tag": [5, 1]}}
    output = score(build({"name": "ensemble", "parts": parts, "penalty": 0.5}), **BATCH | columns)
    assert output.scores == [pytest.approx(3 - 0.5 * 2), 1.0]  # 5 and 1: mean 3, deviation 2
    assert output.parts == {"a": [5.0, 1.0], "ones": [1.0, 1.0], "disagreement": [2.0, 0.0]}
    assert score(build({"name": "ensemble", "parts": parts}), **BATCH | columns).scores == [3.0, 1.0]


def test_members_of_one_kind_are_numbered():
    output = score(
        build({"name": "ensemble", "parts": [{"reward": "ones"}, {"reward": "ones"}, {"reward": "ones"}]}), **BATCH
    )
    assert set(output.parts) == {"member-1", "member-2", "member-3", "disagreement"}


def test_an_ensemble_leaves_out_what_a_member_leaves_out():
    output = score(build({"name": "ensemble", "parts": [{"reward": "ones"}, {"reward": "first_only"}]}), **BATCH)
    assert output.scores == [1.5, None]
    assert output.parts["disagreement"] == [0.5, None]


def test_equal_keys_are_refused():
    with pytest.raises(ConfigError, match="reward 'product': two parts are called 'ones'"):
        build({"name": "product", "parts": [{"reward": "ones"}, {"reward": "ones"}]})


def test_no_member_hides_the_disagreement():
    with pytest.raises(ConfigError, match="no part can be called 'disagreement'"):
        build({"name": "ensemble", "parts": [{"reward": "ones", "key": "disagreement"}, {"reward": "ones"}]})
