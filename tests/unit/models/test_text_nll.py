"""Likelihood of texts: which prompts they follow, and what cannot be scored."""

from __future__ import annotations

import pytest
import torch

from rl4lms.config.data import PromptConfig
from rl4lms.errors import DataError
from rl4lms.metrics import build, compute
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from rl4lms.models.text_nll import TextNll
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.types import Sample
from tests.tiny import number_tokenizer, tiny_lm


def tiny_policy(vocab_size: int) -> Policy:
    lm = tiny_lm("gpt2", vocab_size=vocab_size)
    return Policy(lm, special_tokens(lm, None))


def test_prompts_are_encoded_as_the_recipe_says() -> None:
    """A prefix, and truncation on the right: against the log-softmax of the model's own logits."""
    tokenizer = number_tokenizer()
    policy = tiny_policy(len(tokenizer))
    encoder = PromptEncoder(
        tokenizer, policy.tokens, PromptConfig(max_tokens=4, prefix="9 8 ", truncation_side="right")
    )

    def encode(prompts: list[str]) -> list[list[int]]:
        return encoder([Sample(str(i), prompt) for i, prompt in enumerate(prompts)])

    nats, counts = TextNll(policy, tokenizer, encode_prompts=encode)(["1 2 3", "4"], ["5 6", "7"])
    expected = []
    for prompt, text in (("9 8 1 2", "5 6"), ("9 8 4", "7")):
        ids = torch.tensor([tokenizer(f"{prompt} {text}")["input_ids"]])
        start = len(prompt.split())
        with torch.no_grad():
            logprobs = policy.lm(ids).logits[0].log_softmax(-1)
        expected.append(-sum(logprobs[t - 1, ids[0, t]].item() for t in range(start, ids.shape[1])))
    assert counts == [2, 1]
    assert nats == pytest.approx(expected, abs=1e-4)
    plain, _ = TextNll(policy, tokenizer)(["1 2 3", "4"], ["5 6", "7"])
    assert plain != pytest.approx(expected, abs=1e-2)


def test_ids_outside_the_vocabulary() -> None:
    scorer = TextNll(tiny_policy(10), number_tokenizer())
    with pytest.raises(DataError, match="text 2 cannot be scored: token id 18 is outside the model's vocabulary of 10"):
        scorer(["1", "1"], ["2", "15"])
    with pytest.raises(DataError, match="prompt 1 cannot be scored: token id 18"):
        scorer(["15", "1"], ["2", "2"])


def test_nothing_to_score() -> None:
    tokenizer = number_tokenizer()
    scorer = TextNll(tiny_policy(len(tokenizer)), tokenizer)
    assert scorer([], []) == ([], [])
    rows = {"prompts": ["1"], "completions": ["2"], "references": [()], "columns": {}}
    with pytest.raises(DataError, match="reference_perplexity: the data has no references"):
        compute(build("reference_perplexity"), **rows, nll_of_texts=scorer)
