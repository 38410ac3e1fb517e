"""The algorithms of Stable-Baselines3 learn a toy reward with the policies of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sb3_contrib import TRPO, MaskablePPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import VecMonitor

from rl4lms.integrations.sb3 import KLPenalty, LMActorCriticPolicy, MaskableLMActorCriticPolicy, TextGenVecEnv
from tests.learning.test_learning import number_model, number_prompts

# of each: its settings, environments, iterations of eight steps in each of them
SETTINGS: dict[Any, tuple[dict[str, Any], int, int]] = {
    PPO: ({"learning_rate": 4e-3, "batch_size": 128, "n_epochs": 4}, 64, 14),
    MaskablePPO: ({"learning_rate": 4e-3, "batch_size": 128, "n_epochs": 4}, 64, 14),
    A2C: ({"learning_rate": 2e-3, "gae_lambda": 0.95, "use_rms_prop": False, "normalize_advantage": True}, 64, 60),
    TRPO: ({"batch_size": 64, "target_kl": 0.1, "cg_max_steps": 5, "n_critic_updates": 4}, 24, 14),
}


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        (PPO, "gpt2"),
        (MaskablePPO, "t5-untied"),
        pytest.param(PPO, "t5-untied", marks=pytest.mark.slow),
        pytest.param(MaskablePPO, "gpt2", marks=pytest.mark.slow),
        pytest.param(A2C, "gpt2", marks=pytest.mark.slow),
        pytest.param(A2C, "t5-untied", marks=pytest.mark.slow),
        pytest.param(TRPO, "gpt2", marks=pytest.mark.slow),
        pytest.param(TRPO, "t5-untied", marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_learns_increasing_numbers(tmp_path: Path, kind: Any, family: str) -> None:
    """The second half is trained by what was saved after the first."""
    settings, num_envs, iterations = SETTINGS[kind]
    data, model = str(number_prompts(tmp_path / "numbers.jsonl")), str(number_model(tmp_path / "lm", family))
    lengths = {"prompt": {"max_tokens": 16}, "max_new_tokens": 8, "min_new_tokens": 8}
    reward = {"name": "increasing_numbers", "min_tokens": 8}
    env = VecMonitor(TextGenVecEnv(model, data, reward, num_envs=num_envs, **lengths))
    policy = MaskableLMActorCriticPolicy if kind is MaskablePPO else LMActorCriticPolicy
    how = {"n_steps": 8, "gamma": 1.0, "seed": 0, "device": "cpu", "policy_kwargs": {"model": model}} | settings
    agent, scores = kind(policy, env, **how), []
    for step in range(iterations):
        agent.learn(8 * num_envs, callback=KLPenalty(0.01), reset_num_timesteps=step == 0)
        scores.append(float(np.mean([episode["r"] for episode in list(agent.ep_info_buffer)[-num_envs:]])))
        if step == iterations // 2:
            half = scores[-1]
            agent.save(tmp_path / "agent")
            agent = kind.load(tmp_path / "agent", env=env, device="cpu")
    print(kind.__name__, family, [round(score, 2) for score in scores])
    assert scores[0] < 0.35
    assert half > scores[0]
    assert max(scores[-3:]) > scores[0] + 0.1
