"""Settings that an algorithm does not use are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rl4lms.algorithms.build import build_algorithm
from rl4lms.algorithms.unused import unused
from rl4lms.checks.dry_run import describe
from rl4lms.plugins import registry
from tests.runs import small_recipe

LAGGED = {"source": "lagged", "refresh_every": 3}


def said(folder: Path, iterations: int = 4, **settings: Any) -> list[str]:
    training = {"iterations": iterations, "prompts_per_iteration": 16}
    recipe = small_recipe(folder, training=training, **settings)
    assert recipe.algorithm is not None
    return unused(build_algorithm(recipe.algorithm, recipe.rollout.completions_per_prompt), recipe)


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
    assert [line for line in both if "value function" in line] == ([] if needs_value else [words])


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
