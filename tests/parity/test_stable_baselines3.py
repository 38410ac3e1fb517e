"""GAE and the PPO loss equal Stable-Baselines3's own code on the same numbers."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from rl4lms.core.advantages import gae, whiten
from rl4lms.core.kl import k3
from rl4lms.core.losses import explained_variance, ppo_policy_loss, value_loss

sb3 = pytest.importorskip("stable_baselines3")


def episodes(seed: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Rewards and values of rows of different lengths, padded to (B, T)."""
    rng = np.random.default_rng(seed)
    lengths = [7, 1, 4, 6, 2]
    shape = (len(lengths), 7)
    return rng.normal(size=shape).astype(np.float32), rng.normal(size=shape).astype(np.float32), lengths


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.99, 1.0), (0.9, 0.0), (1.0, 1.0)])
def test_gae_equals_the_buffer_of_stable_baselines3(gamma: float, lam: float) -> None:
    from stable_baselines3.common.buffers import RolloutBuffer

    rewards, values, lengths = episodes(0)
    mask = torch.arange(7)[None] < torch.tensor(lengths)[:, None]
    advantages, returns = gae(torch.tensor(rewards), torch.tensor(values), mask, gamma, lam)

    total = sum(lengths)
    space = gymnasium.spaces.Box(-1, 1, (1,))
    buffer = RolloutBuffer(total, space, gymnasium.spaces.Discrete(2), gamma=gamma, gae_lambda=lam)
    for row, length in enumerate(lengths):  # episodes laid end to end, as Stable-Baselines3 stores them
        for t in range(length):
            start, value = np.array([t == 0]), torch.tensor([values[row, t]])
            buffer.add(np.zeros((1, 1)), np.zeros((1, 1)), np.array([rewards[row, t]]), start, value, torch.zeros(1))
    buffer.compute_returns_and_advantage(last_values=torch.zeros(1), dones=np.array([True]))
    assert advantages[mask].numpy() == pytest.approx(buffer.advantages[:, 0], abs=1e-5)
    assert returns[mask].numpy() == pytest.approx(buffer.returns[:, 0], abs=1e-5)
    assert not advantages[~mask].any()


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.97, 0.5)])
def test_gae_equals_its_definition_as_a_sum(gamma: float, lam: float) -> None:
    """A_t = sum over l of (gamma lambda)^l delta_{t+l}, written out without a recursion (Schulman et al., 2016,
    equation 16).
    """
    rewards, values, lengths = episodes(1)
    mask = torch.arange(7)[None] < torch.tensor(lengths)[:, None]
    advantages, _ = gae(torch.tensor(rewards), torch.tensor(values), mask, gamma, lam)
    for row, length in enumerate(lengths):
        for t in range(length):
            total = 0.0
            for k in range(t, length):
                following = values[row, k + 1] if k + 1 < length else 0.0
                total += (gamma * lam) ** (k - t) * (rewards[row, k] + gamma * following - values[row, k])
            assert float(advantages[row, t]) == pytest.approx(total, abs=1e-5)


def test_gae_limits() -> None:
    rewards, values, lengths = episodes(2)
    mask = torch.arange(7)[None] < torch.tensor(lengths)[:, None]
    r, v = torch.tensor(rewards), torch.tensor(values)
    monte_carlo, returns = gae(r, v, mask, 1.0, 1.0)
    for row, length in enumerate(lengths):
        assert float(returns[row, 0]) == pytest.approx(float(rewards[row, :length].sum()), abs=1e-5)
        assert float(monte_carlo[row, 0]) == pytest.approx(
            float(rewards[row, :length].sum() - values[row, 0]), abs=1e-5
        )


def test_ppo_losses_equal_those_that_stable_baselines3_reports() -> None:
    """One epoch of SB3's PPO on one full-batch step; its logged losses are compared with ours on the same log-probs and
    values.
    """
    from stable_baselines3 import PPO
    from stable_baselines3.common.logger import configure

    torch.manual_seed(0)
    model = PPO(
        "MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, n_epochs=1, clip_range_vf=0.3, seed=0, device="cpu"
    )
    model.learn(32)
    buffer, policy = model.rollout_buffer, model.policy
    with torch.no_grad():  # move the policy, so that ratios differ from 1 and some are clipped
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    data = next(iter(buffer.get(32)))
    with torch.no_grad():
        values, logprobs, _ = policy.evaluate_actions(data.observations, data.actions.long().flatten())
    advantages = whiten(data.advantages, torch.ones(32, dtype=torch.bool))
    count = 32
    ours, found = ppo_policy_loss(logprobs, data.old_log_prob, advantages, 0.2, count)
    v_loss = value_loss(values.flatten(), data.returns, count, data.old_values, 0.3)

    class OneBatch:
        values, returns = buffer.values, buffer.returns

        def get(self, batch_size: int) -> list[object]:
            return [data]

    model.rollout_buffer = OneBatch()  # type: ignore[assignment]
    model.set_logger(configure(None, []))
    model.train()
    logged = model.logger.name_to_value
    assert float(ours) == pytest.approx(logged["train/policy_gradient_loss"], abs=1e-5)
    assert float(v_loss) == pytest.approx(logged["train/value_loss"], rel=1e-5)
    assert float(k3(data.old_log_prob - logprobs).mean()) == pytest.approx(logged["train/approx_kl"], abs=1e-5)
    assert float(found["clip_fraction"]) == pytest.approx(logged["train/clip_fraction"], abs=1e-6)
    assert 0 < float(found["clip_fraction"]) < 1
    expected = explained_variance(
        torch.tensor(buffer.values), torch.tensor(buffer.returns), torch.ones(32, 1, dtype=torch.bool)
    )
    assert expected == pytest.approx(logged["train/explained_variance"], abs=1e-5)
