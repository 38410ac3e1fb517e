"""Tasks of this library as a taskset of verifiers (0.4, `verifiers.v1`), and its tasksets as data and reward here.

verifiers finds a taskset by the name of a module that exports one, so a file of two lines makes it one to name
(`--env.taskset.id my_tasks`):

    from rl4lms.integrations.verifiers import Prompts
    __all__ = ["Prompts"]
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from rl4lms.config import recipe_from_dict
from rl4lms.errors import ConfigError, DataError, MissingPartError, RewardError
from rl4lms.evaluation.build import reward_of
from rl4lms.plugins.packages import import_optional
from rl4lms.rewards import score
from rl4lms.supervised.assets import with_assets
from rl4lms.tasks import samples_of, task_of
from rl4lms.types import Reward

_ABSENT = MissingPartError("the package verifiers", "run: pip install 'verifiers>=0.4'")
vf: Any = import_optional("verifiers.v1", _ABSENT)
state_cls: Any = import_optional("verifiers.v1.state", _ABSENT).state_cls


class RewardConfig(vf.TaskConfig):
    """The reward of completions.

    Attributes:
        reward: as in a recipe, a name or a mapping in JSON; "" takes that of the task.
    """

    reward: str = ""


class PromptsConfig(vf.TasksetConfig):
    """Which prompts.

    Attributes:
        task_name: a task of this library, or `file.py:Class`.
        edition, split: of the task.
        settings: of a recipe, such as `task.data_dir=DIR`.
    """

    task: RewardConfig = RewardConfig()
    task_name: str = "commongen"
    edition: Literal["mini", "full"] = "mini"
    split: Literal["train", "validation", "test"] = "train"
    settings: list[str] = []


class PromptData(vf.TaskData):
    """One prompt; what its reward reads goes with it, so that traces can be scored again elsewhere."""

    references: list[str] = []
    columns: dict[str, Any] = {}
    messages: list[dict[str, Any]] = []
    recipe: str = ""


class Prompt(vf.Task[PromptData, vf.State, RewardConfig]):
    """One prompt, one completion, one reward. No tools, and nothing that needs a container."""

    @vf.reward  # type: ignore[untyped-decorator]
    async def reward(self, trace: Any) -> float:
        """Score the last reply.

        Raises:
            RewardError: the reward gives it no value: verifiers has no rows to leave out, and records an error.
        """
        return await asyncio.to_thread(self._score, trace.last_reply)

    def _score(self, completion: str) -> float:
        data = self.data
        prompt = data.prompt if isinstance(data.prompt, str) else data.messages[-1]["content"]
        (total,) = score(
            _reward(data.recipe, self.config.reward),
            prompts=[prompt],
            completions=[completion],
            completion_ids=[[]],
            references=[tuple(data.references)],
            columns={name: [value] for name, value in data.columns.items()},
            conversations=[tuple(data.messages)] if data.messages else None,
            training=False,
        ).totals()
        if total is None:
            raise RewardError(f"the reward leaves the prompt {data.id!r} out, and verifiers needs a number for each")
        return total


class Prompts(vf.Taskset[Prompt, PromptsConfig]):
    """The prompts of a split of a task."""

    def load(self) -> Iterator[Prompt]:
        """Yield the prompts, with the ids that they have here.

        Raises:
            ConfigError: the task, a setting or the reward is wrong.
            DataError: the data cannot be read.
        """
        c = self.config
        blocks = {"task": {"name": c.task_name, "edition": c.edition}}
        written = json.dumps([blocks, list(c.settings)])
        _reward(written, c.task.reward)  # a mistake in it shows before anything is generated
        recipe = recipe_from_dict(blocks, "the taskset", c.settings)
        prefix, suffix = recipe.prompt.prefix, recipe.prompt.suffix
        for sample in samples_of(task_of(recipe), c.split):
            messages = [dict(message) for message in sample.messages]
            data = PromptData(
                id=sample.id,
                prompt=messages or f"{prefix}{sample.prompt}{suffix}",
                references=list(sample.references),
                columns=dict(sample.meta),
                messages=messages,
                recipe=written,
            )
            yield Prompt(data, c.task)


@functools.cache
def _reward(recipe: str, reward: str) -> Reward:
    """Return the reward of a recipe, or the one that is named instead, once for all prompts."""
    blocks, settings = json.loads(recipe)
    if reward:
        blocks["reward"] = json.loads(reward) if reward.startswith(("{", "[")) else reward
    read = recipe_from_dict(blocks, "the taskset", settings)
    task = task_of(read)
    built = reward_of(with_assets(read, task), task)
    if built is None:
        raise ConfigError("the taskset has no reward: its task names none; set task.reward")
    return built


class TasksetReward:
    """The rewards of a taskset of verifiers, for prompts that `rows` made of it.

    Only tasks of one answer can be scored from their text: those with tools, with a `setup` or `finalize`, or with
    rewards that look into a runtime are refused.

    Args:
        taskset: any of verifiers.

    Raises:
        ConfigError: a task needs more than a text.
    """

    def __init__(self, taskset: Any) -> None:
        if not taskset.bounded:
            raise ConfigError(f"{type(taskset).__name__} never ends; bound it first: taskset.take(1000)")
        self._tasks = {task.data.idx: task for task in taskset}
        shared = type(taskset).toolsets(taskset.config)
        for task in self._tasks.values():
            _check(task, shared)
        self.__name__ = type(taskset).__name__

    def rows(self, *, chat: bool = True) -> list[dict[str, Any]]:
        """Return the prompts as rows for `data`, with the column `verifiers_idx` that says which one each is.

        Args:
            chat: prompts are conversations, as verifiers has them; False: texts, for models without a chat template.

        Raises:
            DataError: a task has no prompt, or is no text where `chat` is False.
        """
        return [
            {"id": str(idx), "prompt": _prompt_of(task, chat), "verifiers_idx": idx}
            for idx, task in self._tasks.items()
        ]

    async def __call__(self, completions: Sequence[Any], verifiers_idx: Sequence[int], **columns: Any) -> list[float]:
        """Score completions, texts or TRL's messages.

        Raises:
            DataError: no such prompt.
        """
        return list(await asyncio.gather(*(self._one(*row) for row in zip(completions, verifiers_idx, strict=True))))

    async def _one(self, completion: Any, idx: int) -> float:
        if idx not in self._tasks:
            raise DataError(f"reward {self.__name__!r}: the taskset has no prompt {idx!r}; make the data with rows()")
        task = self._tasks[idx]
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        trace = vf.Trace(
            task=vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
            state=state_cls(type(task))(),
            agent=vf.AgentInfo(config=vf.AgentConfig()),
        )
        for message in _messages_of(task):
            _append(trace, message, sampled=False)
        _append(trace, {"role": "assistant", "content": text}, sampled=True)
        trace.stop("agent_completed")  # as a rollout that ended by itself
        await task.score(trace, None)
        return float(trace.reward)


def _check(task: Any, shared: Sequence[Any]) -> None:
    kind = type(task)
    signals = [*task.hooks("reward"), *(judge.score for judge in task.plugged_judges())]
    wanting = [fn.__name__ for fn in signals if _needs_runtime(fn)]
    prepared = [name for name in ("setup", "finalize") if getattr(kind, name) is not getattr(vf.Task, name)]
    why = ""
    if shared or kind.toolsets(task.config):
        why = "has tools, and an answer here is one text"
    elif prepared:
        why = f"has {' and '.join(prepared)}, which need the runtime of a rollout"
    elif wanting:
        why = f"has {', '.join(wanting)}, which needs the runtime of a rollout"
    elif not signals:
        why = "has no reward"
    if why:
        raise ConfigError(f"verifiers task {kind.__name__!r} {why}")


def _needs_runtime(function: Any) -> bool:
    parameter = inspect.signature(function).parameters.get("runtime")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _messages_of(task: Any) -> list[dict[str, Any]]:
    data = task.data
    if data.prompt is None:
        raise DataError(f"verifiers task {data.idx}: has no prompt, as its user begins; an answer here is to a prompt")
    said = [{"role": "user", "content": data.prompt}] if isinstance(data.prompt, str) else []
    said = said or [message.model_dump(mode="json", exclude_none=True) for message in data.prompt]
    before = [] if data.system_prompt is None else [{"role": "system", "content": data.system_prompt}]
    return [*before, *said]


def _prompt_of(task: Any, chat: bool) -> Any:
    messages = _messages_of(task)
    if not all(isinstance(message.get("content"), str) for message in messages):
        raise DataError(f"verifiers task {task.data.idx}: its prompt is not text alone")
    if chat:
        return messages
    if len(messages) > 1:
        raise DataError(f"verifiers task {task.data.idx}: its prompt has several messages; use a chat model")
    return messages[0]["content"]


def _append(trace: Any, message: dict[str, Any], *, sampled: bool) -> None:
    parent = len(trace.nodes) - 1 if trace.nodes else None
    trace.nodes.append(vf.MessageNode(parent=parent, message=message, sampled=sampled))
