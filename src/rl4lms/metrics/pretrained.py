"""What the metrics that run a pretrained model share: getting it, and remembering what it said about texts that come
back.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from rl4lms.errors import MissingPartError, UnreachableModelError
from rl4lms.metrics.runner import ModelRunner, RunnerOptions

Value = TypeVar("Value")


def load_runner(
    metric: str, auto_class: Any, model: str, what: str, options: RunnerOptions, **others: Any
) -> ModelRunner:
    """Return a `ModelRunner` with these options.

    Args:
        metric: what needs the model, for messages.
        auto_class, model, what, options, others: of `ModelRunner`.

    Raises:
        MissingPartError: the model is one of the Hub, and the Hub cannot be reached, so that tables show the metric as
            absent.
        ModelError: it is there and cannot be used; or there is no such folder, or no such model on the Hub: a mistake
            in the recipe.
    """
    try:
        return ModelRunner(auto_class, model, what, options, **others)
    except UnreachableModelError as error:
        raise MissingPartError(
            f"the {what} {model!r}, which {metric} needs,", f"{error.remedy}; or leave the metric out"
        ) from error


class Memory(Generic[Value]):
    """The values last used, up to a total size; what was used longest ago goes first. Several threads may use one
    memory.

    Args:
        limit: of the total, in the unit of `size`.
        size: of one value; without it values are counted.
    """

    def __init__(self, limit: int, size: Callable[[Value], int] = lambda value: 1) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._total = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Return the value, or None where it is not remembered."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: Value) -> None:
        """Remembers a value in place of older ones; one that is larger than everything is not remembered."""
        size = self._size(value)
        with self._lock:
            if key in self._values:
                self._total -= self._size(self._values.pop(key))
            if size > self._limit:
                return
            self._values[key] = value
            self._total += size
            while self._total > self._limit:
                self._total -= self._size(self._values.popitem(last=False)[1])
