"""A reward that says nothing changes nothing, whatever its offset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rl4lms.core.losses import explained_variance
from tests.marks import slow_but
from tests.runs import run_steps, small_loop


@pytest.mark.parametrize("algorithm", ["ppo", "nlpo"])
@pytest.mark.parametrize("gamma", [1.0, 0.99])
@pytest.mark.parametrize("constant", slow_but([0.3, -7.0, 1000.3], [1000.3]))
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_constant_reward_moves_no_weight_of_the_policy(
    tmp_path: Path, family: str, constant: float, gamma: float, algorithm: str
) -> None:
    """Its advantages are zero: the value function starts at the mean return, and rounding is not scaled up to a
    signal.
    """
    loop = small_loop(tmp_path, family, algorithm={"name": algorithm, "gamma": gamma}, kl={"kl_coef": 0.0})
    loop.reward = lambda completions, **columns: [constant] * len(completions)
    before = {name: p.clone() for name, p in loop.models.policy.lm.named_parameters()}
    seen: list[torch.Tensor] = []
    advantages = loop.algorithm.advantages

    def record(experience: Any) -> None:
        advantages(experience)
        seen.append(experience.advantages)

    loop.algorithm.advantages = record  # type: ignore[method-assign]
    numbers = run_steps(loop, 1)[0]
    if gamma == 1:  # with a discount a return depends on the length that is left
        assert not seen[0].any()
        assert all(torch.equal(before[name], p) for name, p in loop.models.policy.lm.named_parameters())
        assert numbers["train/policy_loss"] == 0
    assert loop.models.policy.value_head.linear.bias.item() == pytest.approx(constant, rel=0.05)


@pytest.mark.parametrize("where", ["first", "every", "last"])
def test_a_constant_reward_per_token_says_nothing_about_where_to_end(tmp_path: Path, where: str) -> None:
    """Neither the last token nor EOS is punished for being the last one."""
    loop = small_loop(
        tmp_path,
        algorithm={"name": "ppo", "whiten_advantages": False},
        kl={"kl_coef": 0.0},
        rollout={"max_new_tokens": 12},
    )

    def reward(completion_ids: list[list[int]], **columns: Any) -> list[list[float]]:
        paid = {
            "first": lambda n: [1.0] + [0.0] * (n - 1),
            "every": lambda n: [1.0] * n,
            "last": lambda n: [0.0] * (n - 1) + [1.0],
        }[where]
        return [paid(len(ids)) for ids in completion_ids]

    loop.reward = reward
    seen: list[Any] = []
    update = loop.algorithm.update
    loop.algorithm.update = lambda e, step: (seen.append(e), update(e, step))[1]  # type: ignore[method-assign]
    loop.step(0)
    e = seen[0]
    last = (e.mask.sum(-1) - 1)[e.mask.sum(-1) > 1]
    ends = e.advantages[e.mask.sum(-1) > 1].gather(1, last[:, None])
    assert ends.abs().max() < 1e-6


def test_the_value_function_starts_at_the_mean_return_once(tmp_path: Path) -> None:
    loop = small_loop(tmp_path, optimizer={"learning_rate": 1e-8})
    starts: list[float] = []
    for step in range(2):
        numbers = run_steps(loop, 1) if step == 0 else [loop.step(1)]
        starts.append(loop.models.policy.value_head.linear.bias.item())
    assert starts[0] == pytest.approx(numbers[0]["rollout/reward"], abs=0.2)
    assert starts[1] == pytest.approx(starts[0], abs=1e-6)  # trained from there on, and not set again


def test_explained_variance_of_returns_that_do_not_vary_is_not_a_number() -> None:
    mask = torch.ones(8, 6, dtype=torch.bool)
    for constant in (0.3, -7.0, 1000.3):
        returns = torch.full((8, 6), constant) + torch.randn(8, 6) * 1e-8
        assert explained_variance(torch.zeros(8, 6), returns, mask) != explained_variance(
            torch.zeros(8, 6), returns, mask
        )
    returns = 1000 + 0.05 * torch.randn(8, 6)
    assert explained_variance(returns.clone(), returns, mask) == 1


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize("model", [{}, {"value": "shared"}], ids=["separate", "shared"])
def test_the_kl_of_a_policy_that_has_not_moved_is_zero(tmp_path: Path, family: str, model: dict[str, Any]) -> None:
    """The sampler rounds otherwise than the reference's pass; a constant reward must not be beaten by that."""
    settings: dict[str, Any] = {"kl": {"kl_coef": 0.5}, "rollout": {"max_new_tokens": 24, "temperature": 0.8}}
    loop = small_loop(tmp_path, family, algorithm={"name": "ppo"}, model=model, **settings)
    loop.reward = lambda completions, **columns: [1.0] * len(completions)
    before = {name: p.clone() for name, p in loop.models.policy.lm.named_parameters()}
    for numbers in run_steps(loop, 6):
        assert numbers["rollout/kl_per_token"] == 0
        assert numbers["rollout/kl_k3_per_token"] == 0
        assert numbers["train/policy_loss"] == 0
    assert all(torch.equal(before[name], p) for name, p in loop.models.policy.lm.named_parameters())
