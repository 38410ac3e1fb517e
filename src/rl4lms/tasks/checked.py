"""A task of somebody's own, whose samples are looked at before anything else reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from rl4lms.data.conversations import prompt_given
from rl4lms.errors import DataError
from rl4lms.types import Sample, Split, Task


class CheckedTask:
    """A task with everything that it has, which refuses what is no sample.

    Args:
        task: any task.
        name: what it is called in a recipe.
    """

    def __init__(self, task: Task, name: str) -> None:
        self._task, self._name = task, name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") or attribute == "_task":  # copying and pickling ask before there is a task
            raise AttributeError(attribute)
        return getattr(self._task, attribute)

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the prompts of a split.

        Raises:
            DataError: they are no sequence, or one of them is no sample.
        """
        return _checked(self._task.samples(split), f"task {self._name!r}, samples({split!r})", False)

    def supervised(self, split: Split) -> Sequence[Sample]:
        """Return the texts of the warm start.

        Raises:
            DataError: as `samples`, or one has no target.
        """
        return _checked(self._task.supervised(split), f"task {self._name!r}, supervised({split!r})", True)


class _CheckedSamples(Sequence[Sample]):
    """Samples that are made when they are asked for, and checked then."""

    def __init__(self, samples: Sequence[Sample], where: str, target: bool, numbers: range) -> None:
        self._samples, self._where, self._target, self._numbers = samples, where, target, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return _CheckedSamples(self._samples, self._where, self._target, self._numbers[index])
        number = self._numbers[index]
        sample = self._samples[number]
        _check(sample, f"{self._where}[{number}]", self._target)
        return sample


def _checked(samples: Any, where: str, target: bool) -> Sequence[Sample]:
    sized = hasattr(samples, "__len__") and hasattr(samples, "__getitem__")
    if not sized or isinstance(samples, str | bytes | Mapping):
        raise DataError(f"{where}: should be a list of rl4lms.Sample, got {_kind(samples)}; return [{_EXAMPLE}, ...]")
    if target and not len(samples):
        raise DataError(f"{where}: there is nothing to learn from; return [{_EXAMPLE}, ...]")
    if not isinstance(samples, list | tuple):
        return _CheckedSamples(samples, where, target, range(len(samples)))
    for number, sample in enumerate(samples):
        _check(sample, f"{where}[{number}]", target)
    return samples


def _check(sample: Any, where: str, target: bool) -> None:
    if not isinstance(sample, Sample):
        raise DataError(f"{where}: should be an rl4lms.Sample, got {_kind(sample)}; write {_EXAMPLE}")
    for field in ("id", "prompt"):
        if not isinstance(getattr(sample, field), str):
            raise DataError(f"{where}: {field} should be text, got {_kind(getattr(sample, field))}; write {_EXAMPLE}")
    texts: Any = sample.references
    others = [text for text in texts if not isinstance(text, str)] if isinstance(texts, tuple) else []
    if others or not isinstance(texts, tuple):
        got = f"a tuple with {_kind(others[0])}" if others else _kind(texts)
        raise DataError(f"{where}: references should be a tuple of texts, got {got}; write {_EXAMPLE}")
    if not isinstance(sample.meta, Mapping) or not all(isinstance(key, str) for key in sample.meta):
        raise DataError(f"{where}: meta should be a mapping from names of columns, got {_kind(sample.meta)}")
    if not isinstance(sample.messages, tuple):
        raise DataError(f"{where}: messages should be a tuple of messages, got {_kind(sample.messages)}")
    if sample.messages:
        prompt_given(sample.messages, lambda: f"{where}: messages")
    if target and not texts:
        raise DataError(f"{where}: has no target for the warm start, which is the first reference; write {_EXAMPLE}")


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


_EXAMPLE = 'Sample(id="1", prompt="...", references=("...",))'
