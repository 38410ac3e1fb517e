"""Thresholds of a run's health."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rl4lms
from rl4lms.log_keys import describe
from rl4lms.runs.health import RULES, Health, HealthError, health_of
from tests.runs import small_recipe

# numbers of a healthy iteration, and for each rule what crosses it
GOOD = {
    "train/approx_kl": 0.01,
    "train/clip_fraction": 0.1,
    "rollout/kl_per_token": 0.1,
    "rollout/entropy": 2.0,
    "rollout/completion_tokens": 20.0,
    "rollout/terminated": 0.9,
    "rollout/unique_completions": 1.0,
    "rollout/score": 0.5,
    "rollout/score_std": 0.2,
    "train/explained_variance": -0.05,
    "eval/reward": 0.4,
    "eval/perplexity": 10.0,
    "eval/reference_perplexity": 8.0,
}
BAD: dict[str, dict[str, float]] = {
    "approx_kl": {"train/approx_kl": 0.12},
    "clip_fraction": {"train/clip_fraction": 0.23},
    "kl_per_token": {"rollout/kl_per_token": 2.0},
    "entropy": {"rollout/entropy": 0.3},
    "short_completions": {"rollout/completion_tokens": 4.0},
    "cut_completions": {"rollout/terminated": 0.05},
    "same_completions": {"rollout/unique_completions": 0.3},
    "flat_reward": {"rollout/score_std": 0.0},
    "explained_variance": {"train/explained_variance": -0.8},
    "perplexity": {"eval/reward": 0.9, "eval/perplexity": 21.0},
    "reference_perplexity": {"eval/reward": 0.9, "eval/reference_perplexity": 17.0},
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_crossed_by_what_it_is_about_and_by_nothing_else(rule: Any) -> None:
    health = Health()
    assert health.see(0, GOOD) == []
    bad = GOOD | BAD[rule.name]
    for step in range(1, rule.in_a_row):
        assert health.see(step, bad) == []
        assert health.active == 0
    begun = health.see(rule.in_a_row, bad)
    assert [warned.rule.name for warned in begun] == [rule.name]
    assert str(begun[0]).startswith(f"health: iteration {rule.in_a_row}: ")
    assert health.see(rule.in_a_row + 1, bad) == []  # it is told once
    assert health.counts == {rule.name: 2}
    assert health.active == 1
    assert health.see(rule.in_a_row + 2, GOOD) == []
    assert health.active == 0
    for step in range(rule.in_a_row):  # and again where it comes again
        health.see(10 + step, bad)
    assert len(health.begun) == 2
    for key in rule.keys:
        assert describe(key) is not None


def test_what_is_not_there_is_not_judged() -> None:
    health = Health()
    for step in range(9):
        assert health.see(step, {"rollout/entropy": None, "train/approx_kl": float("nan")}) == []
    # a reward that falls, or a perplexity that was there from the start, is no sign of exploiting
    health = Health()
    health.see(0, GOOD)
    assert health.see(1, GOOD | {"eval/reward": 0.1, "eval/perplexity": 99.0}) == []


def test_a_run_says_it_once_counts_it_and_finds_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def one(completions: list[str], **columns: Any) -> list[float]:
        return [1.0] * len(completions)

    recipe = small_recipe(tmp_path, training={"iterations": 5, "prompts_per_iteration": 8})
    result = rl4lms.train(recipe, reward=one)
    assert capsys.readouterr().err.count("the reward says 1 of every completion. Check the reward on samples/") == 1
    assert [line["train/health_warnings"] for line in result.history] == [0, 0, 0, 1, 1, 1]
    assert json.loads((result.folder / "result.json").read_text())["health"] == {"flat_reward": 3}
    assert result.health.counts == {"flat_reward": 3}
    assert [(w.step, w.rule.name) for w in health_of(result.history).begun] == [(3, "flat_reward")]
    # a resumed run goes on where it was
    again = rl4lms.train(
        small_recipe(tmp_path, output_dir=str(tmp_path / "b"), training={"iterations": 3, "prompts_per_iteration": 8}),
        reward=one,
    )
    longer = rl4lms.train(again.folder, resume=True, training={"iterations": 5}, reward=one)
    assert [line["train/health_warnings"] for line in longer.history] == [0, 0, 0, 1, 1, 1]
    assert longer.health.counts == result.health.counts
    off = rl4lms.train(recipe, reward=one, training={"on_health": "off"}, output_dir=str(tmp_path / "off"))
    assert "train/health_warnings" not in off.history[3]
    assert "health" not in json.loads((off.folder / "result.json").read_text())


def test_stop_ends_the_run_with_everything_saved_and_says_how_to_go_on(tmp_path: Path) -> None:
    def one(completions: list[str], **columns: Any) -> list[float]:
        return [1.0] * len(completions)

    settings: dict[str, Any] = {"iterations": 6, "prompts_per_iteration": 8, "on_health": "stop"}
    recipe = small_recipe(tmp_path, training=settings, checkpoint={"every": 0})
    with pytest.raises(HealthError, match=r"iteration 3: health: .*training\.on_health to warn \(last good .*--resume"):
        rl4lms.train(recipe, reward=one)
    result = rl4lms.train(recipe.output_dir, resume=True, reward=one, training={"on_health": "warn"})
    assert result.history[-1]["step"] == 6
