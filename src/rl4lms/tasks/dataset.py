"""What tasks on published data sets share: one sample per prompt with all its references, splits that share no
document, and the settings of the paper as defaults. Most have a mini edition beside the real data, which is generated
(`rl4lms.tasks.mini`).

Ramamurthy et al., ICLR 2023 (arXiv 2210.01241) counts the size of an iteration and of a minibatch in tokens, 64 of them
to a minibatch; here both are counted in completions of the longest length, rounded up.
"""

from __future__ import annotations

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from rl4lms.errors import ConfigError, DataError
from rl4lms.plugins.options import Option
from rl4lms.tasks.mini import Mini
from rl4lms.types import ClassifierSpec, ModelSpec, Sample, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Edition = Annotated[Literal["mini", "full"], Option("mini is written by a grammar, full is the real data")]
Preset = Literal["ppo", "nlpo", "supervised-ppo", "supervised-nlpo"]
Form = Literal["seq2seq", "causal", "chat"]

#: The models that a form is for.
_MODELS = {"seq2seq": "t5-base", "causal": "gpt2", "text": "gpt2", "chat": "Qwen/Qwen2.5-0.5B-Instruct"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One row of a data set.

    Attributes:
        document: what it was taken from. No document is in two splits, and no two that share a prompt are.
        prompt: the input, without instruction.
        same: what rows of one prompt have in common; None: the prompt itself.
        references: the gold texts of this row.
        meta: columns for rewards and metrics.
        turns: of a dialogue, the turns that are to be answered.
    """

    document: str
    prompt: str
    references: tuple[str, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[str, ...] = ()
    same: str | None = None

    @property
    def key(self) -> str:
        """What rows of one prompt have in common."""
        return self.prompt if self.same is None else self.same


@dataclass(frozen=True, kw_only=True, slots=True)
class Paper:
    """One released configuration of the paper.

    Attributes:
        n_steps: tokens that each of ten environments draws in an iteration.
        kl: `kl_coef` and `kl_target`.
        iterations, learning_rate, ent_coef: of the run.
        rollout: sampling settings beside the length.
        mask_update_every: NLPO's, in iterations.
    """

    n_steps: int
    learning_rate: float
    kl: tuple[float, float]
    iterations: int
    rollout: Mapping[str, Any] = field(default_factory=dict)
    ent_coef: float = 0.0
    mask_update_every: int = 20


@dataclass(kw_only=True, eq=False)
class DatasetTask(ABC):
    """Base of tasks on published data sets (`rl4lms.types.Task`).

    A task says `examples` and the settings below; `form` may have other values, and the default of `edition` is `mini`
    where there is one.

    Attributes:
        mini: the generated edition, None where there is none.
        published: rows of the splits as those who publish the data count them, as `examples` returns them.
        instruction: before each prompt.
        max_new_tokens: of the paper's rollouts and evaluations.
        prompt: length and side of truncation. What is cut is the input; instruction and line end stay.
        board: metrics of a leaderboard's table, under `task` and `naturalness`, those that matter most first; one
            that an edition does not measure is not shown.
        norms: by edition and version, of metrics of the board what the base model scores and what the references do, as
            `scripts/norms.py` measured them: 0 and 1 of an overall score. Those of earlier versions stay.
        generation: decoding of evaluations; None: as in rollouts.
        warm_start: the paper's supervised training.
        presets: those of the paper; where one is a copy of another, both are there.
        supervised_base: models of forms that need no warm start, as they are trained on the task already.
    """

    edition: Edition = "full"
    data_dir: Annotated[
        str | None, Option("folder with the files of the data set as they are distributed; null: from the Hub")
    ] = None
    preset: Annotated[
        Preset, Option("which settings of the paper are the defaults; supervised- begins with a warm start")
    ] = "ppo"
    form: Annotated[
        Form,
        Option("seq2seq: instruction and input; causal: a line end after them; chat: both as a message of the user"),
    ] = "seq2seq"
    seed: Annotated[int, Option("mini: the world that is generated", ge=0)] = 0

    mini: ClassVar[Mini | None] = None
    name: ClassVar[str]
    version: ClassVar[int] = 1
    published: ClassVar[Mapping[Split, int]] = {}
    instruction: ClassVar[str] = ""
    max_new_tokens: ClassVar[int]
    prompt: ClassVar[Mapping[str, Any]]
    reward: ClassVar[Mapping[str, Any]]
    metrics: ClassVar[Sequence[Mapping[str, Any]]]
    board: ClassVar[Mapping[str, Sequence[str]]] = {}
    norms: ClassVar[Mapping[tuple[str, int], Mapping[str, tuple[float, float]]]] = {}
    generation: ClassVar[Mapping[str, Any] | None] = None
    warm_start: ClassVar[Mapping[str, Any]]
    presets: ClassVar[Mapping[str, Paper]]
    supervised_base: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def check_options(cls, edition: str, data_dir: str | None, form: str, seed: int) -> None:
        """Refuse options that the edition would not read."""
        if edition == "mini" and cls.mini is None:
            raise ConfigError(f"edition: {cls.name} has real data only (edition: full)")
        if edition == "mini" and data_dir is not None:
            raise ConfigError("data_dir names real data, but edition is mini; add edition: full")
        if edition == "mini" and form != cls.form:
            raise ConfigError(f"form: {form} is for real data; the mini edition has {cls.form}; add edition: full")
        if edition == "full" and seed:
            raise ConfigError("seed chooses the world of the mini edition, and real data have none; add edition: mini")

    def __post_init__(self) -> None:
        check = type(self).check_options
        check(**{name: getattr(self, name) for name in inspect.signature(check).parameters})
        generated = self._generated
        self.models: Mapping[str, ModelSpec] = generated.models(self.seed) if generated else {}
        self.classifiers: Mapping[str, ClassifierSpec] = generated.classifiers(self.seed) if generated else {}
        self.defaults: Mapping[str, Any] = self._mini_defaults(generated) if generated else self._defaults()

    @property
    def _generated(self) -> Mini | None:
        return None if self.edition == "full" else self.mini

    @abstractmethod
    def examples(self, split: Split) -> Iterable[Example]:
        """Return the rows of a split as they are published, in the order of the file; test rows without references
        where these are hidden.

        Raises:
            DataError: the data cannot be read.
        """

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the prompts of a split, in the order of the data set, each once and with all of its references.

        Raises:
            DataError: the data cannot be read, or the references of the split are hidden: nothing can be scored.
        """
        samples = self._samples[split]
        if not all(sample.references for sample in samples):
            raise DataError(
                f"task {self.name!r}: the references of the {split} split are hidden by those who publish "
                f"{self.data_dir or 'the data set on the Hub'}, so nothing can be scored on it; evaluate on another "
                f"split (evaluation.split: validation), or name a folder that has them with task.data_dir"
            )
        return samples

    def supervised(self, split: Split) -> Sequence[Sample]:
        """Return one sample for each reference: the warm start learns all of them."""
        return [
            replace(sample, id=f"{sample.id}-{number}", references=(text,))
            for sample in self.samples(split)
            for number, text in enumerate(sample.references)
        ]

    def document_of(self, split: Split) -> dict[str, str]:
        """Return what each prompt was taken from, by its id; of a prompt that stands twice, the first time."""
        rows = zip(self._samples[split], merged(self._parts[split]), strict=True)
        return {sample.id: example.document for sample, example in rows}

    def documents(self, split: Split) -> set[str]:
        """Return what the rows of a split were taken from."""
        return {example.document for example in self._parts[split]}

    @cached_property
    def _parts(self) -> dict[Split, list[Example]]:
        generated = self._generated
        read = self.examples if generated is None else functools.partial(generated.rows, seed=self.seed)
        return disjoint({split: list(read(split)) for split in SPLITS})

    @cached_property
    def _samples(self) -> dict[Split, list[Sample]]:
        return {
            split: [self._sample(f"{split}-{number}", example) for number, example in enumerate(merged(part))]
            for split, part in self._parts.items()
        }

    def _sample(self, sample_id: str, example: Example) -> Sample:
        messages: tuple[dict[str, str], ...] = ()
        if self.form == "chat":
            turns = example.turns or (self.instruction + example.prompt,)
            # the last turn is the user's, and the one before it the assistant's
            roles = ["user" if (len(turns) - number) % 2 else "assistant" for number in range(len(turns))]
            messages = tuple({"role": role, "content": text} for role, text in zip(roles, turns, strict=True))
        return Sample(sample_id, example.prompt, example.references, example.meta, messages)

    def _mini_defaults(self, generated: Mini) -> dict[str, Any]:
        found = generated.defaults(self.preset.removeprefix("supervised-"), self.preset.startswith("supervised-"))
        return {"reward": dict(self.reward)} | found

    def _defaults(self) -> dict[str, Any]:
        paper = self.presets[self.preset]
        algorithm: dict[str, Any] = {
            "name": self.preset.removeprefix("supervised-"),
            "n_epochs": 5,
            "minibatch_size": math.ceil(64 / self.max_new_tokens),
            "gamma": 0.99,
            "gae_lambda": 0.95,
            "clip_range": 0.2,
            "vf_coef": 0.5,
            "ent_coef": paper.ent_coef,
        }
        if algorithm["name"] == "nlpo":
            algorithm |= {"mask_top_p": 0.9, "min_tokens_to_keep": 1, "mask_update_every": paper.mask_update_every}
        generation = None if self.generation is None else {"max_new_tokens": self.max_new_tokens, **self.generation}
        defaults: dict[str, Any] = {
            "model": {"path": _MODELS[self.form]},
            "prompt": self._prompt_defaults(),
            "reward": dict(self.reward),
            "algorithm": algorithm,
            "optimizer": {"learning_rate": paper.learning_rate, "weight_decay": 1e-6, "max_grad_norm": 0.5},
            "kl": dict(zip(("kl_coef", "kl_target"), paper.kl, strict=True)),
            "rollout": {"max_new_tokens": self.max_new_tokens, **paper.rollout},
            "training": {
                "iterations": paper.iterations,
                "prompts_per_iteration": math.ceil(10 * paper.n_steps / self.max_new_tokens),
            },
            "evaluation": {"metrics": [dict(metric) for metric in self.metrics], "generation": generation},
        }
        if self.preset.startswith("supervised-"):
            if self.form in self.supervised_base:
                defaults["model"] = {"path": self.supervised_base[self.form]}
            else:
                defaults["supervised"] = dict(self.warm_start)
        return defaults

    def _prompt_defaults(self) -> dict[str, Any]:
        if self.form == "chat":
            return dict(self.prompt)
        # a causal model would go on writing the input; the prompts of a dialogue end with a mark of their own
        suffix = "\n" if self.form == "causal" else ""
        return {**self.prompt, "prefix": self.instruction, "suffix": suffix}


def merged(examples: Iterable[Example]) -> list[Example]:
    """Return each prompt once, where it stands first and with the columns that it has there, with all its references in
    their order, none twice.
    """
    found: dict[str, list[Example]] = {}
    for example in examples:
        found.setdefault(example.key, []).append(example)
    return [
        replace(rows[0], references=tuple(dict.fromkeys(text for row in rows for text in row.references)))
        for rows in found.values()
    ]


def disjoint(splits: Mapping[Split, Sequence[Example]]) -> dict[Split, list[Example]]:
    """Return the splits without documents that a later one has, or shares a prompt with: test keeps all, train loses
    what is evaluated on.

    Args:
        splits: all of `SPLITS`.
    """
    kept: dict[Split, list[Example]] = {}
    documents: set[str] = set()
    prompts: set[str] = set()
    for split in reversed(SPLITS):
        rows = splits[split]
        lost = {row.document for row in rows if row.document in documents or row.key in prompts}
        kept[split] = [row for row in rows if row.document not in lost]
        documents |= {row.document for row in kept[split]}
        prompts |= {row.key for row in kept[split]}
    return kept
