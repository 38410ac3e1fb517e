"""Prompts of ours as a taskset of verifiers, and tasksets of verifiers as data and reward of ours.

Scoring is what verifiers does with a finished rollout (`Task.score`). Rollouts themselves need its harnesses, which
install programs and call a server, and are not run here.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import rl4lms
from rl4lms.errors import ConfigError, DataError, Rl4lmsError
from rl4lms.grue.rescore import Prediction, Scorer
from tests.tiny import chat_tokenizer, number_tokenizer, tiny_lm

pytestmark = pytest.mark.doors
pytest.importorskip("verifiers.v1", reason="verifiers is not installed: make test-doors")

import verifiers.v1 as vf  # noqa: E402
from verifiers.v1.utils.loaders import load_taskset, taskset_class  # noqa: E402

from rl4lms.config import recipe_from_dict  # noqa: E402
from rl4lms.integrations.verifiers import Prompts, PromptsConfig, RewardConfig, TasksetReward  # noqa: E402


def trace_of(task: Any, reply: str) -> Any:
    """A finished rollout of one turn, as verifiers makes one."""
    trace = vf.Trace(
        task=vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
    )
    trace.nodes.append(vf.MessageNode(message={"role": "user", "content": task.data.prompt_text}))
    trace.nodes.append(vf.MessageNode(parent=0, message={"role": "assistant", "content": reply}, sampled=True))
    return trace


def scored(task: Any, reply: str) -> float:
    trace = trace_of(task, reply)
    asyncio.run(task.score(trace))
    return float(trace.reward)


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The two lines that give our taskset a name."""
    (tmp_path / "our_prompts.py").write_text(
        "from rl4lms.integrations.verifiers import Prompts\n\n__all__ = ['Prompts']\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "our_prompts", raising=False)
    return "our-prompts"


def test_it_is_found_by_its_name_and_yields_the_samples_of_the_task(named: str) -> None:
    assert taskset_class(named) is Prompts
    config = PromptsConfig(id=named, split="test", settings=["prompt.prefix='write: '"])
    tasks = list(load_taskset(config))
    samples = rl4lms.tasks.build({"name": "commongen", "edition": "mini"}).samples("test")
    assert [task.data.id for task in tasks] == [sample.id for sample in samples]
    assert tasks[3].data.prompt == f"write: {samples[3].prompt}"
    assert tasks[3].data.idx == 3
    assert len({task.key for task in tasks}) == len(tasks)


def test_its_reward_is_the_one_of_our_task() -> None:
    task = next(iter(Prompts(PromptsConfig(task=RewardConfig(reward="meteor_exact_stem"), split="test"))))
    scorer = Scorer.of(recipe_from_dict({"task": {"name": "commongen", "edition": "mini"}}), "test")
    replies = [task.data.references[0], "a dog .", task.data.references[0] + " a dog ."]
    for reply in replies:
        ours = scorer([Prediction(task.data.id, "", reply, None, "row")], wanted=[]).results["meteor_exact_stem"].mean
        assert scored(task, reply) == pytest.approx(ours, abs=1e-12)
    assert len({scored(task, reply) for reply in replies}) == 3
    own = next(iter(Prompts(PromptsConfig(split="test"))))  # METEOR and a penalty for copies of the concepts
    assert scored(own, own.data.prompt) < scored(own, own.data.references[0])


def test_a_saved_trace_is_scored_alike_where_it_is_read() -> None:
    task = next(iter(Prompts(PromptsConfig(split="test"))))
    trace = trace_of(task, task.data.references[1])
    asyncio.run(task.score(trace))
    content = json.loads(trace.model_dump_json())
    data = type(task).data_type().model_validate(content["task"]["data"])
    assert scored(type(task)(data, task.config), task.data.references[1]) == pytest.approx(trace.reward, abs=1e-12)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"task_name": "comongen"}, "unknown task 'comongen'"),
        ({"settings": ["prompt.prefx=x"]}, "prefx"),
        ({"task": RewardConfig(reward="meteorr")}, "unknown reward 'meteorr'"),
    ],
)
def test_mistakes_show_before_anything_is_generated(config: dict[str, Any], message: str) -> None:
    with pytest.raises(Rl4lmsError, match=message):
        next(iter(Prompts(PromptsConfig(**config))))


def test_a_reward_without_a_number_is_an_error_of_the_rollout(tmp_path: Path) -> None:
    (tmp_path / "none.py").write_text("def nothing(completions):\n    return [None for _ in completions]\n")
    config = PromptsConfig(task=RewardConfig(reward=f"{tmp_path}/none.py:nothing"))
    task = next(iter(Prompts(config)))
    with pytest.raises(Exception, match="leaves the prompt 'train-0' out"):
        scored(task, "a dog .")


# --- the other way


class NumberData(vf.TaskData):
    answer: str


class NumberTask(vf.Task[NumberData]):
    @vf.reward(weight=2.0)
    async def right(self, trace: vf.Trace) -> float:
        return float(self.data.answer in trace.last_reply.split())

    @vf.reward
    async def short(self, task: NumberData, trace: vf.Trace) -> float:
        return 1 / (1 + len(trace.last_reply.split()))


class Numbers(vf.Taskset[NumberTask, vf.TasksetConfig]):
    def load(self) -> list[NumberTask]:
        return [NumberTask(NumberData(prompt=f"{i} {i + 1}", answer=str(i + 2)), self.config.task) for i in range(12)]


def test_a_taskset_scores_our_completions_by_all_its_rewards_and_weights() -> None:
    reward = TasksetReward(Numbers(vf.TasksetConfig()))
    chat = [{"role": "assistant", "content": "6 9"}]
    found = rl4lms.rewards.score(
        reward,
        prompts=["4 5", "4 5", "0 1"],
        completions=["6", "7", "2 2 2"],
        completion_ids=[[1], [1], [1, 1, 1]],
        references=[None] * 3,
        columns={"verifiers_idx": [4, 4, 0]},
    )
    assert found.scores == [2.5, 0.5, 2.25]
    assert asyncio.run(reward([chat], [4])) == [pytest.approx(2 + 1 / 3)]
    with pytest.raises(DataError, match="no prompt 99"):
        asyncio.run(reward(["6"], [99]))


@pytest.mark.parametrize("chat", [False, True], ids=["texts", "conversations"])
def test_a_run_of_ours_learns_what_a_taskset_pays_for(tmp_path: Path, chat: bool) -> None:
    reward = TasksetReward(Numbers(vf.TasksetConfig()))
    tokenizer = chat_tokenizer() if chat else number_tokenizer()
    result = rl4lms.train(
        tiny_lm("gpt2", vocab_size=len(tokenizer)),
        tokenizer=tokenizer,
        data=reward.rows(chat=chat),
        reward=reward,
        algorithm="grpo",
        prompt={"max_tokens": 16},
        rollout={"completions_per_prompt": 4, "max_new_tokens": 5},
        optimizer={"learning_rate": 3e-3},
        training={"iterations": 12, "prompts_per_iteration": 8},
        kl={"kl_coef": 0.0},
        evaluation={"every": 0, "prompts": 8, "on_training_data": True},
        output_dir=str(tmp_path / "run"),
        progress=False,
    )
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    paid = [line["rollout/reward"] for line in lines if "rollout/reward" in line]
    assert paid[-1] > paid[0] + 0.05


class ToolTask(NumberTask):
    @classmethod
    def toolsets(cls, config: Any) -> list[Any]:
        return [object()]


class PreparedTask(NumberTask):
    async def setup(self, trace: Any, runtime: Any) -> None:
        raise AssertionError


class RuntimeTask(NumberTask):
    @vf.reward
    async def ran(self, trace: Any, runtime: Any) -> float:
        raise AssertionError


class FreeTask(vf.Task[NumberData]):
    pass


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ToolTask, "'ToolTask' has tools"),
        (PreparedTask, "'PreparedTask' has setup"),
        (RuntimeTask, "'RuntimeTask' has ran, which needs the runtime"),
        (FreeTask, "'FreeTask' has no reward"),
    ],
)
def test_what_a_text_alone_cannot_answer_is_refused(kind: type, message: str) -> None:
    class Others(vf.Taskset[kind, vf.TasksetConfig]):  # type: ignore[valid-type]
        def load(self) -> list[Any]:
            return [kind(NumberData(prompt="1", answer="2"))]

    with pytest.raises(ConfigError, match=message):
        TasksetReward(Others(vf.TasksetConfig()))


def test_an_endless_taskset_is_bounded_first() -> None:
    class Endless(Numbers):
        INFINITE = True

    with pytest.raises(ConfigError, match="never ends"):
        TasksetReward(Endless(vf.TasksetConfig()))
    assert len(TasksetReward(Endless(vf.TasksetConfig()).take(3)).rows()) == 3
