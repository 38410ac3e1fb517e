"""The mask in general: its rules, and the corners in which different masks must be the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rl4lms.core.token_masks import min_p_mask, size, unpack
from rl4lms.errors import ConfigError
from rl4lms.rollout.engine import log_prob_pass
from rl4lms.training.loop import Loop
from tests.runs import recorded, run_steps, small_loop, small_recipe

FAMILIES = ["gpt2", "t5-untied"]
FAST = {"learning_rate": 1e-2}


def trained(tmp_path: Path, family: str, steps: int = 4, **settings: Any) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Scores and mask sizes of some iterations, and the weights after them."""
    loop = small_loop(tmp_path, family, optimizer=FAST, **settings)
    numbers = run_steps(loop, steps)
    seen = [(x["rollout/score"], x["rollout/entropy"], x["rollout/kl_per_token"]) for x in numbers]
    return seen, {n: p.detach().clone() for n, p in loop.models.policy.named_parameters() if ".mask." not in n}


def same(a: Any, b: Any) -> bool:
    return a[0] == b[0] and all(torch.equal(a[1][name], b[1][name]) for name in a[1])


RULES: list[dict[str, Any]] = [
    {"rule": "top_p", "top_p": 0.6},
    {"rule": "top_k", "top_k": 5},
    {"rule": "min_p", "min_p": 0.4},
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["rule"])
def test_lagged_by_one_iteration_is_the_policy(tmp_path: Path, family: str, rule: dict[str, Any]) -> None:
    one = trained(tmp_path, family, mask={"source": "lagged", "refresh_every": 1, **rule})
    assert same(one, trained(tmp_path, family, mask={"source": "policy", **rule}))
    assert not same(one, trained(tmp_path, family, mask={"source": "lagged", "refresh_every": 3, **rule}))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "target_modules": "all-linear"}], ids=["whole", "lora"])
def test_never_refreshed_is_the_reference(tmp_path: Path, family: str, lora: Any) -> None:
    never: dict[str, Any] = {"source": "lagged", "refresh_every": None, "top_p": 0.6}
    one = trained(tmp_path, family, mask=never, model={"lora": lora})
    assert same(one, trained(tmp_path, family, mask={"source": "reference", "top_p": 0.6}, model={"lora": lora}))
    assert not same(one, trained(tmp_path, family, mask={"source": "policy", "top_p": 0.6}, model={"lora": lora}))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("source", ["policy", "lagged", "reference"])
def test_a_mask_of_everything_is_no_mask(tmp_path: Path, family: str, source: str) -> None:
    assert same(trained(tmp_path, family), trained(tmp_path, family, mask={"source": source, "top_p": 1.0}))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("rule", "setting"), [("top_p", 0.7), ("top_k", 6)])
def test_a_mask_of_the_policy_is_truncated_sampling(tmp_path: Path, family: str, rule: str, setting: float) -> None:
    """At temperature 1, and where EOS is banned: the mask would add it, truncation does not."""
    lengths = {"max_new_tokens": 6, "min_new_tokens": 6}
    masked = trained(tmp_path, family, mask={"source": "policy", "rule": rule, rule: setting}, rollout=lengths)
    assert same(masked, trained(tmp_path, family, rollout={**lengths, rule: setting}))


def test_nlpo_is_ppo_with_its_mask(tmp_path: Path) -> None:
    mask = {"source": "lagged", "top_p": 0.7, "min_tokens_to_keep": 2, "refresh_every": 2}
    nlpo = {"name": "nlpo", "mask_top_p": 0.7, "min_tokens_to_keep": 2, "mask_update_every": 2}
    assert same(trained(tmp_path, "gpt2", mask=mask), trained(tmp_path, "gpt2", algorithm=nlpo))


@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "trpo", "bandit_ppo", "reinforce"])
@pytest.mark.parametrize("source", ["policy", "lagged", "reference"])
def test_it_composes_with_every_algorithm(tmp_path: Path, algorithm: str, source: str) -> None:
    loop = small_loop(tmp_path, algorithm={"name": algorithm}, mask={"source": source, "rule": "min_p", "min_p": 0.5})
    numbers = run_steps(loop, 2)
    assert 1 <= numbers[1]["train/mask_size"] < loop.models.policy.tokens.vocab_size
    assert numbers[1]["rollout/removed_mass"] > 0
    assert ("train/mask_refreshed" in numbers[1]) == (source == "lagged")


@pytest.mark.parametrize("algorithm", ["rloo", "grpo", "gspo", "cispo", "expert_iteration"])
def test_and_with_those_of_groups(tmp_path: Path, algorithm: str) -> None:
    groups = {"rollout": {"completions_per_prompt": 4}, "training": {"prompts_per_iteration": 4}}
    loop = small_loop(tmp_path, "t5-untied", algorithm={"name": algorithm}, mask={"source": "reference"}, **groups)
    assert all(numbers["rollout/removed_mass"] > 0 for numbers in run_steps(loop, 2))


def rollout_of(loop: Loop) -> Any:
    seen = recorded(loop)
    loop.step(0)
    return seen[0].rollout


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["rule"])
def test_the_set_is_that_of_the_rule_and_holds_the_end(tmp_path: Path, rule: dict[str, Any]) -> None:
    """Against the sorted probabilities of the reference's own pass."""
    loop = small_loop(tmp_path, mask={"source": "reference", **rule})
    rollout, policy = rollout_of(loop), loop.models.ref_policy
    sets = unpack(rollout.token_mask, policy.tokens.vocab_size)
    checked = 0
    for row in range(len(rollout)):
        prompt = rollout.prompt_ids[row][rollout.prompt_mask[row]]
        length = int(rollout.completion_mask[row].sum())
        ids = torch.cat([prompt, rollout.completion_ids[row, :length]])[None]
        with torch.no_grad():
            probs = policy.lm(input_ids=ids).logits[0, len(prompt) - 1 : -1].double().softmax(-1)
        for t in range(length):
            order = probs[t].argsort(descending=True).tolist()
            if rule["rule"] == "top_k":
                wanted = set(order[:5])
            elif rule["rule"] == "min_p":
                wanted = {i for i in order if probs[t, i] >= 0.4 * probs[t].max()}
            else:
                wanted, held = set(), 0.0
                for i in order:
                    if held >= 0.6:
                        break
                    wanted.add(i)
                    held += float(probs[t, i])
            assert set(sets[row, t].nonzero()[:, 0].tolist()) == wanted | set(policy.tokens.eos)
            checked += 1
    assert checked > 16


@pytest.mark.parametrize("source", ["policy", "lagged", "reference"])
def test_the_pass_replays_the_mask(tmp_path: Path, source: str) -> None:
    loop = small_loop(tmp_path, "t5-untied", mask={"source": source, "top_p": 0.5}, rollout={"temperature": 0.8})
    rule = loop.masking and loop.masking.rule
    rollout = loop.engine.rollout(loop.samples[:8], loop.recipe.rollout, stream="train", step=0, mask_rule=rule)
    out = log_prob_pass(loop.models.policy, rollout, temperature=0.8)
    assert (out.logprobs - rollout.sampled_logprobs)[rollout.completion_mask].abs().max() < 1e-5
    assert size(rollout.token_mask[rollout.completion_mask]).min() >= 1


def test_min_p_keeps_what_it_says() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0], [5.0, 5.0, 0.0, 0.0], [-torch.inf, 0.0, -torch.inf, -9.0]])
    probs = logits.softmax(-1)
    assert torch.equal(min_p_mask(logits, 0.3), probs >= 0.3 * probs.amax(-1, keepdim=True))
    assert min_p_mask(logits, 1.0).sum(-1).tolist() == [1, 2, 1]
    assert min_p_mask(logits, 1.0, 3).sum(-1).tolist() == [3, 3, 3]
    allowed = torch.tensor([[True, True, False, True], [False, False, True, False], [True, False, True, False]])
    kept = min_p_mask(logits, 0.3, 1, allowed)
    assert (kept & ~allowed).sum() == 0
    assert kept[:2].tolist() == [[True, True, False, False], [False, False, True, False]]
    assert kept.any(-1).all()
    for wrong in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match="min_p must be in"):
            min_p_mask(logits, wrong)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"source": "policy", "refresh_every": 5}, "refresh_every has no effect with source: policy"),
        ({"source": "reference", "rule": "top_k", "top_p": 0.5}, "top_p has no effect with rule: top_k"),
        ({"source": "reference", "rule": "top_k", "min_tokens_to_keep": 3}, "min_tokens_to_keep has no effect"),
        ({"source": "lagged", "top_p": 0}, "top_p"),
        ({"source": "lagged", "rule": "nucleus"}, "rule"),
        ({"rule": "top_p"}, "source"),
    ],
)
def test_options_without_an_effect_are_refused(tmp_path: Path, mask: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_recipe(tmp_path, mask=mask)


def test_two_masks_and_a_mask_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mask: NLPO has its own mask; leave it out, or use another algorithm"):
        small_loop(tmp_path, algorithm={"name": "nlpo"}, mask={"source": "policy"})
    with pytest.raises(ConfigError, match="mask: algorithm: null samples no rollouts"):
        small_loop(tmp_path, algorithm=None, supervised={"max_steps": 1}, mask={"source": "policy"})
