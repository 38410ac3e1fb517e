"""Settings that an algorithm does not use are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rl4lms.algorithms.build import build_algorithm
from rl4lms.algorithms.unused import unused
from rl4lms.checks.dry_run import describe
from rl4lms.config import recipe_from_dict
from rl4lms.errors import ConfigError, ModelError
from rl4lms.plugins import registry
from rl4lms.tasks import task_of
from tests.runs import small_loop, small_recipe

LAGGED = {"source": "lagged", "refresh_every": 3}


def said(folder: Path, iterations: int = 4, **settings: Any) -> list[str]:
    training = {"iterations": iterations, "prompts_per_iteration": 16}
    recipe = small_recipe(folder, training=training, **settings)
    assert recipe.algorithm is not None
    return unused(build_algorithm(recipe.algorithm, recipe.rollout.completions_per_prompt), recipe, {})


@pytest.mark.parametrize(
    ("settings", "iterations", "words"),
    [
        (
            {"algorithm": {"name": "nlpo", "mask_update_every": 10}},
            3,
            "algorithm.mask_update_every is 10, and there are 3",
        ),
        (
            {"algorithm": {"name": "nlpo", "mask_update_every": 3}},
            3,
            "algorithm.mask_update_every is 3, and there are 3",
        ),
        ({"algorithm": {"name": "nlpo", "mask_update_every": 2}}, 3, None),
        ({"algorithm": {"name": "ppo"}, "mask": LAGGED}, 3, "mask.refresh_every is 3, and there are 3"),
        ({"algorithm": {"name": "ppo"}, "mask": LAGGED}, 4, None),
        ({"algorithm": {"name": "ppo"}, "mask": LAGGED | {"refresh_every": None}}, 4, None),
        ({"algorithm": {"name": "ppo"}, "mask": {"source": "policy"}}, 4, None),
        ({"algorithm": {"name": "ppo"}}, 4, None),
        ({"algorithm": {"name": "ppo"}}, 0, "training.iterations is 0: nothing is learnt"),
    ],
)
def test_too_few_iterations_are_said(
    tmp_path: Path, settings: dict[str, Any], iterations: int, words: str | None
) -> None:
    found = [line for line in said(tmp_path, iterations, **settings) if "value function" not in line]
    assert len(found) == (words is not None)
    assert words is None or words in found[0]


@pytest.mark.parametrize("name", registry.algorithms.names())
@pytest.mark.parametrize("value", ["separate", "shared"])
def test_settings_of_a_value_function_are_said_where_there_is_none(tmp_path: Path, name: str, value: str) -> None:
    settings = {"algorithm": {"name": name}, "rollout": {"max_new_tokens": 4, "completions_per_prompt": 2}}
    model = small_recipe(tmp_path).model.model_dump(exclude_unset=True) | {"value": value}
    needs_value = registry.algorithms.get(name).needs_value
    found = [line for line in said(tmp_path, 20, **settings, model=model) if "value function" in line]
    assert found == ([] if needs_value else [f"model.value has no effect: {name} has no value function"])
    both = said(tmp_path, 20, **settings, model=model, optimizer={"value_learning_rate": 1e-3})
    words = f"model.value and optimizer.value_learning_rate have no effect: {name} has no value function"
    assert [line for line in both if "no value function" in line] == ([] if needs_value else [words])


@pytest.mark.parametrize(
    ("settings", "refreshes"),
    [
        ({"algorithm": {"name": "nlpo", "mask_update_every": 2}}, ["2, one every 2 iterations"]),
        ({"algorithm": {"name": "trpo"}, "mask": LAGGED}, ["1, one every 3 iterations"]),
        ({"algorithm": {"name": "ppo"}, "mask": LAGGED | {"refresh_every": None}}, []),
        ({"algorithm": {"name": "ppo"}, "mask": {"source": "reference"}}, []),
        ({"algorithm": {"name": "ppo"}}, []),
    ],
)
def test_a_dry_run_counts_the_refreshes_of_any_lagged_mask(
    tmp_path: Path, settings: dict[str, Any], refreshes: list[str]
) -> None:
    recipe = small_recipe(tmp_path, training={"iterations": 4, "prompts_per_iteration": 8}, **settings)
    assert [line.value for line in describe(recipe) if line.name == "mask refreshes"] == refreshes


@pytest.mark.parametrize(("name", "needs_value"), [("ppo", True), ("rloo", False)])
def test_a_dry_run_says_the_same(tmp_path: Path, name: str, needs_value: bool) -> None:
    lines = describe(
        small_recipe(
            tmp_path,
            algorithm={"name": name},
            rollout={"max_new_tokens": 4, "completions_per_prompt": 2},
            optimizer={"learning_rate": 1e-4, "value_learning_rate": 1e-3},
        )
    )
    rate = next(line.value for line in lines if line.name == "learning rate")
    assert rate == ("0.0001; of the value function 0.001" if needs_value else "0.0001")
    assert any("has no value function" in line.value for line in lines) != needs_value


@pytest.mark.parametrize(
    "optimizer",
    [{"learning_rate": 1e-4}, {"value_learning_rate": 1e-4}, {"learning_rate": 1e-4, "value_learning_rate": 1e-3}],
)
@pytest.mark.parametrize("name", registry.algorithms.names())
def test_the_rate_of_a_step_that_is_not_the_optimisers_is_said(
    tmp_path: Path, name: str, optimizer: dict[str, float]
) -> None:
    rollout = {"max_new_tokens": 4, "completions_per_prompt": 2}
    recipe = {"output_dir": str(tmp_path), "model": "lm", "data": "d.jsonl", "reward": "bleu", "optimizer": optimizer}
    made = recipe_from_dict(recipe | {"algorithm": {"name": name}, "rollout": rollout})
    assert made.algorithm is not None
    lines = [
        line for line in unused(build_algorithm(made.algorithm), made, {}) if line.startswith("optimizer.learning_rate")
    ]
    assert len(lines) == (name == "trpo" and len(optimizer) == 2)


@pytest.mark.parametrize(("estimator", "kl_coef", "count"), [("exact", 0, 1), ("exact", 0.1, 0), ("k3", 0, 0)])
def test_a_pass_for_a_term_without_weight_is_said(tmp_path: Path, estimator: str, kl_coef: float, count: int) -> None:
    settings = {"algorithm": {"name": "grpo", "kl_estimator": estimator}, "kl": {"kl_coef": kl_coef}}
    lines = said(tmp_path, 20, rollout={"max_new_tokens": 4, "completions_per_prompt": 2}, **settings)
    assert len([line for line in lines if "kl_estimator" in line]) == count


@pytest.mark.parametrize("name", registry.algorithms.names())
@pytest.mark.parametrize("named", [True, False])
def test_a_run_says_what_its_recipe_names_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, named: bool
) -> None:
    settings = {"model": {"value": "separate"}, "optimizer": {"value_learning_rate": 1e-3}} if named else {}
    rollout = {"max_new_tokens": 4, "completions_per_prompt": 2}
    training = {"iterations": 20, "prompts_per_iteration": 8}
    loop = small_loop(tmp_path, algorithm={"name": name}, rollout=rollout, training=training, **settings)
    lines = [line for line in capsys.readouterr().err.splitlines() if "no effect" in line]
    assert bool(lines) == (named and (not loop.algorithm.needs_value or name == "trpo"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"algorithm": {"name": "trpo"}, "model": {"value": "shared"}},
            "model.value: shared; trpo steps the policy alone",
        ),
        ({"algorithm": {"name": "ppo"}, "evaluation": {"generation": {"mask": True}}}, "ppo has no mask to decode in"),
        ({"algorithm": {"name": "nlpo"}, "mask": LAGGED}, "mask: NLPO has its own mask"),
        ({"model": {"dtype": "bfloat16"}}, "model.dtype: bfloat16 weights lose small updates"),
        ({"model": {"autocast": "float16"}}, "model.autocast: float16 loses small gradients"),
        ({"model": {"attention": "flex"}}, "model.attention: flex has no backward pass on cpu"),
        ({"model": {"dtype": "bfloat16"}, "algorithm": None}, "model.dtype: bfloat16 weights lose small updates"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_the_dry_run_and_before_a_warm_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("rl4lms.training.run.warm_start", lambda *given: pytest.fail("the warm start began"))
    settings = settings | {"supervised": {"max_steps": 1}}
    with pytest.raises((ConfigError, ModelError), match=words):
        describe(small_recipe(tmp_path, **settings))
    with pytest.raises((ConfigError, ModelError), match=words):
        small_loop(tmp_path, **settings)


def test_a_recipe_for_a_gpu_may_be_looked_at_without_one(tmp_path: Path) -> None:
    for device in ("auto", "cuda"):
        assert describe(small_recipe(tmp_path, device=device, model={"attention": "flex"}))


def test_second_derivatives_are_not_had_from_flex_attention(tmp_path: Path) -> None:
    settings = {"device": "cuda", "model": {"attention": "flex"}, "algorithm": {"name": "trpo"}}
    with pytest.raises(ConfigError, match=r"model\.attention: flex has no second derivatives, which trpo needs"):
        describe(small_recipe(tmp_path, **settings))


@pytest.mark.parametrize(("completions", "count"), [(1, 1), (2, 0)])
def test_attention_for_groups_is_said_where_there_are_none(tmp_path: Path, completions: int, count: int) -> None:
    rollout = {"max_new_tokens": 4, "completions_per_prompt": completions}
    lines = said(tmp_path, model={"attention": "flex"}, algorithm={"name": "reinforce"}, rollout=rollout)
    assert [line.split(" has")[0] for line in lines] == ["model.attention: flex"] * count


def test_a_rate_beside_one_of_the_tasks_is_said(tmp_path: Path) -> None:
    blocks = {"task": {"name": "imdb", "edition": "mini"}, "algorithm": {"name": "trpo"}}
    for optimizer, count in (({}, 0), ({"learning_rate": 1e-4}, 1), ({"value_learning_rate": 1e-4}, 0)):
        recipe = recipe_from_dict(blocks | {"optimizer": optimizer})
        assert recipe.algorithm is not None
        lines = unused(build_algorithm(recipe.algorithm), recipe, task_of(recipe).defaults)
        assert len([line for line in lines if line.startswith("optimizer.learning_rate")]) == count


@pytest.mark.parametrize("name", [name for name in registry.algorithms.names() if name not in ("nlpo", "ppo")])
@pytest.mark.parametrize(("rate", "count"), [(None, 0), (2e-3, 1)])
def test_what_a_task_sets_for_every_algorithm_is_nobodys_mistake(name: str, rate: float | None, count: int) -> None:
    optimizer = {} if rate is None else {"value_learning_rate": rate}
    blocks = {"task": {"name": "imdb", "edition": "mini"}, "rollout": {"completions_per_prompt": 4}}
    recipe = recipe_from_dict(blocks | {"algorithm": {"name": name}, "optimizer": optimizer})
    assert recipe.optimizer.value_learning_rate == (rate or 1e-3)
    assert recipe.algorithm is not None
    algorithm = build_algorithm(recipe.algorithm, 4)
    lines = [line for line in unused(algorithm, recipe, task_of(recipe).defaults) if "rate" in line]
    assert len(lines) == (count if not algorithm.needs_value else 0)


def test_a_recipe_that_was_dumped_is_nobodys_words(tmp_path: Path) -> None:
    settings = {"model": {"value": "separate"}, "optimizer": {"value_learning_rate": 1e-3}}
    rollout = {"max_new_tokens": 4, "completions_per_prompt": 2}
    recipe = small_recipe(tmp_path, algorithm={"name": "grpo"}, rollout=rollout, **settings)
    assert recipe.algorithm is not None
    algorithm = build_algorithm(recipe.algorithm, 2)
    assert len([line for line in unused(algorithm, recipe, {}) if "value function" in line]) == 1
    again = recipe_from_dict(recipe.model_dump(mode="json"))
    assert not [line for line in unused(algorithm, again, {}) if "value function" in line]
