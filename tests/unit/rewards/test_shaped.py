from __future__ import annotations

import functools
import math

import pytest

from rl4lms.errors import RewardError
from rl4lms.rewards import build, score
from rl4lms.rewards.shaped import Shaped
from tests.tiny import number_tokenizer

WORDS = ["the", " cat", " sat", ",", " un", "believ", "ably", " \ufffd", "é"]


def decode(rows):
    return ["".join(WORDS[i] for i in row) for row in rows]


def characters(completions):
    return [float(len(text)) for text in completions]


def batch(*ids):
    return {
        "prompts": ["p"] * len(ids),
        "completions": decode(ids),
        "completion_ids": [list(row) for row in ids],
        "references": [("the cat sat",)] * len(ids),
        "columns": {"tag": [str(i) for i in range(len(ids))]},
    }


def shaped(reward, every="word"):
    built = Shaped(reward, every=every)
    built.use_tokenizer(decode)
    return built


def test_a_token_gets_what_it_adds():
    output = score(shaped(characters, "token"), **batch([0, 1, 2], [0], []))
    assert output.scores == [[3.0, 4.0, 4.0], [3.0], []]
    assert output.dense


def test_words_are_paid_where_they_end():
    # "the cat sat, unbelievably": the comma belongs to the next payment, and the parts of a word to its last token
    assert score(shaped(characters), **batch([0, 1, 2, 3, 4, 5, 6])).scores == [[3.0, 4.0, 4.0, 0.0, 0.0, 0.0, 14.0]]


def test_a_completion_of_one_token_gets_its_whole_score():
    tokenizer = number_tokenizer()
    reward = Shaped("increasing_numbers", every="token")
    reward.use_tokenizer(functools.partial(tokenizer.batch_decode, skip_special_tokens=True))
    one = {"prompts": ["p"], "completions": ["7"], "completion_ids": [[7]], "references": [()], "columns": {}}
    assert score(reward, **one).scores == [[pytest.approx(0.1)]]


def test_half_a_character_is_no_text_yet():
    assert score(shaped(characters, "token"), **batch([0, 7, 8])).scores[0][1] == 1.0  # the space alone


@pytest.mark.parametrize("every", ["token", "word"])
@pytest.mark.parametrize("name", ["rouge_combined", "increasing_numbers"])
def test_tokens_sum_up_to_the_sequence_score(every, name):
    rows = [[i % 9 for i in range(k, k + length)] for k in range(9) for length in (1, 2, 5, 9)]
    whole, parts = score(build(name), **batch(*rows)), score(shaped(name, every), **batch(*rows))
    for expected, row in zip(whole.scores, parts.scores, strict=True):
        assert math.fsum(row) == pytest.approx(expected, abs=1e-12)
    assert parts.totals() == pytest.approx(whole.scores)


def test_each_prefix_keeps_the_columns_of_its_row():
    seen = []

    def spy(prompts, completions, completion_ids, references, tag):
        seen.extend(zip(completions, completion_ids, tag, strict=True))
        return [0.0] * len(tag)

    score(shaped(spy, "token"), **batch([0, 1], [2]))
    assert seen == [("the", [0], "0"), ("the cat", [0, 1], "0"), (" sat", [2], "1")]


def test_a_row_without_a_score_is_left_out():
    reward = shaped(lambda completions: [None if "cat" in text else 1.0 for text in completions], "token")
    assert score(reward, **batch([0, 1], [0, 2])).scores == [None, [1.0, 0.0]]


def test_parts_are_those_of_whole_completions():
    inner = build({"name": "sum", "parts": [{"reward": "rouge_combined", "weight": 2}, {"reward": "dates"}]})
    output = score(shaped(inner), **batch([0, 1, 2], [3]))
    assert output.parts == {"rouge_combined": [1.0, 0.0], "dates": [0.0, 0.0]}


def test_what_it_needs():
    with pytest.raises(RewardError, match="has no tokenizer to make prefixes with"):
        score(build({"name": "shaped", "reward": "rouge_combined"}), **batch([0]))
    with pytest.raises(RewardError, match="'shaped' needs one score per completion"):
        score(shaped(lambda completion_ids: [[1.0] * len(ids) for ids in completion_ids]), **batch([0, 1]))
