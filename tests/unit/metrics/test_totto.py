from __future__ import annotations

import math

import pytest

from rl4lms.errors import DataError
from rl4lms.metrics import build, compute
from rl4lms.metrics.sacre import SacreBleu
from rl4lms.metrics.totto import TottoBleu, TottoParent


def cell(value: str) -> dict[str, object]:
    return {"value": value, "is_header": False, "column_span": 1, "row_span": 1}


TABLE = [[cell("Year"), cell("Film")], [cell("1999"), cell(" Blue | Sky ")], [cell(""), cell("Red")]]
ROW = {
    "table": TABLE,
    "highlighted_cells": [[1, 1], [2, 0]],
    "table_page_title": "Ann Lee",
    "table_section_title": "Films",
}


def columns(*rows: dict[str, object]) -> dict[str, list[object]]:
    return {name: [row.get(name) for row in rows] for name in (*ROW, "table_section_text", "overlap_subset")}


def test_recall_reads_highlighted_cells_and_precision_the_whole_table():
    values = TottoParent()(["Ann Lee"], [("Ann Lee Red",)], **columns(ROW))
    # "Red" is expected because it is in the table, though not highlighted: one word, one pair and the only triple are
    # missed
    of_reference = (2 / 3 * 1 / 2 * 1e-5 * 1) ** (1 / 4)
    # of the cell `Blue - Sky` and the two titles (the empty cell is none) one title is mentioned, by text and reference
    assert values["totto_parent_recall"] == [pytest.approx(of_reference ** (1 / 3) * (1 / 3) ** (2 / 3))]
    # words of the table are no mistakes, highlighted or not; `|` is written as a dash
    for text, precision in (
        ("1999 Red - Film", 1.0),
        ("1999 Red | Film", (3 / 4 * 2 / 3 * 2 / 3 * 3 / 4) ** (1 / 4)),
        ("Nothing", 0.0),
    ):
        assert TottoParent()([text], [("zzz",)], **columns(ROW))["totto_parent_precision"] == [
            pytest.approx(precision)
        ], text
    # the text of the section belongs to the whole table only
    around = columns(ROW | {"table_section_text": "Nothing so blue"})
    values = TottoParent()(["nothing so blue films"], [("zzz",)], **around)
    assert values["totto_parent_precision"] == [pytest.approx(1)]
    assert values["totto_parent_recall"] == [pytest.approx((1 / 3 + 1 + 0) / 3)]


def test_subsets():
    rows = [ROW | {"overlap_subset": flag} for flag in (True, False, None, 1)]
    texts = ["Blue - Sky by Ann", "Red is by Ann", "Ann Lee was in it", "x y"]
    references = [("Blue - Sky by Ann Lee",), ("Red is by Ann Lee",), ("Lee",), ("x",)]
    values = TottoParent()(texts, references, **columns(*rows))
    assert len(values) == 9
    for suffix in ("", "_precision", "_recall"):
        whole = values[f"totto_parent{suffix}"]
        assert values[f"totto_parent_overlap{suffix}"] == [whole[0], None, None, whole[3]]
        assert values[f"totto_parent_non_overlap{suffix}"] == [None, whole[1], None, None]
        assert None not in whole
    bleu = TottoBleu()(texts, references, **columns(*rows))
    assert set(bleu) == {"totto_bleu", "totto_bleu_overlap", "totto_bleu_non_overlap", "sentence_totto_bleu"}
    assert set(TottoBleu()(texts, references)) == {"totto_bleu", "sentence_totto_bleu"}
    assert bleu["totto_bleu_non_overlap"].stderr is None  # one row
    assert bleu["totto_bleu"].stderr > 0
    results = compute(
        build("totto_parent"),
        prompts=texts,
        completions=texts,
        references=references,
        columns=columns(ROW, ROW, ROW, ROW),
    )
    assert [result.key for result in results] == ["totto_parent", "totto_parent_precision", "totto_parent_recall"]


def test_bleu_ignores_case():
    texts, references = ["ANN lee was in Red.", "b c d e"], [("Ann Lee was in red.",), ("b c x y", "c d e")]
    expected = SacreBleu()(
        [text.lower() for text in texts], [tuple(text.lower() for text in row) for row in references]
    )
    values = TottoBleu()(texts, references)
    assert values["totto_bleu"] == expected["sacrebleu"]
    assert values["sentence_totto_bleu"] == expected["sentence_sacrebleu"]
    assert TottoBleu().as_reward("sentence_totto_bleu", 50.0) == 0.5
    assert "case:lc" in TottoBleu().signature["totto_bleu"]


def test_null_references():
    """The script's filling lets a text that copies the table be best against the text `<null>`."""
    text, references = ["Blue - Sky Ann Lee Films"], [("Ann Lee sang in Red.",)]
    fair, filled = (TottoParent(null_references=option)(text, references, **columns(ROW)) for option in (False, True))
    assert filled["totto_parent"][0] > fair["totto_parent"][0] + 0.2
    by_hand = TottoParent()(text, [(*references[0], "<null>", "<null>")], **columns(ROW))
    assert filled == by_hand
    assert TottoParent(null_references=True)(text, [("a", "b", "c", "d")], **columns(ROW)) == TottoParent()(
        text, [("a", "b", "c", "d")], **columns(ROW)
    )
    # the short "reference" is the one that is closest in length, so that nothing is taken off for brevity
    fair, filled = (
        TottoBleu(option)(["a b c d"], [("a b c d e f g h i j",)])["totto_bleu"].value for option in (False, True)
    )
    assert (fair, filled) == (pytest.approx(100 * math.exp(1 - 10 / 4)), pytest.approx(100))
    assert "null_references:yes" in TottoParent(null_references=True).signature


def test_rows_without_titles():
    bare = {"table": TABLE, "highlighted_cells": [[2, 1]]}
    values = TottoParent()(["Red is it now"], [("Red is it now",)], **{name: [value] for name, value in bare.items()})
    assert values["totto_parent"] == [pytest.approx(1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"highlighted_cells": [[9, 0]]}, "row 2 names a cell that its table does not have"),
        ({"highlighted_cells": [3]}, "table or highlighted_cells of row 2 is not as expected"),
        ({"highlighted_cells": None}, "of row 2 is not as expected"),
        ({"table": [["a", "b"]]}, "of row 2 is not as expected"),
        ({"table": [[{"text": "a"}]]}, "of row 2 is not as expected.*KeyError"),
        ({"table": [[{"value": 3}]]}, "of row 2 is not as expected"),
    ],
)
def test_malformed_tables(change, message):
    with pytest.raises(DataError, match=message):
        TottoParent()(["a", "b"], [("a",), ("b",)], **columns(ROW, ROW | change))


def test_flags_as_files_have_them():
    flags = ["True", "False", "0", "1", "", False, 1, None]
    found = compute(
        TottoBleu(),
        prompts=["p"] * 8,
        completions=["a"] * 8,
        references=["a"] * 8,
        columns={"overlap_subset": flags},
    )
    assert {result.key: result.n for result in found if "overlap" in result.key} == {
        "totto_bleu_overlap": 3,
        "totto_bleu_non_overlap": 3,
    }
    with pytest.raises(DataError, match="overlap_subset of row 2 must be true, false or null, got 'maybe'"):
        TottoBleu()(["a", "b"], ["a", "b"], overlap_subset=[None, "maybe"])


def test_rows_need_references():
    with pytest.raises(DataError, match=r"totto_parent .* row 1"):
        TottoParent()(["a"], [()], **columns(ROW))
    with pytest.raises(DataError, match=r"totto_bleu .* row 1"):
        TottoBleu()(["a"], [()])
    for null_references in (False, True):
        with pytest.raises(DataError, match="row 1"):
            TottoBleu(null_references)(["a"], [()])
