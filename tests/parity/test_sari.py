"""SARI against published numbers: of `evaluate`, of GEM-metrics, and of the authors' script, as EASSE's tests have
them.
"""

from __future__ import annotations

import statistics

import pytest

from rl4lms.errors import DataError
from rl4lms.metrics import build, compute
from rl4lms.metrics.sari import Sari
from tests.parity.test_gem import PREDICTIONS, REFERENCES, REVERSED

SOURCE = "About 95 species are currently accepted ."
GOLD = (
    "About 95 species are currently known .",
    "About 95 species are now accepted .",
    "95 species are now accepted .",
)


def sari(text: str, **options) -> float:
    return Sari(**options)(full_prompts=[SOURCE], completions=[text], references=[GOLD])["sari"][0]


def test_the_example_of_evaluate():
    assert sari("About 95 you now get in .") == pytest.approx(26.953601953601954, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("About 95 you now get in .", 26.82782411698074),
        ("About 95 species are now agreed .", 58.89995423074248),
        ("About 95 species are currently agreed .", 50.71608864657479),
    ],
)
def test_the_examples_of_the_authors(text, published):
    assert sari(text, formula="xu", tokenize="whitespace") == pytest.approx(published, abs=1e-12)


@pytest.mark.parametrize(
    ("texts", "published"),
    [(PREDICTIONS, 49.37), ([texts[0] for texts in REFERENCES], 99.07), (REVERSED, 29.33), (["", "", ""], 29.33)],
    ids=["basic", "identical", "reversed", "empty"],
)
def test_gem(texts, published):
    values = Sari()(full_prompts=PREDICTIONS, completions=texts, references=REFERENCES)["sari"]
    assert statistics.fmean(values) == pytest.approx(published, abs=0.005)


def test_its_parts():
    values = Sari()(full_prompts=["a b"], completions=["a c"], references=[("a c",)])
    # everything right: c is added, a kept, b deleted; of three and four words there is nothing to do
    assert {key: value[0] for key, value in values.items()} == {
        "sari": 100,
        "sari_add": 100,
        "sari_keep": 100,
        "sari_delete": 100,
    }
    copied = Sari()(full_prompts=["a b"], completions=["a b"], references=[("a c",)])
    assert copied["sari_add"] == [50]  # nothing is added of what should be, of one and two words
    assert copied["sari_keep"] == [pytest.approx(100 * (2 / 3 + 0 + 1 + 1) / 4)]
    assert copied["sari_delete"] == [100]  # nothing was deleted


def test_case_tokenizer_and_signature():
    batch = {"full_prompts": ["The cat, sat"], "references": [("the cat, sits",)]}
    assert (
        Sari()(completions=["the cat , sits"], **batch)["sari"]
        == Sari()(completions=["THE cat, sits"], **batch)["sari"]
    )
    plain = Sari(tokenize="whitespace", lowercase=False)
    assert plain(completions=["the cat, sits"], **batch)["sari"] == [100]
    assert plain(completions=["THE cat, sits"], **batch)["sari"][0] < 90
    assert plain(completions=["the cat , sits"], **batch)["sari"][0] < 90
    assert plain.signature.startswith("sari|formula:standard|tok:whitespace|case:mixed|version:rl4lms-")


def test_every_text_has_a_value_and_rows_do_not_see_each_other():
    texts = ["", "?", "\ud800", "日本 é", "a a a", "a b c d e f"]
    for formula in ("standard", "xu"):
        built = build({"name": "sari", "formula": formula})
        batch = {"prompts": ["a b"] * 6, "references": [("", "a b"), "a", "x", "日本", "a a", "b c d"], "columns": {}}
        (together, *_) = compute(built, completions=texts, **batch)
        assert all(0 <= value <= 100 for value in together.values)
        for row, text in enumerate(texts):
            alone = compute(
                built, prompts=["a b"], completions=[text], references=[batch["references"][row]], columns={}
            )
            assert alone[0].values[0] == together.values[row]


def test_references_are_needed():
    with pytest.raises(DataError, match="no row has any"):
        compute(Sari(), prompts=["a"], completions=["b"], references=[None], columns={})
