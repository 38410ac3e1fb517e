"""The data that flows through the library, and the few protocols its parts agree on.

Shape letters: B completions (rows), P prompt tokens, T completion tokens, V vocabulary. This module imports no torch, so that
`import rl4lms` stays cheap; tensors appear in annotations only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt of a data set.

    Attributes:
        id: unique within its split.
        prompt: the input text.
        references: gold texts, possibly none.
        meta: every other column of the row; handed to rewards and metrics by name.
    """

    id: str
    prompt: str
    references: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Rollout:
    """Completions of one iteration. One row per completion; the rows of one prompt are consecutive and stay so.

    Attributes:
        samples: the sample of each row (B,), repeated `completions_per_prompt` times.
        prompt_ids, prompt_mask: (B, P) int64 and bool; padded on the left for decoder-only models, on the right for encoders.
        completion_ids, completion_mask: (B, T); mask is True on generated tokens, EOS included, and rows are padded on the right.
        texts: decoded completions without special tokens.
        terminated: (B,) bool; True where the row ended with an EOS, False where the token budget cut it.
        token_mask: (B, T, ceil(V/8)) uint8, the packed support of the behaviour policy, or None where it is the whole vocabulary.
        sampled_logprobs: (B, T) the sampler's own log-probs; checked against the log-prob pass, never used in the ratio.
    """

    samples: list[Sample]
    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    texts: list[str]
    terminated: Tensor
    token_mask: Tensor | None = None
    sampled_logprobs: Tensor | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def columns(self) -> dict[str, Any]:
        """What rewards and metrics are called with: `prompts`, `completions`, `references`, and `columns`, every other column by name."""
        names = sorted({name for sample in self.samples for name in sample.meta})
        return {
            "prompts": [sample.prompt for sample in self.samples],
            "completions": self.texts,
            "references": [sample.references for sample in self.samples],
            "columns": {name: [sample.meta.get(name) for sample in self.samples] for name in names},
        }


@dataclass(slots=True)
class Experience:
    """A rollout with everything the update needs. Tensors are float32 (B, T) unless said.

    Attributes:
        rollout: the completions.
        logprobs: log-probs of the sampled tokens under the behaviour policy (temperature, truncation and mask included).
        ref_logprobs: the reference policy's, full softmax at temperature 1.
        kl: policy minus reference, both full softmax at temperature 1; not `logprobs - ref_logprobs` under truncation.
        scores: the task's score, placed on tokens.
        rewards: scores - kl_coef * kl.
        row_mask: (B,) bool; False where the reward was None. Such rows enter no mean, whitening, baseline or loss.
        values, advantages, returns: None for algorithms that do not use them.
    """

    rollout: Rollout
    logprobs: Tensor
    ref_logprobs: Tensor
    kl: Tensor
    scores: Tensor
    rewards: Tensor
    row_mask: Tensor
    values: Tensor | None = None
    advantages: Tensor | None = None
    returns: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """(B, T) bool: real completion tokens of rows that have a reward."""
        return self.rollout.completion_mask & self.row_mask[:, None]


class Reward(Protocol):
    """Anything callable by keyword on a batch; see `rl4lms.rewards` for what is passed and what may come back."""

    def __call__(
        self,
        *,
        prompts: list[str],
        completions: list[str],
        completion_ids: list[list[int]],
        references: list[tuple[str, ...]],
        **columns: list[Any],
    ) -> Sequence[float | None] | Sequence[Sequence[float]]: ...


class Metric(Protocol):
    """A batched function from texts to numbers.

    It returns a mapping from key to either one value per sample (a sequence of length B) or a bare float, the value of the whole
    set (a corpus metric). Optional attributes: `higher_is_better` (mapping key -> bool, or one bool), `needs_policy` (True if it must
    be called with `score_texts=`, see `rl4lms.evaluation`).
    """

    def __call__(
        self,
        *,
        prompts: list[str],
        completions: list[str],
        references: list[tuple[str, ...]],
        **columns: list[Any],
    ) -> Mapping[str, Sequence[float] | float]: ...


class ScoreTexts(Protocol):
    """Negative log-likelihood of texts under some LM: returns, per row, the summed nats and the number of tokens."""

    def __call__(self, prompts: list[str], texts: list[str]) -> tuple[list[float], list[int]]: ...


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One number of an evaluation.

    Attributes:
        key: its name in logs, without the `eval/` prefix.
        mean: mean over samples, or the corpus value.
        stderr: standard error over samples, None for a corpus value.
        n: number of samples.
        values: per-sample values, None for a corpus value.
        higher_is_better: None where neither direction is better.
    """

    key: str
    mean: float
    stderr: float | None
    n: int
    values: tuple[float, ...] | None = None
    higher_is_better: bool | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A small language model that a task needs and `rl4lms.training.assets` builds and caches.

    Attributes:
        name: what a recipe calls it (`asset:<name>`).
        architecture: `gpt2` or `t5`.
        shape: `hidden_size`, `layers`, `heads`, `max_positions`.
        data: lazy target `module:function`; called with `data_options`, returns a list of (prompt, completion) string pairs.
        data_options: keyword arguments of `data`.
        vocabulary: lazy target of a function without arguments that returns the word list of a word-level tokenizer.
        steps, batch_size, learning_rate, seed: the training.
    """

    name: str
    architecture: Literal["gpt2", "t5"]
    shape: Mapping[str, int]
    data: str
    vocabulary: str
    data_options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ClassifierSpec:
    """A small sequence classifier that a task needs. Fields as in `ModelSpec`; `data` returns (text, label) pairs."""

    name: str
    shape: Mapping[str, int]
    data: str
    vocabulary: str
    labels: tuple[str, ...]
    data_options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 400
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


class Task(Protocol):
    """One benchmark task. It declares; it trains nothing and imports no model.

    Attributes:
        name, version, edition: named in every result.
        models, classifiers: what `asset:<name>` in a recipe refers to.
        defaults: a recipe fragment (nested dict) that explicit settings override.
    """

    name: str
    version: int
    edition: str
    models: Mapping[str, ModelSpec]
    classifiers: Mapping[str, ClassifierSpec]
    defaults: Mapping[str, Any]

    def samples(self, split: Split) -> Sequence[Sample]:
        """Prompts of a split, in a fixed order."""
        ...

    def supervised(self, split: Split) -> Sequence[Sample]:
        """Samples for the warm start; `references[0]` is the target text."""
        ...
