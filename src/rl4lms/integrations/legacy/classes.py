"""Bases for code that was written for the original: what inherits from them is a reward, a metric or a task here.

Only the import changes. A recipe names a `RewardFunction`, `BatchedRewardFunction` or `BaseMetric` as any class in a
file, `path/to/file.py:Class`, with the arguments of the constructor as options; of a `TextGenPool` what `task` makes of
it.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from rl4lms.errors import DataError, RewardError
from rl4lms.plugins.options import Option
from rl4lms.types import CorpusValue, Split
from rl4lms.types import Sample as Row

if TYPE_CHECKING:
    from rl4lms.rewards.call import RewardOutput
    from rl4lms.rollout.texts import Decoder


class Observation:
    """A prompt and what was generated so far.

    Tensors have one row and no padding; the original's were padded to fixed lengths. There is no `action_history`.

    Attributes:
        prompt_or_input_text: the prompt, uncut.
        target_or_reference_texts: its references.
        meta_info: every other column of the data.
        prompt_ids, context_ids: token ids of the prompt as far as the policy saw it, and of what was generated.
    """

    def __init__(
        self, prompt: str, references: list[str], meta: dict[str, Any], ids: tuple[list[int], list[int]], text: Any
    ) -> None:
        self.prompt_or_input_text, self.target_or_reference_texts, self.meta_info = prompt, references, meta
        self.prompt_ids, self.context_ids = ids
        self._text = text

    @cached_property
    def context_text(self) -> str:
        """What was generated so far, as text.

        Raises:
            RewardError: the text is unfinished, and there is no tokenizer to decode it with.
        """
        text: str = self._text() if callable(self._text) else self._text
        return text

    @property
    def prompt_or_input_encoded_pt(self) -> Any:
        """The prompt's ids, (1, P)."""
        return _tensor(self.prompt_ids)

    @property
    def context_encoded_pt(self) -> Any:
        """The generated ids, (1, T)."""
        return _tensor(self.context_ids)

    @property
    def input_encoded_pt(self) -> Any:
        """Both, (1, P + T)."""
        return _tensor([*self.prompt_ids, *self.context_ids])

    @property
    def prompt_or_input_attention_mask_pt(self) -> Any:
        """Ones, (1, P)."""
        return _tensor([1] * len(self.prompt_ids))

    @property
    def context_attention_mask_pt(self) -> Any:
        """Ones, (1, T)."""
        return _tensor([1] * len(self.context_ids))

    @property
    def input_attention_mask_pt(self) -> Any:
        """Ones, (1, P + T)."""
        return _tensor([1] * (len(self.prompt_ids) + len(self.context_ids)))


class RewardFunction(ABC):
    """Base of rewards that are called at every token.

    What a call returns is the score of its token: a reward that is 0 until `done` is one per completion.
    """

    _decode: Decoder | None = None

    @abstractmethod
    def __call__(
        self,
        current_observation: Observation,
        action: int,
        next_observation: Observation,
        done: bool,
        meta_info: dict[str, Any] | None = None,
    ) -> float:
        """Return the score of one token, `action`; `done` at the last one."""

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`."""
        return _scored(self, self._scores, batch)

    def use_tokenizer(self, decode: Decoder) -> None:
        """How token ids become texts; a run gives the policy's own tokenizer."""
        self._decode = decode

    def _scores(
        self,
        full_prompts: Sequence[str],
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        references: Sequence[Sequence[str]],
        **columns: Any,
    ) -> list[list[float]]:
        metas = _metas(columns, len(completions))
        prompt_ids = columns.get("prompt_ids") or [[] for _ in completions]
        rows = zip(full_prompts, completions, completion_ids, references, prompt_ids, metas, strict=True)
        return [self._row(*row) for row in rows]

    def _row(
        self, prompt: str, text: str, ids: Sequence[int], references: Sequence[str], before: Any, meta: dict[str, Any]
    ) -> list[float]:
        def seen(count: int) -> Observation:
            so_far: Any = text if count == len(ids) else (lambda: self._text(list(ids[:count])))
            return Observation(prompt, list(references), meta, (list(before), list(ids[:count])), so_far)

        found, current = [], seen(0)
        for place, action in enumerate(ids):
            following = seen(place + 1)
            found.append(self(current, int(action), following, place + 1 == len(ids), meta))
            current = following
        return found

    def _text(self, ids: list[int]) -> str:
        if not ids:
            return ""
        if self._decode is None:
            raise RewardError(
                f"reward {type(self).__name__!r} reads an unfinished text and has no tokenizer to decode it with; a "
                "run gives it one, elsewhere call use_tokenizer"
            )
        return self._decode([ids])[0]


class BatchedRewardFunction(ABC):
    """Base of rewards that are called once with whole completions: every entry of `dones` is True."""

    @abstractmethod
    def __call__(
        self,
        prompt_texts: list[str],
        gen_texts: list[str],
        ref_texts: list[list[str]],
        dones: list[bool],
        meta_infos: list[dict[str, Any]] | None = None,
    ) -> list[float]:
        """Return one score per completion."""

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`."""
        return _scored(self, self._scores, batch)

    def _scores(
        self,
        full_prompts: Sequence[str],
        completions: Sequence[str],
        references: Sequence[Sequence[str]],
        **columns: Any,
    ) -> Any:
        texts, dones = [list(row) for row in references], [True] * len(completions)
        return self(list(full_prompts), list(completions), texts, dones, _metas(columns, len(completions)))


def _scored(reward: Any, method: Callable[..., Any], batch: Mapping[str, Any]) -> RewardOutput:
    from rl4lms.rewards import score  # torch, which a conversion does not need

    return score(_Named(type(reward).__name__, method), **batch)


class _Named:
    """A method under the name that messages have for its object."""

    def __init__(self, name: str, method: Callable[..., Any]) -> None:
        self.__name__, self._method = name, method

    def __call__(
        self,
        full_prompts: Sequence[str],
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        references: Sequence[Sequence[str]],
        **columns: Any,
    ) -> Any:
        batch = {"full_prompts": full_prompts, "completions": completions, "completion_ids": completion_ids}
        return self._method(**batch, references=references, **columns)


class BaseMetric(ABC):
    """Base of metrics: `compute` returns by key the values of single texts, or None, and that of all of them.

    Where the value of all texts is not the mean of the single ones, these are reported as `sentence_<key>`. `model` and
    `split_name` are None: a metric that needs the policy is `rl4lms.types.Metric` with `needs_policy`.
    """

    @abstractmethod
    def compute(
        self,
        prompt_texts: list[str],
        generated_texts: list[str],
        reference_texts: list[list[str]],
        meta_infos: list[dict[str, Any]] | None = None,
        model: Any = None,
        split_name: str | None = None,
    ) -> dict[str, tuple[list[float] | None, float]]:
        """Return the values."""

    def __call__(
        self,
        full_prompts: Sequence[str],
        completions: Sequence[str],
        references: Sequence[Sequence[str]],
        **columns: Any,
    ) -> dict[str, Any]:
        """Call `compute` with what metrics are given here.

        Raises:
            DataError: it returned something else than pairs.
        """
        texts, metas = [list(row) for row in references], _metas(columns, len(completions))
        returned = self.compute(list(full_prompts), list(completions), texts, metas, None, None)
        if not isinstance(returned, Mapping):
            raise DataError(f"metric {type(self).__name__!r}: compute returned {type(returned).__name__}, not a dict")
        found: dict[str, Any] = {}
        for key, pair in returned.items():
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise DataError(
                    f"metric {type(self).__name__!r}: compute returned {pair!r:.60} as {key!r}; expected the values of "
                    "single texts, or None, and the value of all: (values, value)"
                )
            single, whole = None if pair[0] is None else [float(value) for value in pair[0]], float(pair[1])
            if single and math.isclose(sum(single) / len(single), whole, rel_tol=1e-6, abs_tol=1e-9):
                found[key] = single  # has a standard error
            else:
                found |= {key: CorpusValue(whole)} | ({} if single is None else {f"sentence_{key}": single})
        return found


@dataclass
class Sample:
    """One row of a `TextGenPool`."""

    id: Any
    prompt_or_input_text: str
    references: list[str] | None
    meta_data: dict[str, Any] | None = None


class TextGenPool:
    """Base of data pools. A recipe names what `task` makes of one."""

    def __init__(
        self, samples: Annotated[list[Any], Option("a pool is no task: write `name = task(Pool)`, and name that")]
    ) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, ix: int) -> tuple[Sample, float]:
        return self._samples[ix], 1.0

    @classmethod
    def prepare(cls, split: str, **args: Any) -> TextGenPool:
        """Return the pool of a split: `train`, `val` or `test`."""
        raise NotImplementedError(f"{cls.__name__} has no method prepare(split, ...)")


class PoolTask:
    """A pool as a task (`rl4lms.types.Task`). Its options are the arguments of `prepare` but `split`."""

    pool: ClassVar[type[TextGenPool]]
    name: ClassVar[str]
    version = 1
    edition = "pool"
    models: ClassVar[Mapping[str, Any]] = {}
    classifiers: ClassVar[Mapping[str, Any]] = {}
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, **args: Any) -> None:
        self._args = args
        self._samples: dict[str, list[Row]] = {}

    def samples(self, split: Split) -> Sequence[Row]:
        """Return the samples of a split.

        Raises:
            DataError: two have the same id, or a weight is not 1.
        """
        if split not in self._samples:
            pool = self.pool.prepare(split="val" if split == "validation" else split, **self._args)
            rows = [self._row(pool[number], split, number) for number in range(len(pool))]
            ids = [row.id for row in rows]
            if len(set(ids)) < len(ids):
                twice = next(name for name in ids if ids.count(name) > 1)
                raise DataError(f"pool {self.name}, {split}: two samples have the id {twice!r}; ids tell them apart")
            self._samples[split] = rows
        return self._samples[split]

    def supervised(self, split: Split) -> Sequence[Row]:
        """Return the samples that have a reference: the warm start learns the first one."""
        return [row for row in self.samples(split) if row.references]

    def _row(self, item: Any, split: str, number: int) -> Row:
        sample, weight = item if isinstance(item, tuple) else (item, 1.0)
        if weight != 1:
            raise DataError(
                f"pool {self.name}, {split}[{number}]: the weight is {weight}; all prompts count alike: 1.0"
            )
        return Row(
            str(sample.id), sample.prompt_or_input_text, tuple(sample.references or ()), dict(sample.meta_data or {})
        )


def task(pool: type[TextGenPool]) -> type[PoolTask]:
    """Make a task class of a pool, at the top of the file that has the pool.

    A recipe names it, `path/to/file.py:my_task` after `my_task = task(MyPool)`.
    """
    try:
        signature = inspect.signature(pool.prepare, eval_str=True)
    except NameError:  # an annotation that only type checkers know
        signature = inspect.signature(pool.prepare)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    options = [p.replace(kind=p.KEYWORD_ONLY) for p in signature.parameters.values() if p.kind in named]
    options = [parameter for parameter in options if parameter.name != "split"]
    own = {"pool": pool, "name": pool.__name__, "__signature__": inspect.Signature(options), "__doc__": pool.__doc__}
    return type(pool.__name__, (PoolTask,), {**own, "__module__": pool.__module__})


def _metas(columns: Mapping[str, Any], n: int) -> list[dict[str, Any]]:
    """Return the columns of the data as one mapping for each row."""
    own = {name: values for name, values in columns.items() if name not in _GIVEN}
    return [{name: values[row] for name, values in own.items()} for row in range(n)]


# What rewards and metrics are given beside the columns of the data.
_GIVEN = ("prompts", "prompt_ids", "texts", "completion_ids", "trainer_state", "log_extra", "log_metric")


def _tensor(ids: Sequence[int]) -> Any:
    import torch

    return torch.tensor([list(ids)])
