from __future__ import annotations

import inspect
import math

import pytest

from rl4lms.errors import DataError
from rl4lms.metrics import build, compute, compute_all
from rl4lms.metrics.perplexity import Perplexity
from rl4lms.models.text_nll import load_text_nll


class Judge:
    """Every token costs log 2 after a short prompt, log 8 after a long one."""

    def __init__(self):
        self.calls = []

    def __call__(self, prompts, texts):
        prompts[0]  # tokenizers cannot be called on nothing
        self.calls.append((prompts, texts))
        counts = [len(text.split()) for text in texts]
        return [
            count * math.log(8 if len(prompt) > 1 else 2) for prompt, count in zip(prompts, counts, strict=True)
        ], counts


@pytest.fixture
def judge(monkeypatch):
    judge = Judge()
    scoring = pytest.importorskip("rl4lms.models.text_nll")
    monkeypatch.setattr(scoring, "load_text_nll", lambda path, *, device, batch_size, max_tokens, allow_pickle: judge)
    return judge


def batch(**changes):
    return {
        "prompts": ["p", "long"],
        "completions": ["a b c", "d"],
        "references": [("r s", "t"), ("u",)],
        "columns": {},
    } | changes


def test_perplexity_weighs_tokens_not_texts(judge):
    corpus, nll = compute(Perplexity(model="judge"), **batch())
    # three tokens of probability 1/2 and one of 1/8: the geometric mean is 2 ** -(6 / 4)
    assert corpus.key == "perplexity"
    assert corpus.mean == pytest.approx(2**1.5)
    assert nll.values == pytest.approx((3 * math.log(2), math.log(8)))
    assert nll.higher_is_better is False


def test_its_error_is_that_of_the_bootstrap_over_texts(judge):
    # one token each, half of them of log 2 and half of log 8: the mean of the nats has the error log 2 / 10, and d
    # exp(x) = exp(x) dx
    corpus, _ = compute(
        Perplexity(model="judge"),
        **batch(prompts=["p", "long"] * 50, completions=["a"] * 100, references=[("r",)] * 100),
    )
    assert corpus.mean == pytest.approx(4)
    assert corpus.stderr == pytest.approx(4 * math.log(2) / 10, rel=0.15)
    alone, _ = compute(Perplexity(model="judge"), **batch(prompts=["p"], completions=["a"], references=[("r",)]))
    assert alone.stderr is None


def test_empty_completions_have_no_perplexity(judge):
    (nll,) = compute(Perplexity(model="judge"), **batch(completions=["", ""]))
    assert nll.key == "nll"
    assert nll.values == (0.0, 0.0)


def test_two_judges(judge):
    metrics = [
        build({"name": "perplexity", "model": "judge"}),
        build({"name": "perplexity", "model": "other", "key": "strict"}),
    ]
    assert [result.key for result in compute_all(metrics, **batch())] == ["perplexity", "nll", "strict", "strict_nll"]


def test_reference_perplexity_scores_every_reference_once():
    judge = Judge()
    # two completions of the first prompt: its references count once
    rows = batch(
        prompts=["p", "p", "long"], completions=["a", "b", "c"], references=[("r s", "t"), ("r s", "t"), ("u",)]
    )
    (result,) = compute(build("reference_perplexity"), **rows, nll_of_texts=judge)
    assert judge.calls == [(["p", "p", "long"], ["r s", "t", "u"])]
    assert result.mean == pytest.approx(2**1.5)
    assert result.key == "reference_perplexity"


def test_reference_perplexity_needs_references():
    with pytest.raises(DataError, match="no references"):
        compute(build("reference_perplexity"), **batch(references=[(), ()]), nll_of_texts=Judge())


def test_under_a_real_model(tmp_path):
    """Against log-softmax of the model's own logits, one unpadded row at a time."""
    torch = pytest.importorskip("torch")
    from transformers import GPT2Config, GPT2LMHeadModel

    from tests.unit.metrics.words import word_tokenizer

    torch.manual_seed(0)
    words = ["a", "b", "c", "d", "e"]
    tokenizer = word_tokenizer(words)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=32, eos_token_id=1, bos_token_id=1
        )
    )
    with torch.no_grad():
        model.transformer.wte.weight.mul_(20)
    model.eval().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    prompts, completions = ["a b", "c"], ["c d e", "a"]
    expected = []
    for prompt, completion in zip(prompts, completions, strict=True):
        ids = torch.tensor([tokenizer(f"{prompt} {completion}")["input_ids"]])
        start = len(prompt.split())
        logprobs = model(ids).logits[0].log_softmax(-1)
        expected.append(-sum(logprobs[t - 1, ids[0, t]].item() for t in range(start, ids.shape[1])))
    metric = build({"name": "perplexity", "model": str(tmp_path), "device": "cpu"})
    values = metric(prompts=prompts, completions=completions)
    assert values["nll"] == pytest.approx(expected, abs=1e-4)
    assert values["perplexity"].value == pytest.approx(math.exp(sum(expected) / 4), rel=1e-5)


def test_the_defaults_stand_in_the_metric_alone():
    empty = inspect.Parameter.empty
    assert all(parameter.default is empty for parameter in inspect.signature(load_text_nll).parameters.values())
