"""Runs that are spoilt on purpose raise the warnings that they should; vetted recipes raise none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rl4lms
from tests.runs import small_recipe


def constant(completions: list[str], **columns: Any) -> list[float]:
    return [0.3] * len(completions)


def likes_one_token(completions: list[str], **columns: Any) -> list[float]:
    return [text.split().count("7") / 6 for text in completions]


def likes_the_end(completions: list[str], **columns: Any) -> list[float]:
    return [-len(text.split()) / 12 for text in completions]


def likes_to_go_on(completions: list[str], **columns: Any) -> list[float]:
    return [len(text.split()) / 12 for text in completions]


def names(result: rl4lms.RunResult) -> set[str]:
    return set(result.health.counts)


@pytest.mark.parametrize(
    ("reward", "settings", "expected"),
    [
        pytest.param(constant, {}, {"flat_reward"}, marks=pytest.mark.slow),
        (likes_one_token, {"optimizer.learning_rate": 1e-2}, {"approx_kl", "clip_fraction", "kl_per_token"}),
        pytest.param(
            likes_one_token,
            {"training.iterations": 25},
            {"entropy", "same_completions", "kl_per_token"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            likes_the_end,
            {"rollout.max_new_tokens": 12, "training.iterations": 25},
            {"short_completions"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["constant reward", "learning rate x 10", "one token", "shorter"],
)
def test_a_spoilt_run_says_so(tmp_path: Path, reward: Any, settings: dict[str, Any], expected: set[str]) -> None:
    """Without a KL term, so that nothing holds the policy back."""
    recipe = small_recipe(
        tmp_path,
        kl={"kl_coef": 0.0},
        training={"iterations": 8, "prompts_per_iteration": 64},
        optimizer={"learning_rate": 3e-3},
    )
    result = rl4lms.train(recipe, reward=reward, **settings)
    assert expected <= names(result), result.health.begun


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", ["imdb-mini-ppo", "imdb-mini-nlpo", "imdb-mini-supervised-ppo", "imdb-mini-supervised-nlpo"]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_vetted_recipe_raises_nothing(tmp_path: Path, recipe: str, seed: int) -> None:
    result = rl4lms.train(recipe, seed=seed, output_dir=str(tmp_path / "run"), progress=False)
    assert names(result) == set(), result.health.begun


@pytest.mark.slow
def test_a_learning_rate_ten_times_too_high_is_told_in_the_first_iteration(tmp_path: Path) -> None:
    """And what it does to the language is told when it has happened."""
    settings: dict[str, Any] = {"optimizer.learning_rate": 1e-2, "kl.kl_coef": 0.0, "training.iterations": 30}
    result = rl4lms.train("imdb-mini-ppo", output_dir=str(tmp_path / "run"), progress=False, **settings)
    first = {warned.rule.name for warned in result.health.begun if warned.step == 1}
    assert {"approx_kl", "clip_fraction"} <= first
    assert "reference_perplexity" in names(result)
