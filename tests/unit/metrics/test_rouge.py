from __future__ import annotations

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics import build, rouge
from rl4lms.metrics.rouge import Rouge, RougeCombined


def test_worked_by_hand():
    values = Rouge()(completions=["the cat sat"], references=[("the cat ran away",)])
    # unigrams: 2 of 3 and 2 of 4; bigrams: 1 of 2 and 1 of 3; longest common subsequence: the cat
    assert values["rouge1"] == pytest.approx([4 / 7])
    assert values["rouge2"] == pytest.approx([2 / 5])
    assert values["rougeL"] == pytest.approx([4 / 7])
    assert values["rougeLsum"] == pytest.approx([4 / 7])


def test_best_reference_counts_for_each_kind():
    one, other = "a b x y", "b a c d"
    values = Rouge()(completions=["a b c d"], references=[(one, other)])
    assert values["rouge1"] == [1.0]  # the second
    assert values["rouge2"] == pytest.approx([1 / 3])  # either: one bigram of three
    assert values["rougeL"] == pytest.approx([0.75])  # a c d or b c d


def test_mean_of_references():
    values = Rouge(multi_reference="mean")(completions=["a b c d"], references=[("a b x y", "b a c d")])
    assert values["rouge1"] == pytest.approx([(0.5 + 1) / 2])
    assert values["rouge2"] == pytest.approx([1 / 3])
    assert values["rougeL"] == pytest.approx([(0.5 + 0.75) / 2])


def test_combined_takes_the_best_of_each_kind_first():
    row = {"completions": ["a b c d"], "references": [("a b x y", "b a c d")]}
    assert RougeCombined()(**row) == {"rouge_combined": [pytest.approx((1 + 1 / 3 + 0.75) / 3)]}
    assert RougeCombined(multi_reference="mean")(**row) == {
        "rouge_combined": [pytest.approx((0.75 + 1 / 3 + 0.625) / 3)]
    }


def test_order_matters_for_lcs_only():
    values = Rouge()(completions=["d c b a"], references=[("a b c d",)])
    assert values["rouge1"] == [1.0]
    assert values["rougeL"] == [0.25]


def test_lsum_joins_lines():
    values = Rouge()(completions=["c d\na b"], references=[("a b\nc d",)])
    assert values["rougeLsum"] == [1.0]
    assert values["rougeL"] == [0.5]


def test_lsum_counts_no_word_more_often_than_the_text_has_it():
    # both lines of the reference find the text's only a
    assert Rouge()(completions=["a"], references=[("a\na",)])["rougeLsum"] == pytest.approx([2 / 3])


def test_lines_without_words_are_no_lines():
    assert Rouge()(completions=["a b\n\n...\n"], references=[("\n!\na b",)])["rougeLsum"] == [1.0]


def test_stems_and_case():
    assert Rouge()(completions=["Cats RUNNING"], references=[("cat runs",)])["rouge1"] == [1.0]
    assert Rouge(stemmer=False)(completions=["Cats RUNNING"], references=[("cat runs",)])["rouge1"] == [0.0]


def test_stemmed_and_plain_references_are_remembered_apart():
    row = {"completions": ["running"], "references": [("runs",)]}
    assert [Rouge(stemmer=stemmer)(**row)["rouge1"] for stemmer in (True, False, True)] == [[1.0], [0.0], [1.0]]


def test_references_are_prepared_once():
    rouge.prepared_reference.cache_clear()
    for _ in range(3):
        Rouge()(completions=["a", "b"], references=[("only here",), ("only here", "and here")])
    assert rouge.prepared_reference.cache_info().misses == 2


@pytest.mark.parametrize("metric", [Rouge(), RougeCombined()])
def test_empty_texts_score_zero_and_missing_references_are_an_error(metric):
    for completion, reference in (
        ("", "a"),
        ("a", ""),
        ("", ""),
        ("?!", "?!"),
        ("\ud800", "\ud800"),
        ("日本", "日本"),
        ("é 🙂", "é"),
    ):
        assert set(map(tuple, metric(completions=[completion], references=[(reference,)]).values())) == {(0.0,)}
    with pytest.raises(DataError, match="row 2 has none"):
        metric(completions=["a", "b"], references=[("a",), ()])


def test_signature_names_the_options():
    assert Rouge(stemmer=False).signature.startswith("rouge|stemmer:no|refs:max|tok:latin|lsum:lines|version:rl4lms-")
    assert RougeCombined(multi_reference="mean").signature.startswith("rouge_combined|stemmer:yes|refs:mean|")


def test_precision_and_recall_are_reported_where_asked_for():
    values = Rouge(report=["recall", "precision"])(completions=["the cat sat"], references=[("the cat ran away",)])
    assert values["rouge1_precision"] == pytest.approx([2 / 3])
    assert values["rouge1_recall"] == pytest.approx([2 / 4])
    assert values["rouge2_recall"] == pytest.approx([1 / 3])
    assert "rouge1" not in values
    assert set(Rouge()(completions=["a"], references=[("a",)])) == {"rouge1", "rouge2", "rougeL", "rougeLsum"}


def test_they_are_those_of_the_reference_with_the_best_f1():
    # a recall of 1 with the first, but a better F1 with the second
    values = Rouge(report=["f", "precision", "recall"])(["a b c d"], [("a", "a b c e")])
    assert (values["rouge1"], values["rouge1_precision"], values["rouge1_recall"]) == ([0.75], [0.75], [0.75])


@pytest.mark.parametrize("report", [[], ["f1"], "f1"])
def test_what_cannot_be_reported(report):
    with pytest.raises(ConfigError, match=r"metric 'rouge', option 'report"):
        build({"name": "rouge", "report": report})
