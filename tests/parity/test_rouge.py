"""Own ROUGE against the `rouge-score` package, on real and on random pairs."""

from __future__ import annotations

import json
import random

import pytest

from rl4lms.metrics.rouge import KEYS, Rouge

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")


def published(completion: str, references: tuple[str, ...], stemmer: bool) -> dict[str, float]:
    scorer = rouge_scorer.RougeScorer(list(KEYS), use_stemmer=stemmer)
    return {key: score.fmeasure for key, score in scorer.score_multi(references, completion).items()}


def check(completions: list[str], references: list[tuple[str, ...]], stemmer: bool = True) -> None:
    own = Rouge(stemmer=stemmer)(completions=completions, references=references)
    for row, (completion, texts) in enumerate(zip(completions, references, strict=True)):
        expected = published(completion, texts, stemmer)
        for key in KEYS:
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


def test_real_dialogue_summaries(test_data):
    file = test_data / "dialogsum" / "dialogsum.test.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:60]]
    references = [tuple(row[f"summary{number}"] for number in (1, 2, 3)) for row in rows]
    # the opening of the dialogue (several lines), and the summary of another one
    check([row["dialogue"][:400] for row in rows], references)
    check([row["summary1"].replace(". ", ".\n") for row in rows[1:] + rows[:1]], references)
