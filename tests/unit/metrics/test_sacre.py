from __future__ import annotations

import importlib
import sys

import pytest

from rl4lms.errors import DataError, MissingPartError
from rl4lms.metrics import build_all, compute, sacre
from rl4lms.metrics.sacre import Chrf, SacreBleu, Ter

METRICS = [SacreBleu(), Chrf(), Chrf(word_order=2), Ter()]


def test_keys_scale_and_direction():
    for metric, key, perfect in (
        (SacreBleu(), "sacrebleu", 100),
        (Chrf(), "chrf", 100),
        (Chrf(word_order=2), "chrf++", 100),
        (Ter(), "ter", 0),
    ):
        values = metric(["a b c d e"], [("a b c d e",)])
        assert values[key].value == pytest.approx(perfect)
        assert values[f"sentence_{key}"] == [pytest.approx(perfect)]
        assert metric.reward_key == f"sentence_{key}"
        assert metric.higher_is_better == dict.fromkeys((key, f"sentence_{key}"), key != "ter")
        assert metric.as_reward(metric.reward_key, values[metric.reward_key][0]) == pytest.approx(1)


def test_worked_by_hand():
    # one substitution in four words; d is shifted to the end
    assert Ter()(["a b x d", "d a b c"], [("a b c d",), ("a b c d",)])["sentence_ter"] == [25.0, 25.0]
    assert Ter().as_reward("sentence_ter", 150.0) == -0.5
    # characters: 2 of 3; pairs: 1 of 2; triples: 0 of 1; longer ones: none
    assert Chrf()(["abx"], [("abc",)])["sentence_chrf"] == [pytest.approx(100 * (2 / 3 + 1 / 2) / 3)]
    assert Chrf().as_reward("sentence_chrf", 40.0) == 0.4


def test_no_value_over_a_hundred():
    assert SacreBleu()(["The dog bit the man."], [("The dog bit the man.",)])["sentence_sacrebleu"] == [100.0]


@pytest.mark.parametrize("metric", METRICS)
def test_odd_texts_have_values(metric):
    key = metric.reward_key
    nothing = 100.0 if key == "sentence_ter" else 0.0
    assert metric(["", "a", "\ud800", " "], [("a",), ("",), ("x",), ("a",)])[key] == [nothing] * 4
    assert metric([""], [("",)])[key] == [0.0]
    perfect = 0.0 if key == "sentence_ter" else 100.0
    for text in ("?!", "e\u0301", "🙂🙂", "日本語", "שלום", "a\ud800b"):
        assert metric([text], [(text,)])[key] == [pytest.approx(perfect)]
    with pytest.raises(DataError, match="row 2 has none"):
        metric(["a", "b"], [("a",), ()])


@pytest.mark.parametrize("metric", METRICS)
def test_signature_is_sacrebleus_and_counts_the_references(metric):
    key = metric.reward_key.removeprefix("sentence_")
    (corpus, sentence) = compute(
        metric, prompts=["", ""], completions=["a", "b"], references=[("a", "b"), ("b", "c")], columns={}
    )
    assert (corpus.key, sentence.key) == (key, f"sentence_{key}")
    assert "|nrefs:2|" in corpus.signature
    assert "|nrefs:2|" in sentence.signature
    metric(["a", "b"], [("a",), ("b", "c")])
    assert "|nrefs:var|" in metric.signature[key]


def test_signature_text():
    metric = SacreBleu(tokenize="none", lowercase=True, smoothing="floor")
    assert metric.signature["sacrebleu"].startswith(
        "BLEU|nrefs:var|case:lc|eff:no|tok:none|smooth:floor[0.10]|version:2."
    )
    assert "|eff:yes|" in metric.signature["sentence_sacrebleu"]
    assert Chrf(word_order=2).signature["chrf++"].startswith("chrF2++|")
    assert Ter().signature["ter"].startswith("TER|")


def test_references_are_taken_apart_once():
    sacre._reference_info.cache_clear()
    for _ in range(3):
        Chrf()(["a", "b"], [("only here", "twice"), ("only here", "twice")])
    assert sacre._reference_info.cache_info().misses == 1
    Chrf(lowercase=True)(["a"], [("only here", "twice")])
    assert sacre._reference_info.cache_info().misses == 2


def test_a_corpus_value_has_an_error_and_a_single_text_none():
    rows = [f"a b c d {number}" for number in range(20)]
    for metric in METRICS:
        key = metric.reward_key.removeprefix("sentence_")
        assert metric(rows, [("a b c d 3",)] * 20)[key].stderr > 0
        assert metric(rows[:1], [("a b c d 3",)])[key].stderr is None


@pytest.mark.parametrize(("name", "extra"), [("ja-mecab", "ja"), ("ko-mecab", "ko")])
def test_a_tokenizer_without_its_extra_is_absent_and_not_zero(name, extra, monkeypatch):
    module = importlib.import_module(f"sacrebleu.tokenizers.tokenizer_{extra}_mecab")
    monkeypatch.setattr(module, "MeCab", None)  # what sacrebleu does where the import fails
    built, absent = build_all([{"name": "sacrebleu", "tokenize": name}])
    assert built == []
    assert f'pip install "sacrebleu[{extra}]"' in absent["sacrebleu"]


def test_a_sentencepiece_model_that_cannot_be_had_is_absent(monkeypatch, tmp_path):
    from sacrebleu.tokenizers import tokenizer_spm

    def download(url, place):
        raise OSError("no route to host")

    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(tokenizer_spm, "download_file", download)
    monkeypatch.setattr(sacre, "SACREBLEU_DIR", str(tmp_path))
    with pytest.raises(
        MissingPartError, match=r"model of sacrebleu's tokenizer 'flores200' is missing; .*no route to host.*put https"
    ):
        SacreBleu(tokenize="flores200")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "sacrebleu_tokenizer_spm.model").write_bytes(b"broken")
    with pytest.raises(MissingPartError, match="downloaded or read"):
        SacreBleu(tokenize="spm")


def test_without_sentencepiece_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingPartError, match="pip install sentencepiece"):
        SacreBleu(tokenize="flores101")
