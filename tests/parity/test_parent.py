"""PARENT against the authors' published vectors, and against a slow version."""

from __future__ import annotations

import json
import random
from fractions import Fraction

import pytest

from rl4lms.metrics.parent import Parent


@pytest.mark.parametrize("tokenize", ["13a", "whitespace"])
def test_published_vectors(test_data, tokenize):
    published = json.loads((test_data / "metric_refs" / "expected_values.json").read_text(encoding="utf-8"))
    (case,) = (values for name, values in published.items() if name.startswith("PARENT"))
    texts = case["predictions"]
    values = Parent(tokenize=tokenize)(texts, [(case["reference"],)] * 3, table=[case["table"]] * 3)["parent"]
    assert [round(value, 3) for value in values] == case["parent_f"]


def subsequence(one: list[str], other: list[str]) -> int:
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + subsequence(one[1:], other[1:])
    return max(subsequence(one[1:], other), subsequence(one, other[1:]))


def root(values: list[Fraction]) -> float:
    product = 1.0
    for n, value in enumerate(values):
        product *= float(value) if value else (1e-5 if n else 0.0)
    return product**0.25


def slow(text: str, reference: str, table: list[list[str]], weight: float | None) -> tuple[float, float, float]:
    """Every occurrence of an n-gram is looked at on its own; sums are exact."""
    mine, its, cells = text.split(), reference.split(), [value.split() for _, value in table]
    known = [word for cell in cells for word in cell]
    precisions, recalls = [], []
    for n in (1, 2, 3, 4):
        of_mine, of_its = ([words[i : i + n] for i in range(len(words) - n + 1)] for words in (mine, its))
        left, good = list(of_its), Fraction(0)
        for gram in of_mine:
            if gram in left:
                left.remove(gram)
                good += 1
            else:
                good += Fraction(len([word for word in gram if word in known]), n)
        precisions.append(good / len(of_mine) if of_mine else Fraction(0))
        left, wanted, got = list(of_mine), Fraction(0), Fraction(0)
        for gram in of_its:
            value = Fraction(len([word for word in gram if word in known]), n)
            wanted += value
            if gram in left:
                left.remove(gram)
                got += value
        recalls.append(got / wanted if wanted else Fraction(1))
    precision = root(precisions)
    of_table, of_reference = (
        sum(Fraction(subsequence(cell, words), len(cell)) for cell in cells) / len(cells) for words in (mine, its)
    )
    share = float(of_reference) if weight is None else weight
    recall = (root(recalls) or 1e-5) ** share * (float(of_table) or 1e-5) ** (1 - share)
    return 2 * precision * recall / (precision + recall + 1e-8), precision, recall


@pytest.mark.parametrize("weight", [None, 0.0, 0.5, 1.0])
def test_slow_version(weight):
    rng = random.Random(0)

    def text(least: int = 0) -> str:
        return " ".join(rng.choices("abcdef", k=rng.randrange(least, 9)))

    rows = [
        (
            text(),
            tuple(text() for _ in range(rng.randrange(1, 4))),
            [["x", text(1)] for _ in range(rng.randrange(1, 5))],
        )
        for _ in range(150)
    ]
    values = Parent(tokenize="whitespace", recall_weight=weight)(
        [row[0] for row in rows], [row[1] for row in rows], table=[row[2] for row in rows]
    )
    for row, (completion, references, table) in enumerate(rows):
        expected = max(
            (slow(completion, reference, table, weight) for reference in references), key=lambda scores: scores[0]
        )
        own = [values[key][row] for key in ("parent", "parent_precision", "parent_recall")]
        assert own[0] == pytest.approx(expected[0], abs=1e-12)
        if len(references) == 1:  # others may be equally good
            assert own == pytest.approx(expected, abs=1e-12)
    assert len({round(value, 6) for value in values["parent"]}) > 50
