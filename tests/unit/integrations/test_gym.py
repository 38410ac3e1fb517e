"""`rl4lms/TextGen-v0`: made by names, one environment or many, which are the single ones side by side."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import rl4lms
from rl4lms.config import ModelConfig
from rl4lms.errors import ConfigError, DataError, ModelError, RewardError, UnknownNameError
from rl4lms.integrations.gym import TextGenVectorEnv
from rl4lms.models.loading import empty_lm, load_lm, load_tokenizer, special_tokens
from rl4lms.types import Sample
from tests.marks import slow_but
from tests.runs import number_prompts, save_tiny
from tests.tiny import CAUSAL, FAMILIES

ID = "rl4lms/TextGen-v0"
PROMPTS = ["1 2", "3", "4 5 6"]
REWARD = {"name": "increasing_numbers", "min_tokens": 6}
SHAPED = {"name": "shaped", "every": "token", "reward": REWARD}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("models")
    return {family: str(save_tiny(place / family, family)) for family in ("gpt2", "t5")}


def options(model: Any, **other: Any) -> dict[str, Any]:
    return {"model": model, "data": PROMPTS, "reward": REWARD, "prompt": {"max_tokens": 8}, "max_new_tokens": 6} | other


def played(env: Any, seed: int, steps: int) -> list[Any]:
    """Everything that a vector environment says under random actions, as plain values."""
    rng, said = np.random.default_rng(seed), [env.reset(seed=seed)]
    for _ in range(steps):
        said.append(env.step(rng.integers(1, 20, size=env.num_envs)))

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in sorted(value.items())}
        return [plain(item) for item in value] if isinstance(value, np.ndarray | tuple | list) else value

    return plain(said)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_passes_the_checker_with_its_spec(folders: dict[str, str], family: str) -> None:
    env = gymnasium.make(ID, **options(folders[family]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    assert env.unwrapped.padding_side == ("left" if family == "gpt2" else "right")


@pytest.mark.parametrize(
    "imports",
    [
        "import rl4lms; before = set(sys.modules); import gymnasium",
        "import gymnasium; before = set(); import rl4lms",
        "import rl4lms; before = set(sys.modules); importlib.util.find_spec('gymnasium'); import gymnasium.spaces",
        "import rl4lms; before = set(sys.modules); import gymnasium; importlib.reload(gymnasium)",
    ],
    ids=["rl4lms first", "gymnasium first", "asked for before", "reloaded"],
)
def test_importing_the_package_registers_it_and_loads_nothing_heavy(imports: str) -> None:
    code = (
        f"import importlib.util, sys; {imports}; import gymnasium\n"
        f"print(gymnasium.spec('{ID}').id, 'torch' in sys.modules, bool({{'numpy', 'gymnasium'}} & before))\n"
        "print([finder for finder in sys.meta_path if 'rl4lms' in type(finder).__module__])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [ID, "False", "False", "[]"]
    assert done.stderr == ""


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("reward", [REWARD, SHAPED], ids=["sequence", "dense"])
def test_many_at_once_are_single_ones_side_by_side(folders: dict[str, str], reward: Any, mode: AutoresetMode) -> None:
    """Gymnasium's own vector of single environments says the same, for every way of starting again."""
    steps = 1 if mode == AutoresetMode.DISABLED else 25
    how = {"num_envs": 4, **options(folders["gpt2"], reward=reward)}
    single = gymnasium.make_vec(ID, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **how)
    together = gymnasium.make_vec(ID, autoreset_mode=mode, **how)
    assert isinstance(together.unwrapped, TextGenVectorEnv)
    for seed in range(3 if steps > 1 else 1):
        assert played(together, seed, steps) == played(single, seed, steps)
    assert together.observation_space == single.observation_space
    assert together.action_space == single.action_space


def test_a_reward_is_asked_once_for_all_and_only_where_it_pays(folders: dict[str, str]) -> None:
    asked: list[int] = []

    def length(completions: list[str], **columns: Any) -> list[float]:
        asked.append(len(completions))
        return [float(len(text)) for text in completions]

    env = gymnasium.make_vec(ID, num_envs=5, **options(folders["gpt2"], reward=length, max_new_tokens=4))
    env.reset(seed=0)
    paid = [env.step(np.full(5, 9))[1].tolist() for _ in range(4)]
    assert asked == [5, 5]  # the first step, which shows its kind, and the last
    assert paid[:3] == [[0.0] * 5] * 3
    assert paid[3] == [7.0] * 5  # "6 6 6 6"


def test_a_reward_of_two_kinds_is_refused(folders: dict[str, str]) -> None:
    def fickle(completion_ids: list[list[int]], **columns: Any) -> list[Any]:
        return [1.0 if len(row) < 2 else [1.0] * len(row) for row in completion_ids]

    env = gymnasium.make(ID, **options(folders["gpt2"], reward=fickle, max_new_tokens=2))
    env.reset(seed=0)
    env.step(5)
    with pytest.raises(RewardError, match="at times"):
        env.step(5)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_the_kl_term_of_many_is_that_of_each(folders: dict[str, str], family: str) -> None:
    models = rl4lms.build_models(ModelConfig(path=folders[family]), torch.device("cpu"), value=False)
    with torch.no_grad():
        for parameter in models.policy.lm.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    how = options(models, kl_coef=0.5)
    together, singles = gymnasium.make_vec(ID, num_envs=3, **how), [gymnasium.make(ID, **how) for _ in range(3)]
    together.reset(seed=7)
    for i, env in enumerate(singles):
        env.reset(seed=7 + i)
    rng = np.random.default_rng(0)
    for _ in range(6):
        actions = rng.integers(3, 20, size=3)
        _, paid, _, _, infos = together.step(actions)
        for i, env in enumerate(singles):
            _, alone, _, _, info = env.step(actions[i])
            assert infos["kl"][i] == pytest.approx(info["kl"], abs=1e-5)
            assert paid[i] == pytest.approx(alone, abs=1e-5)
            assert paid[i] == pytest.approx(infos["score"][i] - 0.5 * infos["kl"][i], abs=1e-6)
            assert abs(info["kl"]) > 1e-4


def test_action_masks_ban_eos_until_the_least_length(folders: dict[str, str]) -> None:
    env = gymnasium.make_vec(ID, num_envs=2, **options(folders["gpt2"], min_new_tokens=2))
    env.reset(seed=0)
    for banned in (True, True, False):
        masks = env.unwrapped.action_masks()
        assert masks.shape == (2, 24)
        assert masks.dtype == np.bool_
        assert [np.flatnonzero(~row).tolist() for row in masks] == [[1] if banned else []] * 2
        env.step(np.array([5, 6]))
    single = gymnasium.make(ID, **options(folders["gpt2"], min_new_tokens=1))
    single.reset(seed=0)
    assert not single.get_wrapper_attr("action_masks")()[1]


def test_what_there_is_to_reset(folders: dict[str, str]) -> None:
    env = gymnasium.make_vec(ID, num_envs=2, autoreset_mode="Disabled", **options(folders["gpt2"])).unwrapped
    with pytest.raises(ResetNeeded):
        env.step(np.array([5, 5]))
    with pytest.raises(ResetNeeded):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0, options={"index": 1})
    assert env.step(np.array([1, 5]))[2].tolist() == [True, False]  # EOS
    with pytest.raises(ResetNeeded):
        env.step(np.array([5, 5]))
    observations, _ = env.reset(options={"reset_mask": np.array([True, False]), "index": 2})
    assert observations["completion_mask"].sum(1).tolist() == [0, 1]
    assert observations["prompt_mask"].sum(1).tolist() == [3, 1]
    with pytest.raises(ValueError, match="no token"):
        env.step(np.array([5, 24]))
    assert env.step(np.array([5, 5]))[0]["completion_mask"].sum(1).tolist() == [1, 2]  # the bad step changed nothing
    with pytest.raises(ValueError, match="seeds"):
        env.reset(seed=[1, 2, 3])


def test_prompts_come_as_files_rows_samples_and_data_sets(folders: dict[str, str], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt": "1 2", "references": "1 2 3", "topic": "a"}, {"prompt": "3", "topic": "b"}]
    seen: list[Any] = []

    def reward(completions: list[str], references: Any, topic: list[str], **columns: Any) -> list[float]:
        seen.append((references[0], topic[0]))
        return [0.0]

    sets = [rows, datasets.Dataset.from_list(rows), [Sample("1", "1 2", ("1 2 3",), {"topic": "a"})]]
    for data in sets:
        env = gymnasium.make(ID, **options(folders["gpt2"], data=data, reward=reward, max_new_tokens=1))
        env.reset(options={"index": 0})
        env.step(5)
    assert seen == [(("1 2 3",), "a")] * 3
    env = gymnasium.make(ID, **options(folders["gpt2"], data=str(number_prompts(tmp_path / "numbers.jsonl"))))
    assert len(env.unwrapped.samples) == 64  # nothing is held out
    with pytest.raises(DataError, match="data, row 2"):
        gymnasium.make(ID, **options(folders["gpt2"], data=[{"prompt": "1"}, {"text": "1"}]))
    with pytest.raises(DataError, match="leave out validation"):
        gymnasium.make(ID, **options(folders["gpt2"], data={"train": PROMPTS, "validation": PROMPTS}))


def test_bad_arguments_say_what_to_do(folders: dict[str, str]) -> None:
    model = folders["gpt2"]
    for error, match, wrong in (
        (ModelError, r"build_models", {"kl_coef": 0.1}),
        (ModelError, r"save_pretrained", {"model": object()}),
        (ConfigError, r"prompt.max_tokens", {"prompt": {"max_tokens": 0}}),
        (ConfigError, r"max_new_tokens", {"max_new_tokens": 500}),
        (UnknownNameError, r"increasing_numbers", {"reward": "increasing_number"}),
        (ValueError, r"min_new_tokens", {"min_new_tokens": 7}),
        (DataError, r"at least one", {"data": []}),
        (ValueError, r"num_envs", {"num_envs": 0}),
    ):
        with pytest.raises(error, match=match):
            gymnasium.make_vec(ID, **options(model) | wrong)


@pytest.mark.parametrize("family", slow_but(FAMILIES, ["gpt2", "t5", "marian", "bert2bert"]))
def test_a_model_without_weights_has_the_same_special_tokens(tmp_path: Path, family: str) -> None:
    save_tiny(tmp_path / "lm", family)
    config = ModelConfig(path=str(tmp_path / "lm"), architecture="causal" if family in CAUSAL else "encoder-decoder")
    tokenizer, whole = load_tokenizer(config), load_lm(config, torch.device("cpu"))
    assert special_tokens(empty_lm(config), tokenizer) == special_tokens(whole, tokenizer)


def test_a_real_model_with_odd_special_tokens(test_data: Path) -> None:
    env = gymnasium.make(
        ID, model=str(test_data / "stories260K-hf"), data=["Once"], reward="increasing_numbers", max_new_tokens=4
    )
    assert env.unwrapped.tokens.eos == (1, 2)
    env.reset(seed=0)
    assert env.step(2)[2]
