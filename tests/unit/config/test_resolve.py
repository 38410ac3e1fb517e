"""From settings to a recipe and back: Python values, task defaults, nested components, dumping."""

from __future__ import annotations

import math
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rl4lms.algorithms.nlpo import NLPO
from rl4lms.config import (
    Block,
    Component,
    KLConfig,
    Recipe,
    SupervisedConfig,
    dump_recipe,
    merge_defaults,
    read_recipe,
    recipe_from_dict,
)
from rl4lms.errors import ConfigError, DataError
from rl4lms.plugins import registry
from rl4lms.plugins.options import option_names, signature_model
from rl4lms.rewards import build as build_reward

BASE = {"model": "gpt2", "data": "train.jsonl"}


class Part(Block):
    reward: Component
    weight: float = 1.0


class Mix:
    def __init__(
        self,
        parts: list[Component],
        weighted: dict[str, Part] = {},  # noqa: B006
        metrics: tuple[Component, ...] = (),
        note: str = "none",
    ) -> None: ...


class Length:
    def __init__(self, target: int = 10) -> None: ...


class ToyTask:
    name, version, models, classifiers, samples, supervised = "toy", 1, {}, {}, None, None

    def __init__(self, edition: str = "mini") -> None:
        self.edition = edition
        if edition == "gone":
            raise DataError("no such edition")
        self.defaults = {
            "model": {"path": "asset:base", "value": "shared"},
            "reward": {"name": "length", "target": 3},
            "rollout": {"max_new_tokens": 7, "top_k": 5},
            "supervised": {"epochs": 2},
            "evaluation": {"metrics": ["length", "width"], "every": 3},
        }
        if edition == "broken":
            self.defaults["rollout"]["top_k"] = -1


@pytest.fixture(autouse=True)
def _registries(monkeypatch):
    for kind in (registry.rewards, registry.metrics, registry.tasks):
        monkeypatch.setattr(kind, "_entries", dict(kind._entries))
    registry.rewards.register("length", Length)
    registry.rewards.register("mix", Mix)
    registry.metrics.register("length", Length)
    registry.metrics.register("width", Length)
    registry.tasks.register("toy", ToyTask)


def tidy(component: Component) -> dict[str, Any]:
    return {"name": component.name, **component.options}


# --- Python values
# ------------------------------------------------------------------------------------------------------------------


def brevity(completions, *, target_words: int = 20, **columns):
    return [0.0] * len(completions)


def test_python_values_paths_tuples_and_blocks_are_accepted(tmp_path):
    recipe = recipe_from_dict(
        {
            "model": {"path": tmp_path},
            "data": str(tmp_path / "x.jsonl"),
            "kl": KLConfig(kl_coef=0.5),
            "algorithm": Component(name="nlpo", mask_top_p=0.5),
            "optimizer": {"betas": (0.8, 0.9)},
            "evaluation": {"metrics": ("width",)},
        }
    )
    assert recipe.model.path == str(tmp_path)
    assert recipe.kl.kl_coef == 0.5
    assert recipe.algorithm.options == signature_model(NLPO)(mask_top_p=0.5).model_dump(by_alias=True)
    assert recipe.optimizer.betas == (0.8, 0.9)
    assert [tidy(metric) for metric in recipe.evaluation.metrics] == [{"name": "width", "target": 10}]


def test_a_registered_function_is_a_reward_by_its_name():
    registry.rewards.register("brevity", brevity)
    assert tidy(recipe_from_dict({**BASE, "reward": brevity}).reward) == {"name": "brevity"}
    assert tidy(recipe_from_dict({**BASE, "reward": {"name": brevity, "target_words": 3}}).reward) == {
        "name": "brevity",
        "target_words": 3,
    }


def test_any_other_function_is_named_by_its_file():
    assert recipe_from_dict({**BASE, "reward": brevity}).reward.name == f"{Path(__file__)}:brevity"
    recipe = recipe_from_dict({**BASE, "reward": lambda completions: []})
    assert recipe.reward.name.endswith("<lambda>")
    with pytest.raises(ConfigError) as caught:
        build_reward(recipe.reward)
    assert str(caught.value) == (
        f"reward {recipe.reward.name!r}: a recipe can name a function that is registered or at the top of a file; one "
        f"that is nested, a lambda, a method or typed into a notebook it cannot. Pass that to rl4lms.train(..., "
        f'reward=function), register it by @rl4lms.reward("name"), or move it to the top of a file and write '
        f"path/to/file.py:function"
    )


def test_code_that_no_recipe_can_hold_is_named_with_what_to_write():
    def nested(completions): ...

    text = "cannot be written into a recipe, which is text"
    register = "and write that name, or write path/to/file.py:name of one at the top of a file"
    for changes, message in (
        ({"algorithm": NLPO}, f"algorithm: a class (NLPO) {text}; write its name, 'nlpo'"),
        ({"task": Path}, f'task: a class (Path) {text}; register it by @rl4lms.task("name") {register}'),
        (
            {"evaluation": {"metrics": [nested]}},
            f'evaluation.metrics.0: a function ({nested.__qualname__}) {text}; register it by @rl4lms.metric("name") '
            f"{register}",
        ),
        (
            {"reward": {"name": "scale", "reward": brevity}},
            f"reward.reward: a function (brevity) {text}; write its name, '{Path(__file__)}:brevity'",
        ),
        ({"seed": nested}, f"seed: a function ({nested.__qualname__}) {text}"),
    ):
        with pytest.raises(ConfigError) as caught:
            recipe_from_dict({**BASE, **changes})
        assert str(caught.value) == f"<arguments>: {message}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**BASE, "seed": object()}, "<arguments>: seed: object is not a kind of value that a recipe can hold"),
        (
            {**BASE, "algorithm": brevity},
            "<arguments>: algorithm: a function (brevity) cannot be written into a recipe, which is text; write its "
            f"name, '{__file__}:brevity'",
        ),
        ({**BASE, "kl": {1: 2}}, "<arguments>: kl: the key 1 is not text"),
        (
            {**BASE, "kl": {"kl_coef": math.nan}},
            "<arguments>: kl.kl_coef: not a finite number (quote it if it is text)",
        ),
        ({**BASE, "sed": 1}, "<arguments>: sed: unknown key; did you mean 'seed'?"),
        ({**BASE, "rollout": {"top_p": "1"}}, '<arguments>: rollout.top_p: should be a number, got "1"'),
        ({"data": "x"}, "<arguments>: model: is required"),
    ],
)
def test_wrong_python_values(settings, message):
    with pytest.raises(ConfigError) as caught:
        recipe_from_dict(settings)
    assert str(caught.value) == message


def test_endless_python_values_are_refused():
    loop: dict[str, Any] = {}
    loop["kl"] = loop
    with pytest.raises(ConfigError, match=r"^<arguments>: kl\.kl\.kl: nested more than 20 levels deep$"):
        recipe_from_dict(loop)


# --- task defaults
# ------------------------------------------------------------------------------------------------------------------


def test_merge_defaults_by_key_lists_and_other_components_whole():
    defaults = {
        "a": {"x": 1, "y": {"z": 2}},
        "l": [1, 2],
        "c": {"name": "p", "k": 1},
        "d": {"name": "p", "k": 1},
        "n": {"x": 1},
        "s": 1,
    }
    tree = {"a": {"y": {"w": 3}}, "l": [], "c": {"name": "q"}, "d": {"j": 2}, "n": None, "new": 5}
    assert merge_defaults(tree, defaults) == {
        "a": {"x": 1, "y": {"z": 2, "w": 3}},
        "l": [],
        "c": {"name": "q"},
        "d": {"name": "p", "k": 1, "j": 2},
        "n": None,
        "s": 1,
        "new": 5,
    }
    assert defaults["a"] == {"x": 1, "y": {"z": 2}}
    assert tree["a"] == {"y": {"w": 3}}


def test_a_task_fills_what_is_unset():
    recipe = recipe_from_dict(
        {"model": {"value": "separate"}, "task": "toy", "rollout": {"top_k": 9}, "supervised": None}
    )
    assert tidy(recipe.task) == {"name": "toy", "edition": "mini"}
    assert (recipe.model.path, recipe.model.value) == ("asset:base", "separate")
    assert (recipe.rollout.max_new_tokens, recipe.rollout.top_k) == (7, 9)
    assert recipe.supervised is None
    assert recipe.evaluation.every == 3
    assert [tidy(metric) for metric in recipe.evaluation.metrics] == [
        {"name": "length", "target": 10},
        {"name": "width", "target": 10},
    ]
    assert tidy(recipe.reward) == {"name": "length", "target": 3}


def test_explicit_components_and_lists_replace_those_of_the_task():
    recipe = recipe_from_dict(
        {"model": "gpt2", "task": "toy", "reward": {"name": "mix", "parts": ["length"]}, "evaluation": {"metrics": []}}
    )
    assert recipe.model.path == "gpt2"
    assert recipe.reward.options["parts"] == [{"name": "length", "target": 10}]
    assert recipe.evaluation.metrics == []
    assert recipe_from_dict({"task": "toy", "reward": {"target": 5}}).reward.options == {"target": 5}
    assert recipe_from_dict({"task": "toy", "supervised": {}}).supervised == SupervisedConfig(epochs=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"task": {"name": "toy", "edition": "broken"}},
            "defaults of task 'toy': rollout.top_k: should be greater than or equal to 0, got -1",
        ),
        ({"task": {"name": "toy", "edition": "gone"}}, "<arguments>: task: no such edition"),
        ({"task": {"name": "toy", "edtion": "mini"}}, "<arguments>: task.edtion: unknown key; did you mean 'edition'?"),
        ({"task": {"edition": "mini"}}, "<arguments>: task.name: is required"),
        ({"task": 3}, "<arguments>: task: should be a mapping, got 3"),
        (
            {"task": "toy", "data": "x"},
            "<arguments>: name exactly one of `task` and `data`: they say where prompts come from, such as `task: imdb` or "
            "`data: prompts.jsonl` (as options: --task imdb, --data prompts.jsonl)",
        ),
    ],
)
def test_errors_say_whether_the_task_or_the_recipe_is_wrong(settings, message):
    with pytest.raises(ConfigError) as caught:
        recipe_from_dict(settings)
    assert str(caught.value) == message


# --- components
# ---------------------------------------------------------------------------------------------------------------------


def test_components_inside_options_are_completed_too():
    reward = {
        "name": "mix",
        "parts": ["length", {"name": "mix", "parts": [{"name": "length", "target": 1}]}],
        "weighted": {"a": {"reward": "length"}},
        "metrics": ["width"],
    }
    inner = {"name": "mix", "parts": [{"name": "length", "target": 1}], "weighted": {}, "metrics": [], "note": "none"}
    assert tidy(recipe_from_dict({**BASE, "reward": reward}).reward) == {
        "name": "mix",
        "parts": [{"name": "length", "target": 10}, inner],
        "weighted": {"a": {"reward": {"name": "length", "target": 10}, "weight": 1.0}},
        "metrics": [{"name": "width", "target": 10}],
        "note": "none",
    }


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ({"name": "mix"}, "reward.parts: is required"),
        (
            {"name": "mix", "parts": ["lenght"]},
            "reward.parts.0.name: unknown reward 'lenght'; did you mean 'length'? All names: rl4lms ls rewards, rl4lms ls metrics",
        ),
        (
            {"name": "mix", "parts": [{"name": "length", "taget": 1}]},
            "reward.parts.0.taget: unknown key; did you mean 'target'?",
        ),
        (
            {"name": "mix", "parts": [{"name": "mix", "parts": [{"name": "length", "target": "1"}]}]},
            'reward.parts.0.parts.0.target: should be a whole number, got "1"',
        ),
        (
            {"name": "mix", "parts": [], "weighted": {"a": {"reward": "length", "wieght": 1}}},
            "reward.weighted.a.wieght: unknown key; did you mean 'weight'?",
        ),
        ({"name": "mix", "parts": [], "metrics": ["mix"]}, "reward.metrics.0.name: unknown metric 'mix'; "),
    ],
)
def test_components_inside_options_are_checked_where_they_stand(reward, message):
    with pytest.raises(ConfigError) as caught:
        recipe_from_dict({**BASE, "reward": reward})
    text = str(caught.value).removeprefix("<arguments>: ")
    assert text.startswith(message) if message.endswith("; ") else text == message


def test_a_metric_can_be_the_reward_and_a_file_is_not_opened():
    assert tidy(recipe_from_dict({**BASE, "reward": "width"}).reward) == {"name": "width", "target": 10, "key": None}
    assert recipe_from_dict({**BASE, "reward": {"name": "width", "key": "mean"}}).reward.options["key"] == "mean"
    with pytest.raises(ConfigError, match=r"evaluation\.metrics\.0\.key: unknown key; known: target$"):
        recipe_from_dict({**BASE, "evaluation": {"metrics": [{"name": "width", "key": "mean"}]}})
    with pytest.raises(ConfigError, match=r"reward\.name: unknown reward 'widht'; did you mean 'width'\? All"):
        recipe_from_dict({**BASE, "reward": "widht"})
    recipe = recipe_from_dict({**BASE, "reward": {"name": "no/such/file.py:fn", "anything": [1]}})
    assert tidy(recipe.reward) == {"name": "no/such/file.py:fn", "anything": [1]}


def test_of_a_class_every_plain_default_is_written_down():
    class Unusual:
        def __init__(
            self,
            path: str,
            *,
            unresolved: NotImported = None,  # noqa: F821
            size: int = 3,
            scorer=math.prod,
            most=math.inf,
        ) -> None: ...

    registry.rewards.register("unusual", Unusual)
    resolved = {"name": "unusual", "path": "x", "unresolved": None, "size": 3}
    assert tidy(recipe_from_dict({**BASE, "reward": {"name": "unusual", "path": "x"}}).reward) == resolved
    with pytest.raises(ConfigError, match=r"reward\.path: is required$"):
        recipe_from_dict({**BASE, "reward": "unusual"})


def test_of_a_function_only_what_was_given_is_written_down():
    registry.rewards.register("brevity", brevity)
    assert tidy(recipe_from_dict({**BASE, "reward": "brevity"}).reward) == {"name": "brevity"}


def test_what_no_option_can_say_alone_is_refused_where_the_component_stands(tmp_path):
    lines = [
        "model: gpt2",
        "data: x",
        "reward:",
        "  name: sum",
        "  parts:",
        "  - reward:",
        "      name: clip",
        "      reward: length",
    ]
    (tmp_path / "r.yaml").write_text("\n".join([*lines, "      low: 2", "      high: 1"]))
    with pytest.raises(ConfigError) as caught:
        read_recipe(tmp_path / "r.yaml")
    assert str(caught.value) == f"{tmp_path / 'r.yaml'}:6: reward.parts.0.reward: low 2 must be below high 1"
    with pytest.raises(
        ConfigError, match=r"<arguments>: task: path names real reviews, but edition is mini; add edition: full$"
    ):
        recipe_from_dict({"model": "gpt2", "task": {"name": "imdb", "path": "reviews"}})


# --- dumping
# ------------------------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(lambda text: "${" not in text)
TRICKY = st.sampled_from(
    ["", " ", "null", "~", "true", "yes", "1", "1e-6", "1_0", "0x1", ".inf", ".nan", "-", "- a", "a: b", "a #b", "'", '"', "\n", " a", "a ",
     "=", "<<", "*a", "&a", "!a", "%a", "---", "...", "\ufeff", "\u2028", "\x85", "\t", "2024-01-01", "9" * 30, "@", "`", "{", "[", "?",
     "\U0001f600"]
)  # fmt: skip
ANY_TEXT = TEXT | TRICKY
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
POSITIVE = st.floats(1e-300, 1e300, allow_subnormal=False)
RECIPES = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries({"path": ANY_TEXT.filter(bool)}, optional={"tokenizer": st.none() | ANY_TEXT}),
    },
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True),
        "prompt": st.fixed_dictionaries({"prefix": ANY_TEXT, "suffix": ANY_TEXT}),
        "optimizer": st.fixed_dictionaries({"learning_rate": POSITIVE, "betas": st.tuples(POSITIVE, POSITIVE)}),
        "reward": st.builds(
            lambda options: {**options, "name": "x.py:f"},
            st.dictionaries(ANY_TEXT.filter(lambda k: k != "name"), VALUES),
        )
        | st.sampled_from(
            ["length", {"name": "mix", "parts": ["length", {"name": "length", "target": 2}], "note": "1e-6"}]
        ),
        "algorithm": st.sampled_from(["ppo", "nlpo", {"name": "nlpo", "mask_top_p": 0.3}]),
        "evaluation": st.sampled_from(
            [{"metrics": ["length", "width"]}, {"metrics": [], "generation": {"num_beams": 3}}]
        ),
    },
)
QUICK = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@QUICK
@given(RECIPES, st.booleans())
def test_reading_a_dumped_recipe_gives_an_equal_recipe(tmp_path, settings, with_task):
    recipe = recipe_from_dict(settings | ({"task": "toy"} if with_task else {"data": "x"}))
    text = dump_recipe(recipe)
    (tmp_path / "dumped.yaml").write_bytes(text.encode())
    again = read_recipe(tmp_path / "dumped.yaml")
    assert again == recipe
    assert dump_recipe(again) == text


def test_the_dump_is_complete_and_plain():
    tree = yaml.safe_load(
        dump_recipe(recipe_from_dict({"task": "toy", "algorithm": "nlpo", "reward": {"name": "mix", "parts": []}}))
    )
    assert set(tree) == set(Recipe.model_fields)
    assert set(tree["algorithm"]) == {"name"} | option_names(signature_model(NLPO))
    assert tree["task"] == {"name": "toy", "edition": "mini"}
    assert tree["reward"]["note"] == "none"


# --- whatever is thrown at it
# --------------------------------------------------------------------------------------------------------

YAML_BITS = st.lists(
    st.sampled_from(
        ["model", "data", "reward", "algorithm", "name", "task", "toy", "ppo", "evaluation", "metrics", "x", "1", "1e-6", "9" * 99, "true",
         ":", ": ", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ", ", "'", '"', "&a ", "*a", "!!python/name:os.system ", "|\n",
         ">-\n", "\t", "#", "%YAML "
                            "1.1\n", "---\n", "...\n", "? ", "<<", "${HOME}", "${x", "\\x00", "\\ud800", "\\UFFFFFFFF", "\ufeff",
         "\r", "é"]
    ),
    max_size=30,
).map("".join)  # fmt: skip


@QUICK
@given(
    st.one_of(
        YAML_BITS.map(str.encode),
        st.binary(max_size=60),
        YAML_BITS.map(lambda text: f"model: gpt2\ndata: x\n{text}".encode()),
        st.dictionaries(st.sampled_from(sorted(Recipe.model_fields)), VALUES).map(
            lambda tree: yaml.safe_dump(tree).encode()
        ),
    ),
    st.lists(
        st.one_of(YAML_BITS, st.text(string.printable, max_size=20), YAML_BITS.map(lambda text: f"rollout={text}")),
        max_size=2,
    ),
)
def test_only_config_errors_escape(tmp_path, data, overrides):
    (tmp_path / "fuzz.yaml").write_bytes(data)
    try:
        recipe = read_recipe(tmp_path / "fuzz.yaml", overrides)
    except ConfigError as error:
        assert str(error).startswith((str(tmp_path / "fuzz.yaml"), "override ", "defaults of task"))  # noqa: PT017
    else:
        assert isinstance(recipe, Recipe)


@pytest.mark.parametrize(
    ("model", "optimizer", "rates"),
    [
        ({"path": "m"}, {}, (1e-5, None)),
        ({"path": "m", "lora": {"r": 4}}, {}, (1e-4, None)),
        ({"path": "m", "lora": {}}, {"learning_rate": None, "value_learning_rate": 1e-3}, (1e-4, 1e-3)),
        ({"path": "m", "lora": {}}, {"learning_rate": 3e-6}, (3e-6, None)),
    ],
)
def test_the_learning_rate_that_nobody_named_is_that_of_what_is_trained(model, optimizer, rates):
    recipe = recipe_from_dict({"model": model, "data": "p.jsonl", "optimizer": optimizer})
    assert (recipe.optimizer.learning_rate, recipe.optimizer.value_learning_rate) == rates
    again = yaml.safe_load(dump_recipe(recipe))["optimizer"]  # what a run keeps, whatever the default is later
    assert float(again["learning_rate"]) == rates[0]


def test_a_named_learning_rate_of_a_task_stays_with_adapters():
    assert recipe_from_dict({"task": "imdb", "model.lora": {}}).optimizer.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": object()}, "<arguments>: dataset: unknown key; write data="),
        ({"reward_funcs": brevity}, "<arguments>: reward_funcs: unknown key; write reward="),
        ({"max_new_tokens": 5}, "<arguments>: max_new_tokens: unknown key; did you mean 'rollout.max_new_tokens'?"),
        ({"holdout": 5}, "<arguments>: holdout: unknown key; did you mean 'data.holdout'?"),
    ],
)
def test_what_other_libraries_call_it_and_a_key_without_its_block(settings, message):
    with pytest.raises(ConfigError) as caught:
        recipe_from_dict({**BASE, **settings})
    assert str(caught.value) == message
