"""Algorithms in a loop of a tiny model: what they do to an experience, and what they share with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rl4lms.training.loop import Loop
from rl4lms.types import Experience
from tests.properties.test_logprob_parity import hf_logits
from tests.runs import run_steps, small_loop

GROUPS = {"rollout": {"completions_per_prompt": 4}, "training": {"prompts_per_iteration": 4}}


def first_gradient(loop: Loop) -> tuple[torch.Tensor, Experience]:
    """Of the policy's weights, in the first optimiser step."""
    found: list[Any] = []
    update = loop.algorithm.update

    def record(experience: Experience, step: int) -> dict[str, float]:
        found.append(experience)
        return update(experience, step)

    def stop(*_: Any) -> None:
        named = loop.models.policy.lm.named_parameters()
        found.append(torch.cat([p.grad.flatten().clone() for _, p in named if p.grad is not None]))
        raise KeyboardInterrupt

    loop.algorithm.update = record  # type: ignore[method-assign]
    loop.algorithm.learner.optimizer.register_step_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        loop.step(0)
    return found[1], found[0]


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
def test_bandit_is_token_mode_at_the_old_policy(tmp_path: Path, family: str) -> None:
    """With gamma = lambda = 1 and a baseline that is the prompt's, losses summed over tokens: the ratio's gradient is
    the sum of those of the tokens.
    """
    whole = {"minibatch_size": 16, "n_epochs": 1, "whiten_advantages": False}
    wide: dict[str, Any] = {"optimizer": {"max_grad_norm": 1e9}, "kl": {"kl_coef": 0.3}}
    ours, e = first_gradient(small_loop(tmp_path, family, algorithm={"name": "bandit_ppo", **whole}, **wide))
    # at the start the value function is one constant, the prompt's as well as every token's
    token = {"name": "ppo", "gamma": 1.0, "gae_lambda": 1.0, **whole}
    loop = small_loop(tmp_path, family, algorithm=token, **wide)
    credit = loop.algorithm.credit

    def of_the_whole(experience: Experience, kl_coef: float) -> None:
        """PPO's returns are those to come; a KL term on earlier tokens is part of the completion's as well."""
        credit(experience, kl_coef)
        r = experience.rewards * experience.mask
        last = experience.mask.sum(-1, keepdim=True) - 1
        experience.rewards = torch.zeros_like(r).scatter(1, last, r.sum(-1, keepdim=True))

    loop.algorithm.credit = of_the_whole  # type: ignore[method-assign]
    theirs, _ = first_gradient(loop)
    tokens_per_completion = float(e.mask.sum()) / 16
    assert theirs.abs().max() > 0
    assert torch.allclose(ours, theirs * tokens_per_completion, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
def test_expert_iteration_is_the_likelihood_of_the_best(tmp_path: Path, family: str) -> None:
    options = {"name": "expert_iteration", "minibatch_size": 16}
    settings = {**GROUPS, "rollout": {"completions_per_prompt": 4, "temperature": 0.7, "top_k": 10}}
    loop = small_loop(tmp_path, family, algorithm=options, optimizer={"max_grad_norm": 1e9}, **settings)
    gradient, e = first_gradient(loop)
    totals = (e.rewards * e.mask).sum(-1).view(-1, 4)
    total, n = torch.zeros(()), 0
    for i, group in enumerate(totals.tolist()):
        if max(group) - min(group) <= 1e-6 * max(map(abs, group)):
            continue
        row = 4 * i + group.index(max(group))
        prompt = e.rollout.prompt_ids[row][e.rollout.prompt_mask[row]].tolist()
        completion = e.rollout.completion_ids[row][e.rollout.completion_mask[row]]
        logits = hf_logits(loop.models.policy, prompt, completion.tolist())
        total = total - logits.log_softmax(-1).gather(-1, completion[:, None]).sum()
        n += len(completion)
    assert n > 0
    loop.algorithm.learner.optimizer.zero_grad()
    (total / n).backward()
    wanted = torch.cat([p.grad.flatten() for p in loop.models.policy.lm.parameters() if p.grad is not None])
    assert torch.allclose(gradient, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "target_modules": "all-linear"}])
def test_the_exact_kl_in_the_loss_is_that_of_hf(tmp_path: Path, family: str, lora: Any) -> None:
    """Its value, and its gradient by the difference of the weights of the term."""

    def loop_of(kl_coef: float) -> Loop:
        options = {"name": "grpo", "kl_estimator": "exact", "length_norm": "token", "minibatch_size": 16}
        loop = small_loop(
            tmp_path, family, algorithm=options, kl={"kl_coef": kl_coef}, model={"lora": lora},
            optimizer={"max_grad_norm": 1e9, "micro_batch_size": 5}, **GROUPS,
        )  # fmt: skip
        with torch.no_grad():  # away from the reference
            for name, p in loop.models.policy.lm.named_parameters():
                if p.requires_grad and ".value." not in name:
                    p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        return loop

    without, _ = first_gradient(loop_of(0.0))
    loop = loop_of(0.5)
    gradient, e = first_gradient(loop)
    total, n = torch.zeros(()), int(e.mask.sum())
    policy, reference = loop.models.policy, loop.models.ref_policy
    for row in range(16):
        prompt = e.rollout.prompt_ids[row][e.rollout.prompt_mask[row]].tolist()
        completion = e.rollout.completion_ids[row][e.rollout.completion_mask[row]].tolist()
        with policy.running():
            p = hf_logits(policy, prompt, completion).log_softmax(-1)
        with torch.no_grad(), reference.running():
            q = hf_logits(reference, prompt, completion).log_softmax(-1)
        total = total + (p.exp() * (p - q)).sum() / n
    loop.algorithm.learner.optimizer.zero_grad()
    total.backward()
    assert float(total.detach()) > 1e-3
    wanted = torch.cat([p.grad.flatten() for p in policy.lm.parameters() if p.grad is not None])
    assert torch.allclose(gradient - without, 0.5 * wanted, rtol=1e-2, atol=2e-5 * float(wanted.abs().max()))


def test_the_exact_kl_is_zero_at_the_reference_and_logged(tmp_path: Path) -> None:
    loop = small_loop(tmp_path, algorithm={"name": "gspo", "kl_estimator": "exact", "n_epochs": 1}, **GROUPS)
    first, second = run_steps(loop, 2)
    assert abs(first["train/kl_in_loss"]) < 1e-6
    assert second["train/kl_in_loss"] > 0
