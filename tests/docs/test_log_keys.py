"""The page of log keys is what the table says, and the table is what runs log."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from rl4lms.log_keys import LOG_KEYS, describe
from rl4lms.runs.health import RULES
from rl4lms.training.run import run
from tests.runs import small_recipe
from tests.unit.rewards.server import Server

ROOT = Path(__file__).parents[2]
# What the recipes below name; only these may stand where the table has a placeholder.
PARTS = {"increasing_numbers", "dates"}
METRICS = {"distinct-1", "distinct-2", "entropy-1", "entropy-2", "mean_length", "unique-1", "unique-2"}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every key that a run of each algorithm logs, with evaluations before and after."""
    server = Server()
    increasing = {"name": "increasing_numbers", "min_tokens": 6}
    recipes: dict[str, dict[str, Any]] = {
        "ppo": {
            "algorithm": {"name": "ppo", "ent_coef": 0.01},
            "reward": {"name": "sum", "parts": [{"reward": increasing}, {"reward": {"name": "dates"}}]},
        },
        "nlpo": {
            "algorithm": {"name": "nlpo"},
            "reward": {"name": "http", "url": server.url},
            "evaluation": {"generation": {"mask": True}},
        },
        "trpo": {"algorithm": {"name": "trpo"}},
        "expert_iteration": {
            "algorithm": {"name": "expert_iteration"},
            "rollout": {"max_new_tokens": 6, "completions_per_prompt": 2},
        },
        "grpo": {"algorithm": {"name": "grpo"}, "rollout": {"max_new_tokens": 6, "completions_per_prompt": 2}},
    }
    found: set[str] = set()
    try:
        for name, settings in recipes.items():
            recipe = small_recipe(tmp_path_factory.mktemp(name), training={"iterations": 1}, **settings)
            run(recipe)
            lines = (Path(str(recipe.output_dir)) / "metrics.jsonl").read_text().splitlines()
            found |= {key for line in lines for key in json.loads(line)}
    finally:
        server.close()
    return found - {"step"}


def test_the_page_is_what_the_table_says() -> None:
    path = ROOT / "scripts" / "log_keys.py"
    spec = importlib.util.spec_from_file_location("log_keys_script", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    assert page == script.render(), "run python scripts/log_keys.py"
    assert page.count("\n| `") == len(LOG_KEYS)
    health = script.HEALTH_PAGE.read_text(encoding="utf-8")
    assert health == script.render_health(), "run python scripts/log_keys.py"
    assert health.count("\n| `") == len(RULES)


def test_every_logged_key_is_in_the_table(logged: set[str]) -> None:
    lines = {key: describe(key) for key in logged}
    assert [key for key, line in lines.items() if line is None] == []
    families = {line.key for line in lines.values() if line is not None and line.is_family}
    assert families == {line.key for line in LOG_KEYS if line.is_family}  # each is used
    for key, line in lines.items():
        if line is not None and line.is_family:
            name = key.removeprefix(line.key.partition("<")[0])
            inside = line.key == "eval/masked/<key>" and f"eval/{name}" in logged
            assert inside or name in (METRICS if line.key == "eval/<metric>" else PARTS), key


def test_every_key_of_the_table_is_logged(logged: set[str]) -> None:
    assert [line.key for line in LOG_KEYS if not line.is_family and line.key not in logged] == []


def test_the_table_is_in_order() -> None:
    keys = [line.key for line in LOG_KEYS]
    assert len(set(keys)) == len(keys)
    prefixes = [key.partition("/")[0] for key in keys]
    assert list(dict.fromkeys(prefixes)) == ["rollout", "train", "time", "eval"]
    assert prefixes == sorted(prefixes, key=["rollout", "train", "time", "eval"].index)
    for line in LOG_KEYS:  # one sentence, and the more specific line first
        assert line.meaning.endswith("."), line.key
        assert ". " not in line.meaning, line.key
        assert "|" not in line.meaning, line.key
        assert describe(line.key) == line, line.key


@pytest.mark.parametrize("key", ["rollout/scores", "rollout/kl", "score", "train/", "rollout/score/", "evaluation/x"])
def test_other_keys_are_not_described(key: str) -> None:
    assert describe(key) is None
