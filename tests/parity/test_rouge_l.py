"""The two forms of ROUGE-L against published numbers, against numbers of py-rouge, and against slow versions."""

from __future__ import annotations

import itertools
import json
import random
import statistics

import pytest

from rl4lms.metrics.rouge_l import CocoRougeL, RougeLMax


def read(test_data, name):
    file = test_data / "metric_refs" / name
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return file.read_text(encoding="utf-8")


def test_published_number_of_nlg_eval(test_data):
    completions, *references = (read(test_data, f"nlgeval_{name}.txt").splitlines() for name in ("hyp", "ref1", "ref2"))
    values = CocoRougeL()(completions=completions, references=list(zip(*references, strict=True)))["coco_rouge_l"]
    published = json.loads(read(test_data, "expected_values.json"))
    expected = next(value["ROUGE_L"] for key, value in published.items() if key.startswith("nlg-eval"))
    assert expected == 0.522104
    assert statistics.fmean(values) == pytest.approx(expected, abs=1e-6)


# Means of py-rouge 1.1 over the 200 summaries below, the best of one reference at a time; its list of irregular forms
# emptied. With the list the first two are 0.238416 and 0.296850.
PY_ROUGE = [
    ({}, 0.23735714281356743),
    ({"weight_factor": 1.2}, 0.29571607471501865),
    ({"alpha": 0.3, "max_words": 7}, 0.25001349474389145),
    ({"stemmer": False, "max_words": None}, 0.22419333546222145),
]


@pytest.mark.parametrize(("options", "expected"), PY_ROUGE)
def test_numbers_of_py_rouge(test_data, options, expected):
    sets = json.loads(read(test_data, "rouge155_tests.json")).values()
    rows = [(text.replace("/", "\n"), tuple(one["references"])) for one in sets for text in one["summaries"]]
    assert len(rows) == 200
    values = RougeLMax(**options)(*map(list, zip(*rows, strict=True)))["rouge_l_max"]
    assert statistics.fmean(values) == pytest.approx(expected, abs=1e-12)


def subsequence(one: list[str], other: list[str]) -> int:
    """The longest common subsequence by trying all of them, longest first."""
    for size in range(min(len(one), len(other)), 0, -1):
        if set(itertools.combinations(one, size)) & set(itertools.combinations(other, size)):
            return size
    return 0


def test_random_texts_against_all_subsequences():
    rng = random.Random(1)
    for _ in range(150):
        words, *others = ([rng.choice("abcd") for _ in range(rng.randrange(8))] for _ in range(3))
        hits = [subsequence(words, other) for other in others]
        precision = max(hit / max(len(words), 1) for hit in hits)
        recall = max(hit / max(len(other), 1) for hit, other in zip(hits, others, strict=True))
        mean = 0.0 if not precision else 1 / (1 / (1 + 1.44) / precision + 1.44 / (1 + 1.44) / recall)
        row = {"completions": [" ".join(words)], "references": [tuple(map(" ".join, others))]}
        assert CocoRougeL()(**row)["coco_rouge_l"][0] == pytest.approx(mean, abs=1e-12)
        best = max(2 * hit / max(len(words) + len(other), 1) for hit, other in zip(hits, others, strict=True))
        assert RougeLMax()(**row)["rouge_l_max"][0] == pytest.approx(best, abs=1e-12)
