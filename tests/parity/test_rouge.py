"""Own ROUGE against the `rouge-score` package, on real and on random pairs."""

from __future__ import annotations

import csv
import json
import random
import statistics
import time

import pytest

from rl4lms.metrics import rouge
from rl4lms.metrics.rouge import KEYS, Rouge, RougeCombined

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")


ALL = ["f", "precision", "recall"]


def published(completion: str, references: tuple[str, ...], stemmer: bool) -> dict[str, float]:
    scorer = rouge_scorer.RougeScorer(list(KEYS), use_stemmer=stemmer)
    found = {}
    for key, score in scorer.score_multi(references, completion).items():
        found |= {key: score.fmeasure, f"{key}_precision": score.precision, f"{key}_recall": score.recall}
    return found


def check(completions: list[str], references: list[tuple[str, ...]], stemmer: bool = True) -> None:
    own = Rouge(stemmer=stemmer, report=ALL)(completions=completions, references=references)
    for row, (completion, texts) in enumerate(zip(completions, references, strict=True)):
        expected = published(completion, texts, stemmer)
        assert own.keys() == expected.keys()
        for key in expected:
            assert own[key][row] == pytest.approx(expected[key], abs=1e-9), (key, completion, texts)


@pytest.mark.parametrize("stemmer", [True, False])
def test_random_texts_with_ties_lines_and_odd_characters(stemmer):
    rng = random.Random(0)
    words = [
        "the",
        "running",
        "runs",
        "ran",
        "cat",
        "cats",
        "Dog",
        "x-ray",
        "U.S.",
        "état",
        "42",
        "\n",
        "\n",
        "dying",
        "skies",
        "news",
        "a",
    ]

    def text() -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randrange(0, 25)))

    completions = [text() for _ in range(200)]
    references = [tuple(text() for _ in range(rng.randrange(1, 4))) for _ in range(200)]
    check(completions, references, stemmer)


@pytest.mark.parametrize("kind", ["max", "mean"])
def test_several_references(kind):
    completion, references = "a cat sat on\nthe running dogs", ("the cat\nsat", "running dog on the cat", "no")
    scorer = rouge_scorer.RougeScorer(list(KEYS), use_stemmer=True)
    apart = [scorer.score(reference, completion) for reference in references]
    over = {"max": max, "mean": statistics.fmean}[kind]
    expected = {key: over([scores[key].fmeasure for scores in apart]) for key in KEYS}
    if kind == "mean":
        for measure in ("precision", "recall"):
            of_measure = {f"{key}_{measure}": over([getattr(scores[key], measure) for scores in apart]) for key in KEYS}
            assert {
                key: value[0]
                for key, value in Rouge(multi_reference=kind, report=[measure])([completion], [references]).items()
            } == pytest.approx(of_measure, abs=1e-12)
    values = Rouge(multi_reference=kind)(completions=[completion], references=[references])
    assert {key: value[0] for key, value in values.items()} == pytest.approx(expected, abs=1e-12)
    combined = statistics.fmean([expected["rouge1"], expected["rouge2"], expected["rougeL"]])
    assert RougeCombined(multi_reference=kind)([completion], [references])["rouge_combined"] == [
        pytest.approx(combined, abs=1e-12)
    ]


def lines_of(file):
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def captions(test_data) -> list[tuple[str, tuple[str, ...]]]:
    """The other descriptions of a concept set, each against the first one."""
    sets = [row["scene"] for row in lines_of(test_data / "commongen" / "commongen.dev.jsonl")]
    return [(other, (first,)) for first, *others in sets for other in others][:1000]


def test_a_thousand_real_captions(test_data):
    pairs = captions(test_data)
    assert len(pairs) == 1000
    check(*map(list, zip(*pairs, strict=True)))


def test_real_dialogue_summaries(test_data):
    rows = lines_of(test_data / "dialogsum" / "dialogsum.test.jsonl")[:60]
    references = [tuple(row[f"summary{number}"] for number in (1, 2, 3)) for row in rows]
    # the opening of the dialogue (several lines), and the summary of another one
    check([row["dialogue"][:400] for row in rows], references)
    check([row["summary1"].replace(". ", ".\n") for row in rows[1:] + rows[:1]], references)


def test_real_news_highlights_line_by_line(test_data):
    file = test_data / "cnndm" / "cnn_dailymail.csv"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))[:40]
    assert sum("\n" in row["y"] for row in rows) > 30
    # the lead of the article, a line for each sentence
    check([row["text"][:500].replace(". ", ".\n") for row in rows], [(row["y"],) for row in rows])


def test_at_least_three_times_as_fast(test_data):
    pairs = captions(test_data)[:300]
    scorer = rouge_scorer.RougeScorer(list(KEYS), use_stemmer=True)

    def package() -> None:
        for completion, references in pairs:
            scorer.score_multi(references, completion)

    def own() -> None:
        rouge._stem.cache_clear()
        rouge.prepared_reference.cache_clear()
        Rouge()(*map(list, zip(*pairs, strict=True)))

    def seconds(function) -> float:
        start = time.process_time()
        function()
        return time.process_time() - start

    # measured: 9 times with nothing remembered
    assert 3 * min(seconds(own) for _ in range(3)) < min(seconds(package) for _ in range(2))
