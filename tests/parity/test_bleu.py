"""Own BLEU against the numbers of nlg-eval, and against sacrebleu on real texts."""

from __future__ import annotations

import json

import pytest
from sacrebleu.metrics import BLEU

from rl4lms.metrics.bleu import Bleu


def lines(file):
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return file.read_text(encoding="utf-8").splitlines()


def test_published_numbers_of_nlg_eval(test_data):
    folder = test_data / "metric_refs"
    completions, *references = (lines(folder / f"nlgeval_{name}.txt") for name in ("hyp", "ref1", "ref2"))
    values = Bleu()(completions, list(zip(*references, strict=True)))
    published = json.loads("\n".join(lines(folder / "expected_values.json")))
    expected = next(value for key, value in published.items() if key.startswith("nlg-eval"))
    assert [values[f"bleu-{n}"].value for n in (1, 2, 3, 4)] == pytest.approx(
        [expected[f"Bleu_{n}"] for n in (1, 2, 3, 4)], abs=1e-6
    )
    assert expected["Bleu_4"] == 0.201143


@pytest.mark.parametrize("tokenize", ["whitespace", "13a"])
@pytest.mark.parametrize("smoothing", ["none", "floor", "add-k", "exp"])
@pytest.mark.parametrize("max_n", [2, 4])
def test_sacrebleu_on_real_captions(test_data, tokenize, smoothing, max_n):
    rows = [json.loads(line)["scene"] for line in lines(test_data / "commongen" / "commongen.dev.jsonl")]
    rows = [texts for texts in rows if len(texts) >= 4][:250]
    completions = [texts[0] for texts in rows] + ["", "one", "two words"]
    references = [tuple(texts[1:4]) for texts in rows] + [("a", "b", "c"), ("one", "x", ""), ("two words", "", "x")]
    check(completions, references, tokenize, smoothing, max_n, lowercase=max_n == 2)


def test_sacrebleu_on_real_summaries(test_data):
    rows = [json.loads(line) for line in lines(test_data / "dialogsum" / "dialogsum.test.jsonl")[:100]]
    check(
        [row["summary1"] for row in rows],
        [(row["summary2"], row["summary3"]) for row in rows],
        "13a",
        "exp",
        4,
        lowercase=False,
    )


def check(completions, references, tokenize, smoothing, max_n, lowercase) -> None:
    values = Bleu(max_n=max_n, tokenize=tokenize, smoothing=smoothing, lowercase=lowercase)(completions, references)
    options = {
        "tokenize": {"whitespace": "none"}.get(tokenize, tokenize),
        "lowercase": lowercase,
        "max_ngram_order": max_n,
        "force": True,
    }
    corpus = BLEU(smooth_method="none", **options).corpus_score(
        completions, [list(texts) for texts in zip(*references, strict=True)]
    )
    assert 100 * values[f"bleu-{max_n}"].value == pytest.approx(corpus.score, abs=1e-9)
    single = BLEU(smooth_method=smoothing, effective_order=True, **options)
    expected = [
        single.sentence_score(completion, texts).score
        for completion, texts in zip(completions, references, strict=True)
    ]
    assert [100 * value for value in values[f"sentence_bleu-{max_n}"]] == pytest.approx(expected, abs=1e-9)
    assert len({round(value, 6) for value in expected}) > 40  # not a comparison of zeros
