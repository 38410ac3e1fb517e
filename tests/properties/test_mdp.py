"""The environment is the specification: stepping it through a rollout gives the loop's own scores and rewards."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rl4lms.config.data import PromptConfig
from rl4lms.errors import RewardError
from rl4lms.mdp import TextGenEnv
from rl4lms.rewards import build
from rl4lms.rewards.composite import give_tokenizer
from rl4lms.training.loop import Loop
from rl4lms.types import Experience
from tests.marks import slow_but
from tests.runs import small_loop


def prefix_lengths(completion_ids: list[list[int]], **columns: Any) -> list[list[float]]:
    """A dense reward that looks back only: the parity of each token, weighted by its place."""
    return [[(token % 2) * (t + 1) / 10 for t, token in enumerate(row)] for row in completion_ids]


def looks_ahead(completion_ids: list[list[int]], **columns: Any) -> list[list[float]]:
    return [[float(len(row))] * len(row) for row in completion_ids]


def env_of(loop: Loop, reward: Any, kl_coef: float = 0.0, **options: Any) -> TextGenEnv:
    models = loop.models
    with_kl = {"policy": models.policy, "ref_policy": models.ref_policy, "kl_coef": kl_coef} if kl_coef else {}
    side = models.policy.family.padding_side
    n = loop.recipe.rollout.max_new_tokens
    # Fmt: skip
    return TextGenEnv(
        loop.samples,
        models.tokenizer,
        models.policy.tokens,
        reward,
        prompt=loop.recipe.prompt,
        max_new_tokens=n,
        padding_side=side,
        **with_kl,
        **options,
    )


# Each token's payment depends on the tokens up to it, except that `word` would wait for the next one.
SHAPED = {"name": "shaped", "every": "token", "reward": {"name": "increasing_numbers", "min_tokens": 6}}


@pytest.mark.parametrize("reward", [None, prefix_lengths, SHAPED], ids=["sequence", "dense", "shaped"])
@pytest.mark.parametrize("family", slow_but(["gpt2", "t5-untied"], ["gpt2"]))
def test_stepping_through_a_rollout_gives_the_loops_scores_and_rewards(
    tmp_path: Path, family: str, reward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = small_loop(
        tmp_path,
        family,
        kl={"kl_coef": 0.3},
        rollout={"max_new_tokens": 7, "top_k": 9},
        optimizer={"learning_rate": 5e-3},
    )
    if reward is not None:
        loop.reward = build(reward)
        give_tokenizer([loop.reward], loop.engine.decoder)
    loop.step(0)  # so that policy and reference differ
    caught: list[Experience] = []
    monkeypatch.setattr(loop.algorithm, "update", lambda experience, step: caught.append(experience) or {})
    loop.step(1)
    e = caught[0]
    assert e.kl.abs().max() > 1e-3
    env = env_of(loop, loop.reward, loop.state.kl_coef)
    index_of = {sample.id: i for i, sample in enumerate(loop.samples)}
    for row, sample in enumerate(e.rollout.samples):
        observation, _ = env.reset(options={"index": index_of[sample.id]})
        assert (
            observation["prompt_ids"][observation["prompt_mask"] == 1].tolist()
            == e.rollout.prompt_ids[row][e.rollout.prompt_mask[row]].tolist()
        )
        ids = e.rollout.completion_ids[row][e.rollout.completion_mask[row]].tolist()
        for t, token in enumerate(ids):
            observation, paid, terminated, truncated, info = env.step(token)
            assert info["score"] == pytest.approx(float(e.scores[row, t]), abs=1e-6)
            assert paid == pytest.approx(float(e.rewards[row, t]), abs=1e-5)
            assert terminated == (t == len(ids) - 1)
            assert not truncated
        assert info["completion"] == e.rollout.completions[row]
        assert observation["completion_mask"].sum() == len(ids)


def test_dense_rewards_that_look_ahead_are_refused(tmp_path: Path) -> None:
    loop = small_loop(tmp_path)
    env = env_of(loop, looks_ahead)
    env.reset(options={"index": 0})
    env.step(5)
    env.step(6)
    with pytest.raises(RewardError, match="later tokens"):
        env.step(loop.models.policy.tokens.eos[0])


def test_an_exhausted_budget_is_terminated_or_by_choice_truncated(tmp_path: Path) -> None:
    loop = small_loop(tmp_path, rollout={"max_new_tokens": 2})
    for time_limit, expected in (("terminated", (True, False)), ("truncated", (False, True))):
        env = env_of(loop, loop.reward, time_limit=time_limit)
        env.reset(options={"index": 0})
        assert env.step(5)[2:4] == (False, False)
        assert env.step(6)[2:4] == expected
        env.reset(options={"index": 0})
        env.step(5)
        assert env.step(loop.models.policy.tokens.eos[0])[2:4] == (True, False)


@pytest.mark.parametrize("checker", ["gymnasium", "stable_baselines3"])
def test_passes_the_environment_checkers(tmp_path: Path, checker: str) -> None:
    loop = small_loop(tmp_path)
    env = env_of(loop, loop.reward)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checkers recommend continuous observations; what they forbid are errors
        if checker == "gymnasium":
            from gymnasium.utils.env_checker import check_env

            check_env(env, skip_render_check=True)
        else:
            pytest.importorskip("stable_baselines3")
            from stable_baselines3.common.env_checker import check_env as check_sb3

            check_sb3(env)


def test_prompt_config_sets_the_width(tmp_path: Path) -> None:
    loop = small_loop(tmp_path)
    env = TextGenEnv(
        loop.samples, loop.models.tokenizer, loop.models.policy.tokens, loop.reward, prompt=PromptConfig(max_tokens=5)
    )
    space = env.observation_space
    assert isinstance(space, gymnasium.spaces.Dict)
    assert space["prompt_ids"].shape == (5,)
    observation, _ = env.reset(seed=3)
    assert space.contains(observation)
    again, _ = env.reset(seed=3)
    assert all(np.array_equal(observation[k], again[k]) for k in observation)


def test_a_stop_string_ends_an_episode_as_it_ends_a_completion(tmp_path: Path) -> None:
    settings = {"max_new_tokens": 7, "min_new_tokens": 2, "stop": ["1", "2", "3", "4"]}
    loop = small_loop(tmp_path, rollout=settings)
    env = env_of(loop, loop.reward, stop=settings["stop"], min_new_tokens=2)
    rollout = loop.engine.rollout(loop.samples[:8], loop.recipe.rollout, stream="train", step=0)
    eos, stopped = loop.models.policy.tokens.eos, 0
    for row in range(8):
        env.reset(options={"index": row})
        ids = rollout.completion_ids[row][rollout.completion_mask[row]].tolist()
        ends = [env.step(token)[2] for token in ids]
        assert ends == [False] * (len(ids) - 1) + [True]
        stopped += ids[-1] not in eos and len(ids) < 7
    assert stopped > 2
