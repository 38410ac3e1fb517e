from __future__ import annotations

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.rewards import build, score
from tests.unit.rewards.words import batch


def values(component, *completions, **columns):
    return score(build(component), **batch(*completions, **columns)).scores


def test_length_within_bounds_costs_nothing():
    penalty = {"name": "length_penalty", "at_least": 2, "at_most": 3, "slope": 0.25}
    assert values(penalty, "", "a", "a b", "a b c", "a b c d", "a b c d e f g h i j") == [
        -0.5,
        -0.25,
        0.0,
        0.0,
        -0.25,
        -1.0,
    ]


def test_length_in_tokens_and_characters():
    assert values({"name": "length_penalty", "at_most": 1, "unit": "tokens"}, "aaa bbb") == [-0.1]
    assert values({"name": "length_penalty", "at_least": 9, "unit": "characters"}, "aaa bbb") == pytest.approx([-0.2])


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "name at_least, at_most or both"), ({"at_least": 5, "at_most": 4}, "at_most 4 must not be below at_least 5")],
)
def test_length_bounds_must_make_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        build({"name": "length_penalty", **options})


def test_repeated_ngrams():
    # "a b" three times in five bigrams (a b, b a, a b, b a, a b): two kinds, so three of five are repetitions
    assert values({"name": "repetition_penalty", "n": 2}, "A b a B a b", "a b c", "a", "") == [
        pytest.approx(-3 / 5),
        0.0,
        0.0,
        0.0,
    ]


def test_copies_of_a_commongen_prompt():
    texts = ("Dog catch frisbee", "generate it", "One sentence.", "a dog catches a frisbee", "")
    concepts = [["dog", "catch", "frisbee"]] * 5
    assert values("commongen_penalty", *texts, concepts=concepts) == [-1.0, -1.0, -1.0, 0.0, 0.0]
    assert values("commongen_penalty", *texts, concepts=["dog catch frisbee"] * 5) == [-1.0, -1.0, -1.0, 0.0, 0.0]
    assert values(
        {"name": "commongen_penalty", "instruction": "Write about"}, "We write about it", concepts=[["x"]]
    ) == [-1.0]


def test_missing_concepts_divide():
    texts = ("the dogs ran", "a dog", "nothing")
    concepts = [["dog", "run"]] * 3
    assert values({"name": "concept_penalty", "weight": 2.0}, *texts, concepts=concepts) == [
        1.0,
        pytest.approx(1 / 3),
        pytest.approx(1 / 5),
    ]
    assert values({"name": "concept_penalty", "inflect": False}, texts[0], concepts=concepts[:1]) == [
        pytest.approx(1 / 3)
    ]


@pytest.mark.parametrize("name", ["commongen_penalty", "concept_penalty"])
def test_a_missing_column_is_named(name):
    with pytest.raises(
        DataError,
        match=f"{name} needs the data column 'concepts'; there are: completion_ids, full_prompts, .*topic",
    ):
        values(name, "a", topic=["x"])


def test_the_preference_reward_of_the_paper_can_be_written_down():
    """preference / (1 + penalty * missing concepts) + coefficient * overlap, with a metric in the place of the
    model.
    """
    reward = {
        "name": "sum",
        "parts": [
            {
                "key": "preference",
                "reward": {
                    "name": "product",
                    "parts": [{"reward": "increasing_numbers"}, {"reward": {"name": "concept_penalty", "weight": 3}}],
                },
            },
            {"reward": "rouge_combined", "weight": 0.5},
        ],
    }
    output = score(build(reward), **batch("1 2 3 4 5 6 7 8 9 10", concepts=[["dog"]]))
    assert output.scores == [pytest.approx(1 / 4)]
    assert output.parts["preference/concept_penalty"] == [0.25]
    assert set(output.parts) == {
        "preference",
        "preference/increasing_numbers",
        "preference/concept_penalty",
        "rouge_combined",
    }


CHINESE = "猫坐在窗边看鸟"


def test_repetition_in_a_text_without_spaces():
    penalty = build({"name": "repetition_penalty", "n": 2})
    once, twice = penalty(completions=[CHINESE, CHINESE * 2])
    assert once == 0
    assert twice == pytest.approx(7 / 13 - 1)  # 13 pairs, of which 7 differ
    assert penalty(completions=["a_b c猫d, a_b c猫d"]) == [pytest.approx(5 / 8 - 1)]  # words a_b, c, 猫, d and a comma


def test_the_length_in_words_of_a_text_without_spaces_is_told(caplog):
    given = {"completions": [CHINESE], "completion_ids": [[1, 2]]}
    for unit in ("characters", "tokens"):
        build({"name": "length_penalty", "at_least": 1, "unit": unit})(**given)
    assert not caplog.records
    build({"name": "length_penalty", "at_least": 1})(**given)
    assert "length_penalty: the tokenizer takes 1 texts" in caplog.text
    assert "set unit: characters or tokens" in caplog.text
