"""Whole runs with composed, dense and remote rewards: they finish, learn, and log every part."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from rl4lms.training.run import run
from tests.runs import metric_lines, small_recipe
from tests.tiny import number_tokenizer
from tests.unit.rewards.server import Server


def classifier(folder: Path) -> str:
    """A learned reward with random weights and one output."""
    torch.manual_seed(0)
    tokenizer = number_tokenizer()
    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.5,
    }
    BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), num_labels=1, pad_token_id=0, **shape)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_three_weighted_rewards(tmp_path: Path) -> None:
    parts = [
        {"key": "overlap", "weight": 2.0, "reward": {"name": "rouge", "key": "rouge1"}},
        {"key": "length", "weight": 0.5, "reward": {"name": "length_penalty", "at_most": 3}},
        {"key": "learned", "reward": {"name": "preference", "model": classifier(tmp_path / "judge"), "device": "cpu"}},
    ]
    run(small_recipe(tmp_path, reward={"name": "sum", "parts": parts}))
    lines = metric_lines(tmp_path / "run")
    trained = [line for line in lines if "rollout/score" in line]
    assert len(trained) == 3
    for line in trained:
        overlap, length, learned = (line[f"rollout/score/{part['key']}"] for part in parts)
        assert line["rollout/score"] == pytest.approx(2 * overlap + 0.5 * length + learned, abs=1e-5)
    evaluated = json.loads((tmp_path / "run" / "result.json").read_text())["eval"]
    assert {"eval/reward", "eval/reward/overlap", "eval/reward/length", "eval/reward/learned"} <= evaluated.keys()


SEQUENCE = {"name": "increasing_numbers", "min_tokens": 6}


def scores_of(folder: Path) -> list[float]:
    return [line["rollout/score"] for line in metric_lines(folder / "run") if "rollout/score" in line]


@pytest.mark.parametrize("every", ["token", pytest.param("word", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_policy_learns_from_dense_rewards(tmp_path: Path, every: str) -> None:
    training = {"iterations": 32, "prompts_per_iteration": 64}
    algorithm = {"name": "ppo", "n_epochs": 4, "minibatch_size": 16, "gamma": 1.0}
    settings = {"optimizer": {"learning_rate": 3e-3}, "checkpoint": {"every": 0}, "kl": {"kl_coef": 0.0}}
    reward = {"name": "shaped", "every": every, "reward": SEQUENCE}
    run(small_recipe(tmp_path, reward=reward, training=training, algorithm=algorithm, **settings))
    scores = scores_of(tmp_path)
    assert sum(scores[-3:]) / 3 > scores[0] + 0.08


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
def test_dense_rewards_of_a_run_sum_up_to_its_sequence_scores(tmp_path: Path, family: str) -> None:
    """The first iteration of both runs samples the same texts."""
    one_step = {"iterations": 1, "prompts_per_iteration": 32}
    first = []
    for name, reward in (("sequence", SEQUENCE), ("dense", {"name": "shaped", "reward": SEQUENCE})):
        (tmp_path / name).mkdir()
        run(small_recipe(tmp_path / name, family, reward=reward, training=one_step))
        first.append(scores_of(tmp_path / name)[0])
    assert first[0] > 0
    assert first[1] == pytest.approx(first[0], abs=1e-6)


def test_a_server_that_fails_and_hangs_costs_no_run(tmp_path: Path) -> None:
    """One call in ten is answered 503, one in fifty never: those rows are left out when the retry fails, too."""
    server, rng = Server(), random.Random(1)
    server.plan = [rng.choices([None, 503, "hang"], [0.88, 0.10, 0.02])[0] for _ in range(400)]
    server.plan[20:24] = [503] * 4  # so that some fail for good
    try:
        http = {
            "name": "http",
            "url": server.url,
            "columns": ["completions"],
            "batch_size": 2,
            "concurrency": 1,
            "retries": 1,
            "backoff_s": 0,
            "timeout_s": 0.3,
        }
        training = {"iterations": 6, "prompts_per_iteration": 32}
        run(
            small_recipe(
                tmp_path, reward=http | {"cache_size": 0}, reward_faults={"exception": "mask"}, training=training
            )
        )
    finally:
        server.close()
    lines = [line for line in metric_lines(tmp_path / "run") if "rollout/score" in line]
    assert len(lines) == 6
    assert sum(line["rollout/score/retries"] for line in lines) >= 5
    for line in lines:
        failed = line["rollout/score/failed_requests"]
        assert line["rollout/reward_exceptions"] == failed
        assert failed <= line["rollout/masked_rows"]
        assert (line["rollout/masked_rows"] > 0) == (failed > 0)
    assert sum(line["rollout/score/failed_requests"] for line in lines) > 0
    told = [json.loads(line) for line in (tmp_path / "run" / "faults.jsonl").read_text().splitlines()]
    assert all("rows have no score: http://127.0.0.1" in fault["message"] for fault in told)
