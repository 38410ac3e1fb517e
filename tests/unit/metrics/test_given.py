"""What callers may give as texts and references, and what of it is an error: the same for every metric."""

from __future__ import annotations

import csv
import json
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from transformers import BertForSequenceClassification, BertModel

from rl4lms.errors import DataError, MissingPartError
from rl4lms.evaluation.score_file import score_file
from rl4lms.metrics import build, compute
from rl4lms.metrics.perplexity import ReferencePerplexity
from rl4lms.metrics.wordnet import own_folder
from rl4lms.plugins import registry
from rl4lms.rewards import build as build_reward
from rl4lms.rewards import score
from rl4lms.rewards.resolve import as_trl_reward
from tests.unit.metrics.encoders import saved_bert
from tests.unit.metrics.wordnet_files import write_wordnet

LABELS = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
NAMED = {"id2label": LABELS, "label2id": {name: index for index, name in LABELS.items()}}
# Metrics whose results depend on no reference, or that have a door of their own.
NO_REFERENCES = {
    "classifier",
    "increasing_numbers",
    "dates",
    "perplexity",
    "diversity",
    "summac_conv",  # needs trained layers; otherwise as summac_zs
    "intent_accuracy",
    "concept_coverage",
}
# They read texts of one task, by its columns: tests/unit/tasks
GOLD = {name for name in registry.metrics.names() if getattr(registry.metrics.get(name), "gold", False)}
WITH_REFERENCES = sorted(set(registry.metrics.names()) - NO_REFERENCES - GOLD - {"reference_perplexity"})
COMPLETIONS = ["the cat sat on the mat", "dogs run in the w1 w2 park", "w3 w4 w5 w6"]
TEXTS = ["the cat sat on a mat", "dogs ran in the w1 w3 park", "w3 w4 w5 w7"]
TABLE = [[{"value": "cat"}, {"value": "mat"}]]
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert_score": (BertModel, {}),
    "embedding_similarity": (BertModel, {}),
    "bleurt": (BertForSequenceClassification, {"num_labels": 1}),
    "summac_zs": (BertForSequenceClassification, NAMED),
}
MORE = {"bert_score": {"layer": 2}, "summac_zs": {"source": "references"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where there is a small model for a metric."""
    made: dict[str, str] = {}

    def find(name: str) -> str:
        if name not in made:
            kind, options = MODELS[name]
            made[name] = saved_bert(tmp_path_factory.mktemp(name), kind, **options)[0]
        return made[name]

    return find


@pytest.fixture(params=WITH_REFERENCES)
def metric(request, folder):
    """Every registered metric that compares with references, ready to be called."""
    name = request.param
    options = {"model": folder(name), "device": "cpu", **MORE.get(name, {})} if name in MODELS else {}
    if name == "meteor" and not (own_folder() / "index.noun").is_file():
        write_wordnet(own_folder())
    try:
        built = build({"name": name, **options})
    except MissingPartError as error:
        pytest.skip(str(error))
    if isinstance(getattr(built, "corpus", None), str):
        built.fit([("the cat",), ("a dog", "w1 w2"), ("park",)], "test")
    return built


def columns(name: str, n: int) -> dict[str, list[Any]]:
    if name == "Parent":
        return {"table": [[["cat", "sat", "mat"]]] * n}
    return {"table": [TABLE] * n, "highlighted_cells": [[[0, 0]]] * n} if name.startswith("Totto") else {}


def results(metric: Any, completions: Any, references: Any, prompts: Any = None) -> dict[str, Any]:
    n = len(references) if hasattr(references, "__len__") else 1
    found = compute(
        metric,
        prompts=["p"] * n if prompts is None else prompts,
        completions=completions,
        references=references,
        columns=columns(type(metric).__name__, n),
    )
    return {result.key: result for result in found}


def values(metric: Any, completions: Any, references: Any) -> dict[str, Any]:
    found = results(metric, completions, references)
    return {key: (result.mean, result.values, result.n) for key, result in found.items()}


def test_a_text_is_one_reference_in_every_form(metric):
    expected = values(metric, COMPLETIONS, [(text,) for text in TEXTS])
    assert expected
    for form in (TEXTS, tuple(TEXTS), [[text] for text in TEXTS], np.array(TEXTS), [np.array([t]) for t in TEXTS]):
        assert values(metric, COMPLETIONS, form) == expected
    assert values(metric, tuple(COMPLETIONS), TEXTS) == expected


def test_lists_and_tuples_of_several_references_are_the_same(metric):
    several = [(text, "another w1 text") for text in TEXTS]
    assert values(metric, COMPLETIONS, several) == values(metric, COMPLETIONS, [list(texts) for texts in several])


def test_a_direct_call_takes_the_same_forms(metric):
    def called(references):
        return metric(
            prompts=["p"] * 3,
            full_prompts=["p"] * 3,
            completions=COMPLETIONS,
            references=references,
            **columns(type(metric).__name__, 3),
        )

    assert called(TEXTS) == called([(text,) for text in TEXTS]) == called([[text] for text in TEXTS])
    with pytest.raises(DataError, match="row 2 must be a text or a list of texts, got a list with None"):
        called(["a", [None], "b"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"completions": "abc"}, "completions must be a list with one entry per row, got one text; write "),
        ({"completions": None}, "completions must be a list with one entry per row, got None"),
        ({"completions": ["a", None]}, "completions of row 2 must be a text, got None; write '' for an empty text"),
        ({"completions": ["a", 3]}, "completions of row 2 must be a text, got int"),
        ({"completions": [b"a", "b"]}, "completions of row 1 must be a text, got bytes"),
        ({"completions": {"a": 1, "b": 2}}, "completions must be a list with one entry per row, got dict"),
        ({"completions": iter("ab")}, "completions must be a list with one entry per row, got str_ascii_iterator"),
        ({"prompts": "ab"}, "prompts must be a list with one entry per row, got one text"),
        ({"prompts": ["a", None]}, "prompts of row 2 must be a text, got None"),
        ({"references": "ab"}, "references must be a list with one entry per row, got one text"),
        ({"references": None}, "references must be a list with one entry per row, got None"),
        ({"references": [("a", None), ("b",)]}, "references of row 1 .* a list with None; leave it out"),
        ({"references": ["a", ["b", 3]]}, "references of row 2 .* a list with int"),
        ({"references": ["a", 3.5]}, "references of row 2 must be a text or a list of texts, got float"),
        ({"references": ["a", float("nan")]}, "got float; None where there is none"),
        ({"references": ["a", {"b"}]}, "references of row 2 must be a text or a list of texts, got set"),
        ({"references": [b"a", "b"]}, "references of row 1 must be a text or a list of texts, got bytes"),
        ({"references": [(), None]}, "compares with references, and no row has any"),
    ],
)
def test_anything_else_is_an_error(metric, given, message):
    batch = {"prompts": ["p", "q"], "completions": ["a", "b"], "references": ["a", "b"], **given}
    with pytest.raises(DataError, match=message):
        compute(metric, **batch, columns=columns(type(metric).__name__, 2))


@pytest.mark.parametrize("name", ["dates", "diversity", "increasing_numbers"])
def test_metrics_without_references_have_the_same_door(name):
    batch = {"prompts": ["p", "q"], "references": [None, ()], "columns": {}}
    assert compute(build(name), completions=["a b", "b c"], **batch)
    for wrong in ("ab", None, ["a", None], ["a", 1]):
        with pytest.raises(DataError, match="completions"):
            compute(build(name), completions=wrong, **batch)


def test_rows_without_references_are_left_out(metric):
    expected = values(metric, COMPLETIONS[::2], TEXTS[::2])
    for none in (None, (), []):
        found = values(metric, COMPLETIONS, [TEXTS[0], none, TEXTS[2]])
        assert found.keys() == expected.keys()
        for key, (mean, per_row, n) in found.items():
            assert (mean, n) == (pytest.approx(expected[key][0]), 2)
            if per_row is not None:
                assert per_row[::2] == pytest.approx(expected[key][1])
                assert per_row[1] != per_row[1]  # NaN: no value


def test_an_empty_reference_is_a_reference(metric):
    module = type(metric).__module__.rpartition(".")[2]
    if module in ("bert_score", "bleurt", "embeddings", "summac"):
        pytest.skip("a model reads it like any other text")
    if module == "parent" or type(metric).__name__ in ("TottoParent", "Sari"):
        pytest.skip("the table, or the source, counts, too")
    found = results(metric, ["", "the cat"], ["", ("",)])
    most = {"exact_match": (1, 0), "token_f1": (1, 0), "sentence_ter": (0, 100)}
    most |= {"sentence_wer": (0, 1), "sentence_cer": (0, 1)}
    for key, result in found.items():
        assert result.n == 2
        if result.values is not None:
            assert result.values == most.get(key, (0, 0)), key


def test_rewards_take_the_same_forms():
    reward = build_reward({"name": "rouge_combined"})
    batch = {"prompts": ["p"] * 3, "completions": COMPLETIONS, "completion_ids": [[1]] * 3, "columns": {}}
    expected = score(reward, **batch, references=[(text,) for text in TEXTS]).scores
    assert score(reward, **batch, references=TEXTS).scores == expected
    assert score(build("rouge_combined"), **batch, references=TEXTS).scores == expected
    trl = as_trl_reward("rouge_combined")
    assert trl(completions=COMPLETIONS, references=TEXTS) == expected
    left_out = [expected[0], None, expected[2]]
    for one in (reward, build("rouge_combined")):
        assert score(one, **batch, references=[TEXTS[0], None, TEXTS[2]]).scores == left_out
    assert trl(completions=COMPLETIONS, references=[TEXTS[0], (), TEXTS[2]], trainer_state=None) == left_out
    with pytest.raises(DataError, match="completions must be a list with one entry per row, got one text"):
        score(reward, **batch | {"completions": "abc"}, references=TEXTS)
    with pytest.raises(DataError, match="completions of row 3 must be a text, got None"):
        score(reward, **batch | {"completions": ["a", "b", None]}, references=TEXTS)
    with pytest.raises(DataError, match="references of row 2 must be a text or a list of texts, got a list with None"):
        score(reward, **batch, references=["a", [None], "b"])
    with pytest.raises(DataError, match="got one text"):
        trl(completions="abc", references=TEXTS)
    with pytest.raises(DataError, match="references has 2 rows, completions 3"):
        trl(completions=COMPLETIONS, references=TEXTS[:2])
    with pytest.raises(DataError, match="no row has any"):
        score(reward, **batch, references=[None] * 3)


def test_a_corpus_of_texts_is_not_one_of_characters():
    texts = ["the cat sat", "a dog ran", "the park"]
    batch = {"completions": ["the cat"], "references": ["the cat sat"]}
    assert as_trl_reward("cider", corpus=texts)(**batch) == as_trl_reward("cider", corpus=[[t] for t in texts])(**batch)


def test_n_is_the_rows_that_a_value_is_about():
    subsets = {"overlap_subset": [True, False, True]}
    found = compute(build("totto_bleu"), prompts=["p"] * 3, completions=COMPLETIONS, references=TEXTS, columns=subsets)
    assert {r.key: r.n for r in found} == {
        "totto_bleu": 3,
        "totto_bleu_overlap": 2,
        "totto_bleu_non_overlap": 1,
        "sentence_totto_bleu": 3,
    }

    def nll(prompts, texts):
        return [1.0] * len(texts), [len(text) for text in texts]

    (result,) = compute(
        ReferencePerplexity(),
        prompts=["p"] * 3,
        completions=COMPLETIONS,
        references=["a", None, ("", "b")],
        columns={},
        nll_of_texts=nll,
    )
    assert result.n == 2


ROWS = [
    {"completion": "the cat sat", "references": "the cat sat on"},
    {"completion": "a b", "references": ["a c", "b, a"]},
    {"completion": "x", "references": None},
    {"completion": "", "references": [""]},
    {"completion": "it's", "references": ['it\'s "so"', "line\nbreak"]},
]


@pytest.mark.parametrize("write", [json.dumps, repr, lambda texts: repr(tuple(texts))])
def test_formats_agree(tmp_path, write):
    def cell(value):
        return value if isinstance(value, str) else "" if value is None else write(value)

    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        rows = [{"completion": row["completion"], "references": cell(row["references"])} for row in ROWS]
        writer = csv.DictWriter(file, ["completion", "references"])
        writer.writeheader()
        writer.writerows(rows)
    lists = [[r["references"]] if isinstance(r["references"], str) else r["references"] for r in ROWS]
    table = pyarrow.table({"completion": [row["completion"] for row in ROWS], "references": lists})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    metrics = ["rouge", "bleu", "sacrebleu", "chrf", "ter", "exact_match", "token_f1", "meteor_exact_stem"]
    scored = [score_file(str(tmp_path / f"rows.{suffix}"), metrics) for suffix in ("jsonl", "csv", "parquet")]
    given = [row["references"] for row in ROWS]
    completions = [row["completion"] for row in ROWS]
    for name in metrics:
        called = compute(build(name), prompts=[""] * len(ROWS), completions=completions, references=given, columns={})
        for result in called:
            assert result.n == 4
            for found in scored:
                one = found.results[result.key]
                assert (one.mean, one.n, str(one.values)) == (result.mean, 4, str(result.values))
