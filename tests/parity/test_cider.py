"""CIDEr and CIDEr-D against published numbers, against numbers of the authors' code, and against a slow version."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from rl4lms.metrics.cider import Cider, CiderD

TEXTS = [
    "a dog runs in the park",
    "two children play football",
    "the the the cat",
    "a man rides a horse in a field of tall grass",
]
REFERENCES = [
    ("a dog is running in the park", "a brown dog runs through a park"),
    ("two children play football", "some kids are playing a game of football in the street", "children play"),
    ("the cat sleeps on the sofa",),
    ("a man rides a horse", "a rider and his horse in a field"),
]


def test_nlg_eval(test_data):
    """What nlg-eval calls CIDEr is CIDEr-D, with frequencies from the very references and words between white space."""
    folder = test_data / "metric_refs"
    published = json.loads((folder / "expected_values.json").read_text(encoding="utf-8"))
    (expected,) = (values["CIDEr"] for name, values in published.items() if name.startswith("nlg-eval"))
    texts, *references = (
        (folder / f"nlgeval_{name}.txt").read_text(encoding="utf-8").splitlines() for name in ("hyp", "ref1", "ref2")
    )
    metric = CiderD(tokenize="whitespace", sigma=6.0)
    metric.fit(list(zip(*references, strict=True)), "nlg-eval")
    values = metric(texts, list(zip(*references, strict=True)))["cider_d"]
    assert sum(values) / len(values) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (CiderD, [2.7828428560984495, 4.41986545672719, 1.625161860823901, 3.054441629595028]),  # pycocoevalcap 1.2
        (
            Cider,
            [2.8217631051845853, 4.549852849938139, 1.8074929233230752, 4.424349674729647],
        ),  # the same without clipping and penalty
    ],
)
def test_values_of_the_authors_code(kind, expected):
    metric = kind()
    metric.fit(REFERENCES, "own")
    assert metric(TEXTS, REFERENCES)[kind.key] == pytest.approx(expected, abs=1e-12)


class Slow:
    """Dense vectors over all n-grams of the corpus and of both texts, one matrix per n."""

    def __init__(self, corpus: list[tuple[str, ...]], clipped: bool) -> None:
        self.corpus, self.clipped = corpus, clipped

    def grams(self, text: str, n: int) -> list[str]:
        words = text.split()
        return ["_".join(words[start : start + n]) for start in range(len(words) - n + 1)]

    def weight(self, gram: str, n: int) -> float:
        documents = sum(any(gram in self.grams(text, n) for text in texts) for texts in self.corpus)
        return math.log(len(self.corpus)) - math.log(max(1, documents))

    def __call__(self, text: str, references: tuple[str, ...]) -> float:
        over_references = []
        for reference in references:
            over_n = []
            for n in range(1, 5):
                vocabulary = sorted({*self.grams(text, n), *self.grams(reference, n)})
                weights = np.array([self.weight(gram, n) for gram in vocabulary])
                mine, its = (
                    np.array([self.grams(t, n).count(gram) for gram in vocabulary]) * weights for t in (text, reference)
                )
                norm = np.linalg.norm(mine) * np.linalg.norm(its)
                kept = np.where(mine > its, its, mine) if self.clipped else mine
                over_n.append(kept @ its / norm if norm > 0 else 0.0)
            score = 10.0 * float(np.mean(over_n))
            if self.clipped:
                score /= math.exp(0.5 * ((len(text.split()) - len(reference.split())) / 6.0) ** 2)
            over_references.append(score)
        return float(np.mean(over_references))


def compare(corpus, texts, references) -> None:
    for kind in (Cider, CiderD):
        metric, slow = kind(tokenize="whitespace"), Slow(corpus, clipped=kind is CiderD)
        metric.fit(corpus, "corpus")
        expected = [slow(text, of_one) for text, of_one in zip(texts, references, strict=True)]
        assert metric(texts, references)[kind.key] == pytest.approx(expected, abs=1e-9)
        assert max(expected) > 1  # the texts have something in common


def test_slow_version_on_random_texts():
    rng = random.Random(0)

    def text() -> str:
        return " ".join(rng.choices("abcde", k=rng.randrange(0, 9)))

    corpus = [tuple(text() for _ in range(rng.randrange(1, 4))) for _ in range(12)]
    compare(corpus, [text() for _ in range(40)], [tuple(text() for _ in range(rng.randrange(1, 4))) for _ in range(40)])


@pytest.mark.slow
def test_slow_version_on_captions(test_data):
    file = test_data / "commongen" / "commongen.dev.jsonl"
    rows = [json.loads(line)["scene"] for line in file.read_text(encoding="utf-8").splitlines()[:40]]
    rows = [[text.lower().replace(".", " .") for text in row] for row in rows if len(row) > 1]
    compare([tuple(row[1:]) for row in rows], [row[0] for row in rows[:10]], [tuple(row[1:]) for row in rows[:10]])
