"""Classes that were written for the original run as rewards, metrics and tasks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rl4lms.config import read_recipe, recipe_from_dict
from rl4lms.errors import ConfigError, DataError, RewardError
from rl4lms.evaluation.build import reward_of
from rl4lms.integrations import legacy
from rl4lms.metrics import build as build_metric
from rl4lms.metrics.call import compute
from rl4lms.rewards import build as build_reward
from rl4lms.rewards import score
from rl4lms.runs.fingerprint import code_files
from rl4lms.tasks import build as build_task
from rl4lms.training.run import run
from tests.docs.pages import ROOT, blocks
from tests.runs import metric_lines, run_steps, save_tiny, small_loop, small_recipe
from tests.unit.integrations.originals import original

EXAMPLE = ROOT / "examples" / "original_classes.py"


def batch(**columns: Any) -> dict[str, Any]:
    """Two completions, of three tokens and of one."""
    given = {"prompts": ["a", "b"], "completions": ["1 2 3", "7"], "references": [["x", "y"], []]}
    return {**given, "completion_ids": [[4, 5, 6], [10]], "columns": {"topic": ["t", "u"]}, **columns}


class Decoder:
    """Numbers from ids, as the tests' tokenizer has them."""

    def __call__(self, rows: Any) -> list[str]:
        return [" ".join(str(token - 3) for token in row) for row in rows]


class Watching(legacy.RewardFunction):
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, current_observation, action, next_observation, done, meta_info=None):
        self.seen.append((current_observation, action, next_observation, done, meta_info))
        return float(action) if done else 0.5


def test_a_reward_function_is_called_at_every_token_as_in_the_environment_of_the_original() -> None:
    reward = Watching()
    reward.use_tokenizer(Decoder())  # type: ignore[arg-type]
    output = score(reward, **batch(full_prompts=["all of a", "b"], prompt_ids=[[8, 9], [9]]))
    assert output.scores == [[0.5, 0.5, 6.0], [10.0]]
    assert [(action, done, meta) for _, action, _, done, meta in reward.seen] == [
        (4, False, {"topic": "t"}),
        (5, False, {"topic": "t"}),
        (6, True, {"topic": "t"}),
        (10, True, {"topic": "u"}),
    ]
    texts = [(current.context_text, following.context_text) for current, _, following, _, _ in reward.seen]
    assert texts == [("", "1"), ("1", "1 2"), ("1 2", "1 2 3"), ("", "7")]
    current, _, following, _, _ = reward.seen[1]
    assert (following.prompt_or_input_text, following.target_or_reference_texts) == ("all of a", ["x", "y"])
    assert following.meta_info == {"topic": "t"}
    assert current.context_encoded_pt.tolist() == [[4]]
    assert following.input_encoded_pt.tolist() == [[8, 9, 4, 5]]
    assert following.input_attention_mask_pt.tolist() == [[1, 1, 1, 1]]
    assert following.prompt_or_input_encoded_pt.tolist() == [[8, 9]]
    assert isinstance(following.prompt_or_input_attention_mask_pt, torch.Tensor)
    assert not hasattr(following, "action_history")


def test_an_unfinished_text_needs_a_tokenizer_and_a_finished_one_does_not() -> None:
    reward = Watching()
    score(reward, **batch())
    assert reward.seen[2][2].context_text == "1 2 3"
    with pytest.raises(RewardError, match="'Watching' reads an unfinished text and has no tokenizer"):
        _ = reward.seen[0][2].context_text


def test_a_batched_reward_gets_whole_completions_and_may_return_a_tensor() -> None:
    seen: list[Any] = []

    class Batched(legacy.BatchedRewardFunction):
        def __call__(self, *given):
            seen.append(given)
            return torch.tensor([1.0, 2.0])

    assert score(Batched(), **batch()).scores == [1.0, 2.0]
    metas = [{"topic": "t"}, {"topic": "u"}]
    assert seen == [(["a", "b"], ["1 2 3", "7"], [["x", "y"], []], [True, True], metas)]


def test_faults_name_the_class_and_its_line() -> None:
    class Broken(legacy.BatchedRewardFunction):
        def __call__(self, *given):
            raise ValueError("no such thing")

    class Short(legacy.BatchedRewardFunction):
        def __call__(self, *given):
            return [1.0]

    with pytest.raises(RewardError, match=r"'Broken' raised ValueError: no such thing \(test_legacy_classes\.py, line"):
        score(Broken(), **batch())
    with pytest.raises(RewardError, match="'Short' returned 1 value for 2 completions"):
        score(Short(), **batch())


def test_a_metric_reports_means_with_errors_and_other_values_of_the_whole_set() -> None:
    seen: list[Any] = []

    class Both(legacy.BaseMetric):
        def compute(self, *given):
            seen.append(given)
            return {"a/mean": ([1, 3], 2.0), "a/corpus": ([1, 3], 5.0), "a/alone": (None, 4)}

    given = batch()
    del given["completion_ids"]
    results = {result.key: result for result in compute(Both(), **given)}
    assert {key: result.mean for key, result in results.items()} == {
        "a/mean": 2.0,
        "a/corpus": 5.0,
        "sentence_a/corpus": 2.0,
        "a/alone": 4.0,
    }
    assert results["a/mean"].values == (1.0, 3.0)
    assert results["a/mean"].stderr == pytest.approx(1.0)
    assert results["a/corpus"].values is None
    assert seen == [(["a", "b"], ["1 2 3", "7"], [["x", "y"], []], [{"topic": "t"}, {"topic": "u"}], None, None)]

    class Wrong(legacy.BaseMetric):
        def compute(self, *given):
            return {"a": [1, 2, 3]}

    with pytest.raises(DataError, match=r"'Wrong'.*expected the values of single texts, or None"):
        compute(Wrong(), **given)


def test_a_pool_is_a_task_with_the_arguments_of_prepare_as_options(tmp_path: Path) -> None:
    found = build_task({"name": f"{EXAMPLE}:counting", "upto": 9})
    assert [sample.prompt for sample in found.samples("train")] == ["0 1", "3 4", "6 7"]
    assert [sample.prompt for sample in found.samples("validation")] == ["1 2", "4 5", "7 8"]  # the original's `val`
    assert found.samples("test")[1].id == "test_1"
    assert found.supervised("train")[2].references == ("2 3",)
    with pytest.raises(ConfigError, match=r"up_to.*did you mean 'upto'"):
        build_task({"name": f"{EXAMPLE}:counting", "up_to": 9})
    with pytest.raises(ConfigError, match=r"a pool is no task: write `name = task\(Pool\)`"):
        build_task(f"{EXAMPLE}:Counting")


def test_samples_that_cannot_be_told_apart_and_weights_are_refused() -> None:
    class Pool(legacy.TextGenPool):
        weight = 1.0

        @classmethod
        def prepare(cls, split):
            return cls([legacy.Sample(7, "a", None), legacy.Sample(7, "b", None, {"k": 1})])

        def __getitem__(self, ix):
            return self._samples[ix], self.weight

    with pytest.raises(DataError, match="two samples have the id '7'"):
        legacy.task(Pool)().samples("train")
    Pool.weight = 0.5
    with pytest.raises(DataError, match=r"Pool, train\[0\]: the weight is 0\.5"):
        legacy.task(Pool)().samples("train")


def test_the_example_trains_by_recipe_and_by_old_file(tmp_path: Path) -> None:
    """All four kinds, with the same numbers; the file is one that a resumed run must agree with."""
    save_tiny(tmp_path / "lm", "gpt2")
    old = original(
        tmp_path,
        tokenizer__model_name=str(tmp_path / "lm"),
        alg__policy__args__model_name=str(tmp_path / "lm"),
        datapool={"id": f"{EXAMPLE}:counting", "args": {"upto": 9}},
        reward_fn={"id": f"{EXAMPLE}:FewTokens", "args": {"most": 3}},
        train_evaluation__metrics=[{"id": f"{EXAMPLE}:Words"}],
    )
    settings: dict[str, Any] = {"device": "cpu", "tracking": {"progress": False}}
    recipe = legacy.recipe_of(legacy.convert(old), settings={**settings, "output_dir": str(tmp_path / "old")})
    assert code_files(recipe) == [str(EXAMPLE)]
    run(recipe)
    lines = metric_lines(tmp_path / "old")
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert lines[2]["eval/length/words"] > 0
    assert 0 <= lines[1]["rollout/score"] <= 1
    target = tmp_path / "old.yaml"
    target.write_text(legacy.recipe_text(legacy.convert(old), target))
    run(read_recipe(target, settings={**settings, "output_dir": str(tmp_path / "new")}))
    assert metric_lines(tmp_path / "new") == lines


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_rewards_of_both_kinds_learn_what_is_rewarded_inside_a_sum(tmp_path: Path, family: str) -> None:
    parts = [{"reward": {"name": f"{EXAMPLE}:FewTokens", "most": 3}}, {"reward": f"{EXAMPLE}:Rising"}]
    loop = small_loop(tmp_path, family, reward={"name": "sum", "parts": parts}, model={"value": "shared"})
    (numbers,) = run_steps(loop, 1)
    assert {"rollout/score/FewTokens", "rollout/score/Rising"} <= numbers.keys()
    assert numbers["rollout/score"] == pytest.approx(
        numbers["rollout/score/FewTokens"] + numbers["rollout/score/Rising"], abs=1e-5
    )


def test_a_run_gives_the_reward_its_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rl4lms.integrations.legacy import RewardFunction\n\n\n"
        "class Grows(RewardFunction):\n"
        "    def __call__(self, before, action, after, done, meta_info=None):\n"
        "        assert after.context_text.startswith(before.context_text)\n"
        "        return float(len(after.context_text) - len(before.context_text))\n"
    )
    recipe = small_recipe(tmp_path, reward=f"{tmp_path / 'mine.py'}:Grows")
    loop = small_loop(tmp_path, reward=f"{tmp_path / 'mine.py'}:Grows")
    assert reward_of(recipe, build_task({"name": "one_prompt", "prompt": "1"})) is not None
    (numbers,) = run_steps(loop, 1)
    assert numbers["rollout/score"] > 0  # characters of a completion


def test_the_page_shows_the_example() -> None:
    code = EXAMPLE.read_text(encoding="utf-8").partition("\n\n")[2].strip()
    shown = [block.code.strip() for block in blocks(ROOT / "docs" / "migration.md") if block.language == "python"]
    assert shown == [code]


def test_the_classes_load_no_torch() -> None:
    code = "import sys, rl4lms.integrations.legacy; print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert build_reward(f"{EXAMPLE}:Rising") is not None
    assert build_metric(f"{EXAMPLE}:Words") is not None
    assert recipe_from_dict({"model": "m", "data": "d", "reward": f"{EXAMPLE}:Rising"}).reward is not None
