from __future__ import annotations

import math

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics import build
from rl4lms.metrics.parent import Parent

TABLE = [["name", "ann lee"], ["job", "pilot"]]
WHITESPACE = {"tokenize": "whitespace"}


def one(text: str, *references: str, table: object = TABLE, **options: object) -> tuple[float, float, float]:
    """F1, precision, recall."""
    values = Parent(**({"tokenize": "whitespace"} | options))([text], [references], table=[table])
    return tuple(values[key][0] for key in ("parent", "parent_precision", "parent_recall"))


def test_precision_by_hand():
    # words: ann and is are in the reference, pilot in the table only, x in neither
    _, precision, _ = one("ann is pilot x", "ann is a dancer")
    one_word = (1 + 1 + 1 + 0) / 4
    two_words = (
        1 + 1 / 2 + 1 / 2
    ) / 3  # "ann is" in the reference; "is pilot", "pilot x": half of the words in the table
    three_words = (2 / 3 + 1 / 3) / 2
    four_words = 2 / 4
    assert precision == pytest.approx((one_word * two_words * three_words * four_words) ** 0.25)
    # what the reference has once counts once; beyond that the table decides
    _, precision, _ = one("is is ann ann", "is ann", table=[["name", "ann"]])
    assert precision == pytest.approx(((1 + 0 + 1 + 1) / 4 * (0 + 1 + 1) / 3 * (1 / 3 + 2 / 3) / 2 * (2 / 4)) ** 0.25)


def test_recall_by_hand():
    # of the reference, n-grams count as far as the table entails them: ann 1, is 0; "ann is" 1/2, "is pilot" 1/2, ...
    _, _, recall = one("ann is here", "ann is pilot", recall_weight=1.0)
    # No triple in common; there is no quadruple to expect
    assert recall == pytest.approx((1 / 2 * (1 / 2) / 1 * 1e-5 * 1) ** 0.25)
    # of the table: half of the name, none of the job
    _, _, recall = one("ann is here", "ann is pilot", recall_weight=0.0)
    assert recall == pytest.approx((1 / 2 + 0) / 2)
    _, _, half = one("ann is here", "ann is pilot", recall_weight=0.5)
    assert half == pytest.approx(math.sqrt(0.25 * (0.25e-5) ** 0.25))
    # by itself the weight is what the reference mentions of the table: half of the name, all of the job
    _, _, recall = one("ann is here", "ann is pilot")
    assert recall == pytest.approx((0.25e-5**0.25) ** 0.75 * 0.25**0.25)


def test_order_counts_in_the_table():
    _, _, straight = one("ann lee", "x", recall_weight=0.0)
    _, _, swapped = one("lee ann", "x", recall_weight=0.0)
    assert (straight, swapped) == (pytest.approx(1 / 2), pytest.approx(1 / 4))


def test_f_is_the_harmonic_mean():
    f, precision, recall = one("ann lee is a pilot", "ann lee is a pilot here")
    assert f == pytest.approx(2 / (1 / precision + 1 / recall), rel=1e-6)
    assert one("ann lee is a pilot", "ann lee is a pilot")[0] == pytest.approx(1)


def test_the_best_reference_counts_for_all_three():
    text, references = "ann lee is a dancer", ("x lee", "ann lee is a pilot", "a pilot")
    alone = [one(text, reference) for reference in references]
    assert one(text, *references) == max(alone) == alone[1]
    # what mentions nothing of the table asks for nothing but the table: so says the definition
    assert one("ann lee pilot ann", "nobody")[0] == pytest.approx(1)
    # and a text of fewer than four words lacks precision, whatever it says
    assert one("ann lee", "ann lee")[1] == pytest.approx((1e-5 * 1e-5) ** 0.25)


def test_triples():
    pairs = one("ann lee is a pilot", "ann lee is pilot", table=[["", "ann lee pilot"]])
    triples = one("ann lee is a pilot", "ann lee is pilot", table=[["ann lee", "job", "pilot"]])
    assert triples == pairs


def test_tokenizers():
    running = one("Ann Lee is a pilot.", "Ann Lee is a pilot .", tokenize="13a")
    assert running[0] == pytest.approx(1)
    assert one("Ann Lee is a pilot.", "ann lee is a pilot .")[0] < 0.8
    assert "|tokenize:13a|" in Parent().signature
    assert "recall_weight:auto" in Parent().signature
    assert "recall_weight:0.3" in Parent(recall_weight=0.3).signature


def test_odd_texts_and_tables():
    assert one("", "ann lee")[:2] == (0.0, 0.0)
    assert 0 < one("", "ann lee")[2] < 1e-4
    assert one("x", "")[0] == 0.0
    # without a table: the reference alone, whatever the weight
    for weight in (None, 0.0, 0.5):
        assert one("a b c d", "a b c d", table=[], recall_weight=weight) == pytest.approx((1, 1, 1))
        assert one("a b c d", "a b c d", table=[["name", ""]], recall_weight=weight) == pytest.approx((1, 1, 1))
    for text in ("e\u0301 x", "🙂", "日本語", "\ud800", "\x00", "..."):
        for value in (*one(text, text, tokenize="13a"), *one(text, "ann", table=[["a", text]]), *one("ann", text)):
            assert 0 <= value <= 1, ascii(text)


def test_errors_for_users():
    metric = Parent(column="cells")
    with pytest.raises(DataError, match="parent needs the data column 'cells'"):
        metric(["a"], [("a",)], table=[TABLE])
    for wrong in (None, "name: ann", [["name"]], [["name", 3]], ["ab"], {"name": "ann"}):
        with pytest.raises(DataError, match="cells of row 2 is no list"):
            metric(["a", "a"], [("a",), ("a",)], cells=[TABLE, wrong])
    with pytest.raises(DataError, match="row 1 has none"):
        metric(["a"], [()], cells=[TABLE])
    with pytest.raises(ConfigError, match="recall_weight"):
        build({"name": "parent", "recall_weight": 2})


def test_rows_stand_alone():
    texts, references = ["ann lee", "a pilot", "x"], [("ann lee flies",), ("pilot", "a pilot"), ("y",)]
    together = build("parent")(completions=texts, references=references, table=[TABLE] * 3)
    for row in range(3):
        alone = build("parent")(completions=texts[row : row + 1], references=references[row : row + 1], table=[TABLE])
        assert all(alone[key] == [together[key][row]] for key in together)
