"""ToTTo's metrics against the numbers that its authors publish for their sample (README of google-research/language,
totto).
"""

from __future__ import annotations

import json

import pytest

from rl4lms.metrics import compute
from rl4lms.metrics.totto import TottoBleu, TottoParent


@pytest.fixture
def batch(test_data):
    folder = test_data / "totto"
    rows = [json.loads(line) for line in (folder / "dev_sample.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "prompts": [""] * len(rows),
        "completions": (folder / "output_sample.txt").read_text(encoding="utf-8").splitlines(),
        "references": [
            tuple(annotation["final_sentence"] for annotation in row["sentence_annotations"]) for row in rows
        ],
        "columns": {name: [row[name] for row in rows] for name in rows[0]},
    }


def test_bleu(batch, test_data):
    values = {result.key: result.mean for result in compute(TottoBleu(), **batch)}
    assert round(values["totto_bleu"], 1) == 45.5
    assert round(values["totto_bleu_overlap"], 1) == 37.2
    assert round(values["totto_bleu_non_overlap"], 1) == 58.3
    published = json.loads((test_data / "metric_refs" / "expected_values.json").read_text(encoding="utf-8"))
    (case,) = (case for name, case in published.items() if name.startswith("ToTTo"))
    assert round(values["totto_bleu"], 1) == case["sacrebleu"]


@pytest.mark.parametrize("null_references", [False, True])  # every row of the sample has three
def test_parent(batch, null_references):
    values = {result.key: round(result.mean, 4) for result in compute(TottoParent(null_references), **batch)}
    assert values == {
        "totto_parent": 0.5334,
        "totto_parent_precision": 0.7611,
        "totto_parent_recall": 0.4383,
        "totto_parent_overlap": 0.4134,
        "totto_parent_overlap_precision": 0.7140,
        "totto_parent_overlap_recall": 0.3135,
        "totto_parent_non_overlap": 0.7135,
        "totto_parent_non_overlap_precision": 0.8317,
        "totto_parent_non_overlap_recall": 0.6256,
    }


def test_parent_of_words_between_spaces(batch):
    """The numbers of `eval_pipeline_test.py`, which splits texts at white space and tables as the script does."""
    results = {result.key: result for result in compute(TottoParent(tokenize="whitespace"), **batch)}
    keys = ("totto_parent_precision", "totto_parent_recall", "totto_parent")
    assert [round(100 * results[key].mean, 1) for key in keys] == [66.1, 40.4, 48.1]
    assert [round(100 * value, 1) for value in results["totto_parent"].values] == [68.4, 63.2, 51.9, 7.8, 48.9]
