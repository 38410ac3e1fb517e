"""The task `one_prompt`: the same prompt again and again. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from rl4lms.errors import DataError
from rl4lms.plugins.options import Option
from rl4lms.types import ClassifierSpec, ModelSpec, Sample, Split


@dataclass(kw_only=True, eq=False)
class OnePromptTask:
    """The same prompt many times, without references: for rewards that look at the completion alone."""

    name = "one_prompt"
    version = 1
    edition = "toy"
    models: ClassVar[Mapping[str, ModelSpec]] = {}
    classifiers: ClassVar[Mapping[str, ClassifierSpec]] = {}
    defaults: ClassVar[Mapping[str, Any]] = {}

    prompt: Annotated[str, Option("the text to continue, such as <|endoftext|>")]
    n_samples: Annotated[int, Option("how many times a split has it", ge=1, le=1_000_000)] = 100

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the prompt `n_samples` times."""
        return [Sample(f"{split}-{number}", self.prompt) for number in range(self.n_samples)]

    def supervised(self, split: Split) -> Sequence[Sample]:
        """Refuse a warm start.

        Raises:
            DataError: there are no texts to learn from.
        """
        raise DataError("task 'one_prompt' has no texts that a warm start could learn; leave `supervised` out")
