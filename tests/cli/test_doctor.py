from __future__ import annotations

from pathlib import Path

import pytest

from rl4lms.checks.doctor import Verdict, examine
from rl4lms.config.recipe import Recipe
from tests.cli.test_cli import call, recipe_file
from tests.runs import small_recipe


def verdicts(recipe: Recipe, folder: Path, rows: int = 16) -> dict[str, Verdict]:
    folder.mkdir()
    return {verdict.name: verdict for verdict in examine(recipe, folder, rows=rows)}


def reward_file(tmp_path: Path, body: str) -> str:
    path = tmp_path / "reward.py"
    path.write_text(f"def fn(completions, **columns):\n    {body}\n")
    return f"{path}:fn"


def test_a_sound_recipe_passes(tmp_path):
    result = call("doctor", recipe_file(tmp_path, algorithm={"name": "nlpo", "mask_top_p": 0.5}), "--quiet")
    assert result.exit_code == 0, result.output
    assert "0 failed" in result.output
    for check in (
        "padding",
        "window",
        "KL at step 0",
        "sampler = pass",
        "first ratio = 1",
        "reward",
        "end of sequence",
        "prompt length",
        "mask",
    ):
        assert check in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_the_figures_are_measured(tmp_path, family):
    recipe = small_recipe(tmp_path, family, optimizer={"learning_rate": 1e-4})
    found = verdicts(recipe, tmp_path / "scratch")
    assert {v.status for v in found.values()} == {"ok"}
    assert float(found["KL at step 0"].figure.split()[0]) <= 1e-4
    assert float(found["first ratio = 1"].figure.split()[-1]) <= 1e-4


@pytest.mark.parametrize(
    ("body", "check", "words"),
    [
        ("return [0.5] * len(completions)", "reward", "same reward"),
        ("return [float('nan')] * len(completions)", "reward", "finite"),
        ("return [None] * len(completions)", "reward", "nothing to learn"),
    ],
)
def test_a_useless_reward_fails(tmp_path, body, check, words):
    result = call("doctor", recipe_file(tmp_path, reward={"name": reward_file(tmp_path, body)}), "--quiet")
    assert result.exit_code == 1
    assert words in " ".join(result.output.split())


def test_a_window_that_is_too_small_fails(tmp_path):
    found = verdicts(small_recipe(tmp_path, prompt={"max_tokens": 79}), tmp_path / "scratch")
    assert found["set-up"].status == "fail"
    assert "80" in found["set-up"].why


def test_cut_prompts_are_noticed(tmp_path):
    found = verdicts(small_recipe(tmp_path, prompt={"max_tokens": 2}), tmp_path / "scratch")
    assert found["prompt length"].status == "warn"
    assert found["prompt length"].figure.startswith("21 of 64")  # every third prompt has three numbers
    assert "max_tokens" in found["prompt length"].why


def test_a_mask_that_cannot_bite_is_noticed(tmp_path):
    algorithm = {"name": "nlpo", "min_tokens_to_keep": 20}
    found = verdicts(small_recipe(tmp_path, algorithm=algorithm), tmp_path / "scratch")
    assert found["mask"].status == "warn"
    assert "min_tokens_to_keep" in found["mask"].why


def test_a_learning_rate_that_is_too_high_is_noticed(tmp_path):
    found = verdicts(small_recipe(tmp_path, optimizer={"learning_rate": 0.1}), tmp_path / "scratch")
    assert found["learning rate"].status == "warn"
    assert "Lower optimizer.learning_rate" in found["learning rate"].why


def test_a_model_without_eos_is_noticed(tmp_path):
    import json

    recipe = small_recipe(tmp_path)
    for name in ("config.json", "generation_config.json"):
        path = Path(recipe.model.path) / name
        settings = json.loads(path.read_text())
        settings.pop("eos_token_id", None)
        path.write_text(json.dumps(settings))
    path = Path(recipe.model.path) / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("eos_token", None)
    path.write_text(json.dumps(settings))
    assert verdicts(recipe, tmp_path / "scratch")["end of sequence"].status == "warn"


def test_a_broken_metric_is_found_before_training(tmp_path):
    evaluation = {"every": 0, "prompts": 8, "metrics": [{"name": "reference_perplexity"}]}
    data = tmp_path / "bare.jsonl"
    data.write_text('{"prompt": "1 2"}\n' * 8)
    recipe = small_recipe(tmp_path, evaluation=evaluation, data={"train": str(data), "validation": str(data)})
    found = verdicts(recipe, tmp_path / "scratch")
    assert found["evaluation"].status == "fail"
    assert "references" in found["evaluation"].why


def test_options_that_contradict_each_other_are_a_verdict(tmp_path):
    found = verdicts(small_recipe(tmp_path, model={"dtype": "bfloat16"}), tmp_path / "scratch")
    assert found["set-up"].status == "fail"
    assert "bfloat16 weights lose small updates" in found["set-up"].why
