"""The adapters against published numbers and against sacrebleu's public methods.

The adapters call methods with a leading underscore; if a version of sacrebleu changes them, this is what fails.
"""

from __future__ import annotations

import json
import random

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from rl4lms.metrics.sacre import Chrf, SacreBleu, Ter

PAIRS = {
    "bleu": (SacreBleu(), BLEU(), BLEU(effective_order=True)),
    "bleu intl add-k": (
        SacreBleu(tokenize="intl", smoothing="add-k", lowercase=True),
        BLEU(tokenize="intl", smooth_method="add-k", lowercase=True),
        BLEU(tokenize="intl", smooth_method="add-k", lowercase=True, effective_order=True),
    ),
    "chrf": (Chrf(), CHRF(), CHRF()),
    "chrf++": (Chrf(word_order=2, beta=3), CHRF(word_order=2, beta=3), CHRF(word_order=2, beta=3)),
    "chrf with white space": (Chrf(whitespace=True), CHRF(whitespace=True), CHRF(whitespace=True)),
    "chrf++ smoothed": (
        Chrf(word_order=2, eps_smoothing=True),
        CHRF(word_order=2, eps_smoothing=True),
        CHRF(word_order=2, eps_smoothing=True),
    ),
    "ter": (Ter(), TER(), TER()),
    "ter normalised": (
        Ter(normalized=True, case_sensitive=True),
        TER(normalized=True, case_sensitive=True),
        TER(normalized=True, case_sensitive=True),
    ),
}


@pytest.mark.parametrize(("tokenize", "expected"), [("13a", 48.530827), ("none", 49.1919566)])
def test_published_numbers(test_data, tokenize, expected):
    file = test_data / "metric_refs" / "expected_values.json"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    vector = json.loads(file.read_text(encoding="utf-8"))["sacrebleu published test vector"]
    value = SacreBleu(tokenize=tokenize)(vector["hyps"], list(zip(*vector["refs"], strict=True)))["sacrebleu"].value
    assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_real_captions_with_one_to_four_references(test_data, name):
    file = test_data / "commongen" / "commongen.dev.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    rows = [json.loads(line)["scene"] for line in file.read_text(encoding="utf-8").splitlines()[:80]]
    check(name, [texts[0] for texts in rows], [tuple(texts[1 : 2 + number % 3]) for number, texts in enumerate(rows)])


@pytest.mark.parametrize("name", PAIRS)
def test_random_texts(name):
    rng = random.Random(0)
    words = ["a", "b.", "(c", "D", "3-4", "日本", "état", "🙂", "&amp;", "  ", "\n"]

    def text() -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randrange(12)))

    check(name, [text() for _ in range(120)], [tuple(text() for _ in range(rng.randrange(1, 4))) for _ in range(120)])


def check(name, completions, references) -> None:
    metric, package, single = PAIRS[name]
    values = metric(completions, references)
    key = metric.reward_key
    most = max(map(len, references))
    streams = [[texts[place] if place < len(texts) else None for texts in references] for place in range(most)]
    score = package.corpus_score(completions, streams)
    assert values[key.removeprefix("sentence_")].value == pytest.approx(score.score, abs=1e-9)
    expected = [
        single.sentence_score(completion, list(texts)).score
        for completion, texts in zip(completions, references, strict=True)
    ]
    assert values[key] == pytest.approx(expected, abs=1e-9)
    assert len({round(value, 3) for value in expected}) > 10
    signature = metric.signature[key.removeprefix("sentence_")]
    assert signature == f"{score.name}|{package.get_signature()}"


def test_error_is_that_of_sacrebleus_own_bootstrap(test_data):
    file = test_data / "commongen" / "commongen.dev.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    rows = [json.loads(line)["scene"] for line in file.read_text(encoding="utf-8").splitlines()[:300]]
    completions, references = [texts[0] for texts in rows], [(texts[1],) for texts in rows]
    score = BLEU().corpus_score(completions, [[texts[0] for texts in references]], n_bootstrap=1000)
    half_width = score._ci  # of its 95 % interval
    assert 1.96 * SacreBleu()(completions, references)["sacrebleu"].stderr == pytest.approx(half_width, rel=0.2)


TOKENISED = {
    "ja-mecab": (
        "MeCab",
        ["猫は窓のそばに座っています。", "犬が公園を走る。"],
        ["猫が窓のそばで座っていた。", "犬は公園を走った。"],
    ),
    "ko-mecab": (
        "mecab_ko",
        ["고양이가 창가에 앉아 있다.", "개가 공원을 달린다."],
        ["고양이는 창가에 앉았다.", "개는 공원에서 달린다."],
    ),
}


@pytest.mark.parametrize("name", TOKENISED)
def test_tokenizers_that_need_an_extra(name):
    module, texts, gold = TOKENISED[name]
    pytest.importorskip(module)
    values = SacreBleu(tokenize=name)(texts, [(text,) for text in gold])
    package = BLEU(tokenize=name, force=True)
    assert values["sacrebleu"].value == pytest.approx(package.corpus_score(texts, [gold]).score, abs=1e-9)
    assert 5 < values["sacrebleu"].value < 90


def test_a_sentencepiece_model_that_is_there(monkeypatch, tmp_path):
    """A small one, in the place of the published one, which is a download."""
    spm = pytest.importorskip("sentencepiece")
    from sacrebleu.tokenizers import tokenizer_spm

    from rl4lms.metrics import sacre

    (tmp_path / "models").mkdir()
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the cat sat on the mat\na dog ran in the park\n" * 20)
    place = tmp_path / "models" / "sacrebleu_tokenizer_spm.model"
    spm.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(place)[: -len(".model")], vocab_size=20, minloglevel=2
    )
    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(sacre, "SACREBLEU_DIR", str(tmp_path))
    texts, gold = ["the cat ran on the mat"], ["the cat sat on a mat"]
    for name in ("flores101", "spm"):
        values = SacreBleu(tokenize=name)(texts, [(text,) for text in gold])
        package = BLEU(tokenize=name, force=True, effective_order=True)
        assert values["sentence_sacrebleu"] == pytest.approx([package.sentence_score(texts[0], gold).score], abs=1e-9)
