"""Texts in other scripts: the tokenizers, and the warnings of every metric that compares words."""

from __future__ import annotations

import logging

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics import build
from rl4lms.metrics.words import characters, unicode_words

TEXTS = {
    "russian": "Кошка сидит на старом ковре у окна.",
    "arabic": "القطة تجلس على السجادة القديمة بجانب النافذة.",
    "hindi": "बिल्ली खिड़की के पास पुराने कालीन पर बैठी है।",
    "greek": "Η γάτα κάθεται στο παλιό χαλί δίπλα στο παράθυρο.",
    "chinese": "猫坐在窗边的旧地毯上，看着外面的鸟。",
    "japanese": "猫は窓のそばの古いじゅうたんに座っています。",
    "thai": "แมวนั่งอยู่บนพรมเก่าข้างหน้าต่าง",
}
NO_SPACES = {"chinese", "japanese", "thai"}
ENGLISH = "The cat sat on the old carpet by the window, naïve as ever."
ROUGES = ["rouge", "rouge_combined", "rouge_l_max"]


def told(metric, text, caplog) -> list[str]:
    """Warnings about a text that is compared with itself, twice."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            values = metric(prompts=[""], completions=[text], references=[(text,)], table=[[["a", "b"]]])
    assert values
    return [record.getMessage() for record in caplog.records if "the tokenizer" in record.getMessage()]


@pytest.mark.parametrize("name", ROUGES)
@pytest.mark.parametrize("language", TEXTS)
def test_rouge_of_a_text_and_itself(name, language, caplog):
    text = TEXTS[language]
    (warning,) = told(build(name), text, caplog)
    assert warning.startswith(f"{name}: the tokenizer drops most letters of 1 texts")
    assert "tokenizer: unicode" in warning
    for tokenizer in ("unicode", "characters"):
        metric = build({"name": name, "tokenizer": tokenizer})
        values = metric(completions=[text], references=[(text,)])
        if (language, tokenizer) != ("thai", "unicode"):  # one word, and a word has no pairs
            assert {value for of_key in values.values() for value in of_key} == {1.0}
        assert f"tok:{tokenizer}" in metric.signature
    assert not told(build({"name": name, "tokenizer": "characters"}), text, caplog)
    assert bool(told(build({"name": name, "tokenizer": "unicode"}), text, caplog)) == (language == "thai")


# Metrics that compare words of any script, but only where there are spaces between them.
BETWEEN_SPACES = [
    "coco_rouge_l", "meteor_exact_stem", "bleu", {"name": "bleu", "tokenize": "13a"}, "sacrebleu", "ter", "token_f1", "parent", "diversity",
]  # fmt: skip


@pytest.mark.parametrize("given", BETWEEN_SPACES, ids=str)
@pytest.mark.parametrize("language", TEXTS)
def test_texts_that_become_one_word_are_told(given, language, caplog):
    found = told(build(given), TEXTS[language], caplog)
    assert len(found) == (language in NO_SPACES)
    assert all("for one word, or for few" in warning for warning in found)


@pytest.mark.parametrize("given", [*ROUGES, *BETWEEN_SPACES, "chrf"], ids=str)
def test_nothing_is_told_of_english(given, caplog):
    assert told(build(given), ENGLISH, caplog) == []
    assert told(build(given), "Café olé — “naïve” 😀 — déjà vu", caplog) == []


@pytest.mark.parametrize(
    "given",
    [
        "chrf",
        "exact_match",
        {"name": "sacrebleu", "tokenize": "char"},
        {"name": "diversity", "tokenizer": "characters"},
    ],
    ids=str,
)
@pytest.mark.parametrize("language", TEXTS)
def test_metrics_that_need_no_words(given, language, caplog):
    assert told(build(given), TEXTS[language], caplog) == []


def test_cider_and_totto_are_told_too(caplog):
    metric = build({"name": "cider_d", "corpus": "train"})
    metric.fit([(text,) for text in TEXTS.values()], "mine")
    assert len(told(metric, TEXTS["chinese"], caplog)) == 1
    table = {"table": [[[{"value": "a"}]]], "highlighted_cells": [[[0, 0]]]}
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        build("totto_parent")(completions=["a"], references=[(TEXTS["chinese"],)], **table)
    assert "totto_parent: the tokenizer" in caplog.text


@pytest.mark.parametrize(("language", "concepts"), [("chinese", ["地毯", "狗"]), ("russian", ["ковре", "собака"])])
def test_concepts_are_found_in_texts_without_spaces(language, concepts, caplog):
    metric = build("concept_coverage")
    with caplog.at_level(logging.WARNING):
        assert metric(completions=[TEXTS[language]], concepts=[concepts]) == {"concept_coverage": [0.5]}
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        metric(completions=[TEXTS["thai"]], concepts=[["แมว"]])
    assert "concept_coverage: the tokenizer takes 1 texts" in caplog.text


def test_one_foreign_reference_among_others_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        build("rouge")(completions=["a"] * 3, references=[("a cat",), ("in 2020: " + TEXTS["russian"],), ("b",)])
    assert "drops most letters of 1 texts" in caplog.text


def test_words_and_characters():
    assert unicode_words("Die Über-Größe, 12,5 m_2: it's") == ["die", "über", "größe", "12", "5", "m", "2", "it", "s"]
    assert unicode_words("हिन्दी में") == ["हिन्दी", "में"]
    assert unicode_words("猫はbig猫 3匹") == ["猫", "は", "big", "猫", "3", "匹"]
    assert unicode_words("… — 😀") == []
    assert characters("Aß 猫!") == ["a", "ß", "猫"]


def test_the_order_of_words_counts_in_other_scripts():
    metric = build({"name": "rouge", "tokenizer": "unicode"})
    values = metric(completions=["ковре на кошка"], references=[("Кошка на ковре",)])
    assert values["rouge1"] == [1.0]
    assert values["rougeL"] == [pytest.approx(1 / 3)]


def test_a_tokenizer_of_ones_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def pairs(text):\n    return [text[i:i + 2] for i in range(0, len(text), 2)]\n"
        "def broken(text):\n    raise OSError('no dictionary')\n"
        "def text(text):\n    return text\n"
    )
    metric = build({"name": "rouge", "tokenizer": f"{file}:pairs", "stemmer": False})
    assert metric(completions=["abXY"], references=[("abcd",)])["rouge1"] == [0.5]
    assert f"tok:{file}:pairs" in metric.signature
    row = {"completions": ["a"], "references": [("a",)]}
    with pytest.raises(DataError, match="broken' raised OSError: no dictionary"):
        build({"name": "rouge_l_max", "tokenizer": f"{file}:broken"})(**row)
    with pytest.raises(DataError, match="text' returned str; expected a list of texts"):
        build({"name": "rouge_combined", "tokenizer": f"{file}:text"})(**row)
    with pytest.raises(ConfigError, match="has no function 'none'"):
        build({"name": "rouge", "tokenizer": f"{file}:none"})
    with pytest.raises(ConfigError, match="'unicorn' is none of latin, unicode, characters, and not path/to/file"):
        build({"name": "rouge", "tokenizer": "unicorn"})


ONE_LINE = "The cat sat. A dog ran away."
SWAPPED = "A dog ran away. The cat sat."


def test_lsum_of_one_line_is_told(caplog):
    row = {"completions": [SWAPPED], "references": [(ONE_LINE,)]}
    with caplog.at_level(logging.WARNING):
        metric = build("rouge")
        values = metric(**row)
        metric(**row)
    assert values["rougeLsum"] == values["rougeL"]
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == ["rouge: rougeLsum is rougeL here"]
    assert "lsum:lines" in metric.signature


@pytest.mark.parametrize(
    ("completion", "reference"), [("a cat", "one sentence."), (SWAPPED, ONE_LINE.replace(". ", ".\n")), ("", "")]
)
def test_nothing_is_told_where_lines_are_sentences_or_there_is_one(caplog, completion, reference):
    with caplog.at_level(logging.WARNING):
        build("rouge")(completions=[completion], references=[(reference,)])
    assert not caplog.records


def test_sentences_by_rules(caplog):
    metric = build({"name": "rouge", "sentences": "rules"})
    with caplog.at_level(logging.WARNING):
        values = metric(completions=[SWAPPED], references=[(ONE_LINE,)])
    assert values["rougeLsum"] == [1.0]
    assert values["rougeL"][0] < 1
    in_lines = build("rouge")(completions=[SWAPPED.replace(". ", ".\n")], references=[(ONE_LINE.replace(". ", ".\n"),)])
    assert values == in_lines
    assert "lsum:rules" in metric.signature
    assert not caplog.records
