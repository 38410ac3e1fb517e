from __future__ import annotations

import pytest

from rl4lms.errors import DataError
from rl4lms.metrics.rouge import Rouge


def test_worked_by_hand():
    values = Rouge()(completions=["the cat sat"], references=[("the cat ran away",)])
    # unigrams: 2 of 3 and 2 of 4; bigrams: 1 of 2 and 1 of 3; longest common subsequence: the cat
    assert values["rouge1"] == pytest.approx([4 / 7])
    assert values["rouge2"] == pytest.approx([2 / 5])
    assert values["rougeL"] == pytest.approx([4 / 7])


def test_best_reference_counts_for_each_kind():
    one, other = "a b x y", "b a c d"
    values = Rouge()(completions=["a b c d"], references=[(one, other)])
    assert values["rouge1"] == [1.0]  # the second
    assert values["rouge2"] == pytest.approx([1 / 3])  # either: one bigram of three
    assert values["rougeL"] == pytest.approx([0.75])  # a c d or b c d


def test_order_matters_for_lcs_only():
    values = Rouge()(completions=["d c b a"], references=[("a b c d",)])
    assert values["rouge1"] == [1.0]
    assert values["rougeL"] == [0.25]


def test_lsum_joins_lines():
    values = Rouge()(completions=["c d\na b"], references=[("a b\nc d",)])
    assert values["rougeLsum"] == [1.0]
    assert values["rougeL"] == [0.5]


def test_stems_and_case():
    assert Rouge()(completions=["Cats RUNNING"], references=[("cat runs",)])["rouge1"] == [1.0]
    assert Rouge(stemmer=False)(completions=["Cats RUNNING"], references=[("cat runs",)])["rouge1"] == [0.0]


def test_empty_texts_score_zero_and_missing_references_are_an_error():
    assert Rouge()(completions=[""], references=[("a",)])["rougeLsum"] == [0.0]
    assert Rouge()(completions=["a"], references=[("",)])["rouge1"] == [0.0]
    with pytest.raises(DataError, match="row 1 has none"):
        Rouge()(completions=["a", "b"], references=[("a",), ()])
