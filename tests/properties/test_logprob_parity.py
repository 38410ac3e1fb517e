"""The sampler, the log-prob pass and HuggingFace's own forward agree, for every family and every sampling setting."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch

from rl4lms.config.generation import SamplingConfig
from rl4lms.core import token_masks
from rl4lms.core.padding import pad
from rl4lms.core.sampling import draw_keys
from rl4lms.models.generate import MaskRule
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from tests.marks import slow_but
from tests.tiny import ENCODER_DECODER, FAMILIES, tiny_lm

SETTINGS = {
    "plain": ({}, None),
    "temperature": ({"temperature": 0.6}, None),
    "top_k": ({"top_k": 7, "temperature": 1.5}, None),
    "top_p": ({"top_p": 0.7}, None),
    "min_new_tokens": ({"min_new_tokens": 5}, None),
    "mask": ({}, 0.8),
    "all": ({"temperature": 0.8, "top_k": 12, "top_p": 0.9, "min_new_tokens": 4}, 0.9),
}
PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 3], [12], [4, 4, 4, 9], [30, 31, 32], [7, 2, 9]]


def nucleus(policy: Policy, top_p: float, least: int) -> MaskRule:
    return MaskRule(policy, functools.partial(token_masks.top_p_mask, top_p=top_p, min_tokens_to_keep=least))


def hf_logits(policy: Policy, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Logits that predict `completion`, by the model's plain forward on this one unpadded row."""
    if policy.lm.config.is_encoder_decoder:
        prefix = list(policy.tokens.decoder_prefix)
        logits = policy.lm(
            input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([prefix + completion[:-1]])
        ).logits
        return logits[0, len(prefix) - 1 :]
    return policy.lm(input_ids=torch.tensor([prompt + completion[:-1]])).logits[0, len(prompt) - 1 :]


@pytest.mark.parametrize(
    ("family", "setting"),
    slow_but(
        itertools.product(FAMILIES, SETTINGS),
        [(f, s) for f in FAMILIES for s in SETTINGS if f in ("gpt2", "t5-untied") or s == "all"],
    ),
)
@torch.no_grad()
def test_sampler_equals_pass_equals_huggingface(family: str, setting: str) -> None:
    lm = tiny_lm(family)
    policy = Policy(lm, special_tokens(lm, None))
    options, top_p = SETTINGS[setting]
    policy.add_value(None)
    torch.nn.init.normal_(policy.value_head.linear.weight)
    settings = SamplingConfig(max_new_tokens=12, **options)
    other = tiny_lm(family, seed=1)
    rule = None if top_p is None else nucleus(Policy(other, special_tokens(other, None)), top_p, 3)
    prompt_ids, prompt_mask = pad(PROMPTS, policy.tokens.pad, policy.family.padding_side)
    n = 3
    keys = draw_keys(0, 0, 0, torch.arange(len(PROMPTS) * n))
    out = policy.generate(prompt_ids, prompt_mask, keys, settings=settings, completions_per_prompt=n, mask_rule=rule)
    rows = (
        prompt_ids.repeat_interleave(n, 0),
        prompt_mask.repeat_interleave(n, 0),
        out.completion_ids,
        out.completion_mask,
    )
    scored = policy(*rows, temperature=settings.temperature, token_mask=out.token_mask, values=True)
    for name in ("logprobs", "full_logprobs", "kept_mass", "entropy", "values"):
        assert (getattr(out.sampled, name) - getattr(scored, name)).abs().max() <= 1e-4, name
    assert scored.values.abs().max() > 0.01

    for row in range(len(keys)):
        completion = out.completion_ids[row][out.completion_mask[row]].tolist()
        logits = hf_logits(policy, PROMPTS[row // n], completion)
        index = torch.tensor(completion)[:, None]
        full = logits.log_softmax(-1).gather(-1, index)[:, 0]
        assert (full - scored.full_logprobs[row, : len(completion)]).abs().max() <= 1e-4
        # The behaviour policy by renormalising probabilities, not log-sum-exp, over the recorded support.
        probs = (logits / settings.temperature).softmax(-1)
        if out.token_mask is not None:
            allowed = token_masks.unpack(out.token_mask[row, : len(completion)], logits.shape[-1])
            assert allowed.any(-1).all()
            probs = probs * allowed
        behaviour = (probs / probs.sum(-1, keepdim=True)).gather(-1, index)[:, 0].log()
        assert (behaviour - out.sampled.logprobs[row, : len(completion)]).abs().max() <= 1e-4
        entropy = -torch.special.xlogy(probs / probs.sum(-1, keepdim=True), probs / probs.sum(-1, keepdim=True)).sum(-1)
        assert (entropy - scored.entropy[row, : len(completion)]).abs().max() <= 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_supports_follow_the_stated_order(family: str) -> None:
    """The recorded support equals one computed row by row in plain Python: EOS ban, mask, temperature, top-k, top-p."""
    lm, other = tiny_lm(family), tiny_lm(family, seed=1)
    policy, mask_policy = Policy(lm, special_tokens(lm, None)), Policy(other, special_tokens(other, None))
    settings = SamplingConfig(max_new_tokens=8, temperature=0.8, top_k=6, top_p=0.9, min_new_tokens=3)
    prompt_ids, prompt_mask = pad(PROMPTS, policy.tokens.pad, policy.family.padding_side)
    keys = draw_keys(3, 0, 0, torch.arange(len(PROMPTS)))
    out = policy.generate(prompt_ids, prompt_mask, keys, settings=settings, mask_rule=nucleus(mask_policy, 0.8, 2))
    for row, prompt in enumerate(PROMPTS):
        completion = out.completion_ids[row][out.completion_mask[row]].tolist()
        recorded = token_masks.unpack(out.token_mask[row], policy.tokens.vocab_size)
        logits, mask_logits = hf_logits(policy, prompt, completion), hf_logits(mask_policy, prompt, completion)
        for t in range(len(completion)):
            banned = set(policy.tokens.eos) if t < 3 else set()
            p = {i: float(x) for i, x in enumerate(mask_logits[t].double().exp()) if i not in banned}
            kept = _nucleus(p, 0.8, 2) | (set(policy.tokens.eos) - banned)
            q = {i: float(x) for i, x in enumerate((logits[t].double() / 0.8).exp()) if i in kept}
            q = dict(sorted(q.items(), key=lambda item: -item[1])[:6])
            assert set(recorded[t].nonzero()[:, 0].tolist()) == _nucleus(q, 0.9, 1)


def _nucleus(weights: dict[int, float], top_p: float, at_least: int) -> set[int]:
    total, mass, kept = sum(weights.values()), 0.0, []
    for token, weight in sorted(weights.items(), key=lambda item: -item[1]):
        if mass >= top_p * total and len(kept) >= at_least:
            break
        kept.append(token)
        mass += weight
    return set(kept)


@pytest.mark.parametrize("family", slow_but(["gpt2", *ENCODER_DECODER[:1]], ["gpt2"]))
@torch.no_grad()
def test_texts_do_not_depend_on_the_batch(family: str) -> None:
    lm = tiny_lm(family, vocab_size=500)
    policy = Policy(lm, special_tokens(lm, None))
    prompts = [[3 + i % 40, 4 + i % 7] + [9] * (i % 5) for i in range(40)]
    keys = draw_keys(0, 1, 0, torch.arange(len(prompts)))
    settings = SamplingConfig(max_new_tokens=16)

    def texts(size: int) -> list[list[int]]:
        rows = []
        for start in range(0, len(prompts), size):
            ids, mask = pad(prompts[start : start + size], policy.tokens.pad, policy.family.padding_side)
            out = policy.generate(ids, mask, keys[start : start + size], settings=settings)
            rows += [i[m].tolist() for i, m in zip(out.completion_ids, out.completion_mask, strict=True)]
        return rows

    assert texts(1) == texts(40) == texts(7)


@pytest.mark.parametrize(
    ("texts", "tokens"), [pytest.param(16, 6, id="small"), pytest.param(1000, 48, id="full", marks=pytest.mark.slow)]
)
@torch.no_grad()
def test_batch_1_and_batch_64_give_the_same_tokens_at_a_large_vocabulary(texts: int, tokens: int) -> None:
    lm = tiny_lm("gpt2", vocab_size=50_257, width=64)
    policy = Policy(lm, special_tokens(lm, None))
    settings = SamplingConfig(max_new_tokens=tokens)
    prompts = [[3 + (i * 31) % 40_000, 7 + i, 5][: 1 + i % 3] for i in range(texts)]
    keys = draw_keys(11, 0, 0, torch.arange(texts))

    def sample(size: int) -> list[list[int]]:
        rows = []
        for start in range(0, texts, size):
            ids, mask = pad(prompts[start : start + size], policy.tokens.pad, "left")
            out = policy.generate(ids, mask, keys[start : start + size], settings=settings)
            rows += [i[m].tolist() for i, m in zip(out.completion_ids, out.completion_mask, strict=True)]
        return rows

    same = sum(a == b for a, b in zip(sample(1), sample(64), strict=True))
    print(f"identical texts: {same} of {texts}")
    assert same >= 0.99 * texts
