"""The data that flows through the library, and the few protocols its parts agree on.

Shape letters: B completions (rows), P prompt tokens, T completion tokens, V vocabulary. This module imports no torch,
so that `import rl4lms` stays cheap; tensors appear in annotations only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from rl4lms.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt of a data set.

    Attributes:
        id: unique within its split.
        prompt: the input text; of a conversation what metrics and people read of it, its last message of the user.
        references: gold texts, possibly none.
        meta: every other column of the row; handed to rewards and metrics by name.
        messages: the conversation that is to be answered, each message with the texts `role` and `content`; () where
            the prompt is a plain text.
    """

    id: str
    prompt: str
    references: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        texts: Any = self.references
        if isinstance(texts, str):  # ("text") is no tuple, and its characters would be the references
            raise DataError(f"sample {self.id!r}: references are a tuple of texts, got one text; write (text,)")


class Pass(NamedTuple):
    """What one log-prob pass yields: float32 (B, T), zero on padding; None for what was not asked for.

    A named tuple, since wrappers for many processes look for the tensors of an output in tuples.

    Attributes:
        logprobs: of the completion tokens under the behaviour policy.
        full_logprobs: under the full softmax at temperature 1.
        kept_mass: probability of the token mask under the tempered full softmax. Without gradient.
        entropy: of the behaviour policy, nats.
        kl: of the policy from an anchor, over the vocabulary.
        values: the value function at the state before each token.
        loss: scalar, of the loss that was given.
    """

    logprobs: Tensor | None = None
    full_logprobs: Tensor | None = None
    kept_mass: Tensor | None = None
    entropy: Tensor | None = None
    kl: Tensor | None = None
    values: Tensor | None = None
    loss: Tensor | None = None


@dataclass(slots=True)
class Rollout:
    """Completions of one iteration. One row per completion; the rows of one prompt are consecutive and stay so.

    Attributes:
        samples: the sample of each row (B,), repeated `completions_per_prompt` times.
        prompt_ids, prompt_mask: (B, P) int64 and bool; padded on the left for decoder-only models, on the right for
            encoders.
        completion_ids, completion_mask: (B, T); mask is True on generated tokens, EOS included, and rows are padded on
            the right.
        prompts: (B,) what of each prompt the policy saw: the sample's own where nothing was cut, else what its ids say;
            without prefix and suffix.
        completions: (B,) decoded without special tokens.
        texts: (B,) prompt and completion as one text, decoded together, a configured prefix and suffix included.
        terminated: (B,) bool; True where the row ended with an EOS or a stop string, False where the token budget cut
            it.
        token_mask: (B, T, ceil(V/8)) uint8, the packed support of the behaviour policy, or None where it is the whole
            vocabulary.
        sampled: what the sampler says of its tokens, as a log-prob pass would; checked against one.
        conversations: (B,) the messages of each prompt as far as the policy saw them; () where a prompt is a text.
        group_size: completions per prompt; rows g * group_size to (g + 1) * group_size - 1 are those of one prompt.
    """

    samples: list[Sample]
    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    prompts: list[str]
    completions: list[str]
    texts: list[str]
    terminated: Tensor
    token_mask: Tensor | None = None
    sampled: Pass | None = None
    conversations: Sequence[tuple[Mapping[str, Any], ...]] = ()

    group_size: int = 1

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def sampled_logprobs(self) -> Tensor | None:
        """The sampler's log-probs (B, T) under the behaviour policy."""
        return None if self.sampled is None else self.sampled.logprobs

    def together(self, rows: Tensor) -> int:
        """Return `group_size` where rows (b,) hold all completions of their prompts, one after the other; else 1."""
        n = self.group_size
        groups = rows.view(-1, n) if len(rows) % n == 0 else rows[:0].view(-1, 1)
        whole = len(groups) and bool((groups == groups[:, :1] // n * n + groups.new_tensor([*range(n)])).all())
        return n if whole else 1

    def columns(self) -> dict[str, Any]:
        """Return what rewards and metrics are called with: `prompts` (what was seen of them), `full_prompts`,
        `completions`, `texts` (both as one), `references`, and `columns`, every other column by name.
        """
        names = sorted({name for sample in self.samples for name in sample.meta})
        return {
            "prompts": self.prompts,
            "full_prompts": [sample.prompt for sample in self.samples],
            "completions": self.completions,
            "texts": self.texts,
            "references": [sample.references for sample in self.samples],
            "columns": {name: [sample.meta.get(name) for sample in self.samples] for name in names},
        }


@dataclass(slots=True)
class Experience:
    """A rollout with everything the update needs. Tensors are float32 (B, T) unless said.

    Attributes:
        rollout: the completions.
        logprobs: log-probs of the sampled tokens under the behaviour policy (temperature, truncation and mask
            included).
        scores: the task's score, placed on tokens.
        row_mask: (B,) bool; False where the reward was None. Such rows enter no mean, whitening, baseline or loss.
        ref_logprobs: the reference policy's, full softmax at temperature 1; None for algorithms without a reference.
        kl: policy minus reference, both full softmax at temperature 1; not `logprobs - ref_logprobs` under truncation.
            None as well.
        rewards: what the algorithm makes of scores and KL; the scores until it has.
        values, returns: None for algorithms without a value function.
        advantages: None until the algorithm has set them.
    """

    rollout: Rollout
    logprobs: Tensor
    scores: Tensor
    row_mask: Tensor
    ref_logprobs: Tensor | None = None
    kl: Tensor | None = None
    rewards: Tensor = field(init=False)
    values: Tensor | None = None
    advantages: Tensor | None = None
    returns: Tensor | None = None

    def __post_init__(self) -> None:
        self.rewards = self.scores

    @property
    def mask(self) -> Tensor:
        """(B, T) bool: real completion tokens of rows that have a reward."""
        return self.rollout.completion_mask & self.row_mask[:, None]

    @property
    def sequence_scores(self) -> Tensor:
        """(B,): the score of each completion, a dense one summed up over its tokens."""
        return self.scores.sum(-1)


_PER_TOKEN = ("logprobs", "ref_logprobs", "kl", "scores", "rewards", "values", "advantages", "returns")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an iteration knows of N completion tokens, the real ones of some rows in order; float32 (N,) unless said.

    Attributes:
        logprobs: of the policy that sampled, the behaviour policy at the start of the update.
        ref_logprobs: the reference policy's, full softmax at temperature 1; None without a reference.
        kl: policy minus reference at the start of the update, both full softmax at temperature 1; None without a
            reference.
        scores, rewards: the task's score on its token, and the reward that the algorithm made of it.
        values, returns: None for algorithms without a value function.
        advantages: None before the algorithm has set them.
        row: int64 (N,), which of the `rows` sequences of this pass a token belongs to.
        rows: sequences of this pass.
        lengths: int64 (rows,), the tokens of each of them, those of other parts included.
        n_tokens, n_sequences: tokens and sequences of the whole minibatch, over all passes and processes. A loss is a
            sum divided by one of them, so that the losses of the passes add up to that of the minibatch.
    """

    logprobs: Tensor
    scores: Tensor
    rewards: Tensor
    row: Tensor
    rows: int
    lengths: Tensor
    n_tokens: int
    n_sequences: int
    ref_logprobs: Tensor | None = None
    kl: Tensor | None = None
    values: Tensor | None = None
    advantages: Tensor | None = None
    returns: Tensor | None = None

    @classmethod
    def of(cls, experience: Experience, rows: Tensor, minibatch: Tensor) -> Tokens:
        """Take the tokens of some rows (b,) of an experience that are part of a minibatch (m,) of rows."""
        mask = experience.mask[rows]
        columns = {name: getattr(experience, name) for name in _PER_TOKEN}
        taken: dict[str, Any] = {name: column[rows][mask] for name, column in columns.items() if column is not None}
        taken |= {"n_tokens": int(experience.mask[minibatch].sum()), "n_sequences": len(minibatch)}
        return cls(**taken, row=mask.nonzero()[:, 0], rows=len(rows), lengths=mask.sum(-1))

    def __len__(self) -> int:
        return len(self.logprobs)

    def part(self, piece: slice) -> Tokens:
        """Take some of the tokens."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in (*_PER_TOKEN, "row")}
        return replace(self, **{name: column[piece] for name, column in columns.items() if column is not None})

    def sum_by_sequence(self, values: Tensor) -> Tensor:
        """Add up values (N,) of tokens to one per sequence, (rows,)."""
        return values.new_zeros(self.rows).index_add(0, self.row, values)

    def mean_by_sequence(self, values: Tensor) -> Tensor:
        """Average values (N,) of tokens to one per sequence, (rows,); 0 for a sequence without tokens."""
        return self.sum_by_sequence(values) / self.sum_by_sequence(values.new_ones(len(values))).clamp(min=1)


class Reward(Protocol):
    """Anything callable by keyword on a batch; see `rl4lms.rewards.score` for what is passed and may come back.

    Beside the arguments below and the columns there are `full_prompts`, and, where ids are known, `texts` (prompt and
    completion as one) and `prompt_ids`.
    """

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
    """A batched function from texts to numbers. It may also take `full_prompts`, and `texts` where they are known, as
    rewards may.

    It returns a mapping from key to either one value per sample (a sequence of length B; None where a sample has no
    such value), or the value of the whole set: a `CorpusValue`, or a bare float where nothing is said about its error.
    A sample's value depends on nothing but that sample. Optional attributes:

    * `higher_is_better`: one bool, or a mapping from key; a key without one is better in neither direction.
    * `signature`: implementation, version and options, one text or a mapping from key; stored with every result.
    * `reward_key`: which of several keys a reward takes where none is named; `as_reward(key, value) -> float` brings it
      to the scale of rewards (without it values are taken as they are, and with a minus sign where lower is better).
    * `needs_references`: True if it cannot say anything about a row without references; it is then not given such rows,
      and they have no value.
    * `needs_prompts`: True if it compares with the prompt (a source), so that a call or a file without any is refused.
    * `needs_policy`: True if it must be called with `nll_of_texts=`, see `rl4lms.evaluation.evaluator`.
    * `corpus`: names the texts that statistics such as document frequencies are taken from, a split of the task or a
      file; None where there are none. Such a metric is given them by `fit(references, name)`, with one tuple of texts
      per sample, before it is called.
    """

    def __call__(
        self,
        *,
        prompts: list[str],
        completions: list[str],
        references: list[tuple[str, ...]],
        **columns: list[Any],
    ) -> Mapping[str, Sequence[float | None] | CorpusValue | float]: ...


class NllOfTexts(Protocol):
    """Negative log-likelihood of texts under some LM: returns, per row, the summed nats and the number of tokens."""

    def __call__(self, prompts: list[str], texts: list[str]) -> tuple[list[float], list[int]]: ...


@dataclass(frozen=True, slots=True)
class Sums:
    """What a value of a whole set is computed from, where that is a sum over its texts: two systems can be compared.

    Attributes:
        rows: (B, S) array, statistics of each text.
        value: from sums (R, S) to values (R,), NaN for sums that have none.
    """

    rows: Any
    value: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class CorpusValue:
    """What a metric says about a whole set of texts, where that is no mean over them.

    Attributes:
        value: the number.
        stderr: its standard error, by the bootstrap over texts for example.
        n: the rows it is about; None: all that the metric was given.
        sums: what it is computed from, where the metric says; see `rl4lms.metrics.sums.corpus_value`.
    """

    value: float
    stderr: float | None = None
    n: int | None = None
    sums: Sums | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One number of an evaluation.

    Attributes:
        key: its name in logs, without the `eval/` prefix.
        mean: mean over samples, or the corpus value.
        stderr: standard error over samples, or what the metric says about its corpus value; None where it is not known.
        n: number of samples that have a value.
        values: per-sample values, NaN where a sample has none; None for a corpus value.
        higher_is_better: None where neither direction is better.
        signature: implementation, version and options of the metric; empty where it does not say.
        sums: what a corpus value is computed from, where the metric says.
    """

    key: str
    mean: float
    stderr: float | None
    n: int
    values: tuple[float, ...] | None = None
    higher_is_better: bool | None = None
    signature: str = ""
    sums: Sums | None = field(default=None, compare=False, repr=False)

    def summary(self) -> dict[str, Any]:
        """Return what result files hold: mean, stderr, n and, where there is one, the signature."""
        numbers: dict[str, Any] = {"mean": self.mean, "stderr": self.stderr, "n": self.n}
        return numbers | ({"signature": self.signature} if self.signature else {})


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A small language model that a task needs and `rl4lms.supervised.assets` builds and caches.

    Attributes:
        name: what a recipe calls it (`asset:<name>`).
        architecture: `gpt2` or `t5`.
        shape: `hidden_size`, `layers`, `heads`, `max_positions`; of a T5 `t5_embeddings`, 1 for T5's own ones (standard
            deviation 1, the head scaled down), with which it soon copies words of its prompt.
        data: lazy target `module:function`; called with `data_options`, returns a list of (prompt, completion) string
            pairs.
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
        """Sample for the warm start; `references[0]` is the target text."""
        ...
