"""The tasks `multi30k`, `iwslt2017` and `wmt16`: translate a sentence from English into German. See README.md beside
this file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Literal

from rl4lms.errors import ConfigError
from rl4lms.plugins.options import Option
from rl4lms.tasks.dataset import DatasetTask, Edition, Example, Paper
from rl4lms.tasks.mini import Mini
from rl4lms.tasks.sources import find
from rl4lms.tasks.translation import real
from rl4lms.types import Split

_SUPERVISED = Paper(n_steps=512, learning_rate=5e-7, kl=(0.001, 0.2), iterations=50, rollout={"top_k": 5})
_ALONE = Paper(n_steps=512, learning_rate=1e-6, kl=(0.001, 0.2), iterations=50, rollout={"top_k": 10})
_IWSLT_SETS = tuple(f"tst{year}" for year in range(2010, 2016))
_WMT_SETS = {"validation": "newstest2015", "test": "newstest2016"}


@dataclass(kw_only=True, eq=False)
class TranslationTask(DatasetTask):
    """What the three have in common: all but where the sentences come from."""

    instruction = "translate English to German: "
    max_new_tokens = 128
    prompt = {"max_tokens": 128, "truncation_side": "right"}
    reward = {"name": "ter"}
    metrics = ({"name": "sacrebleu"}, {"name": "chrf"}, {"name": "ter"}, {"name": "diversity"})
    generation = {"num_beams": 4, "length_penalty": 0.6}
    warm_start = {
        "epochs": 5,
        "batch_size": 64,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.1,
    }
    board = {
        "task": ("sacrebleu", "chrf", "ter", "adequate"),
        "naturalness": ("derivable", "distinct-2"),
    }
    presets = {"ppo": _ALONE, "nlpo": _ALONE, "supervised-ppo": _SUPERVISED, "supervised-nlpo": _SUPERVISED}

    @abstractmethod
    def pairs(self, split: Split) -> Iterator[real.Pair]:
        """Return the sentences of a split, as they are published."""

    def examples(self, split: Split) -> Iterator[Example]:
        """Return one row for each sentence as published, also where another is the same: corpus scores are over these.

        Where no document is told, none can be in two splits.
        """
        for number, pair in enumerate(real.whole(self.pairs(split), gaps=split == "train")):
            row = f"{split}-{number}"
            meta = {"document": pair.document} if pair.document else {}
            yield Example(
                document=pair.document or row, prompt=pair.source, references=(pair.target,), meta=meta, same=row
            )


def _mini(words: str) -> Mini:
    """Return the mini edition with the words of a module."""
    return Mini(
        grammar=f"rl4lms.tasks.translation.{words}",
        prompt_tokens=28,
        completion_tokens=26,
        architecture="gpt2",
        base={"steps": 600, "learning_rate": 4e-3},
        rollout={"top_k": 10},
        training={"prompts_per_iteration": 192},
        kl={"kl_coef": 0.005},
        optimizer={"learning_rate": 2e-4},
        metrics=(*TranslationTask.metrics, {"name": "translation_grammar"}),
    )


@dataclass(kw_only=True, eq=False)
class Multi30kTask(TranslationTask):
    """Descriptions of photographs, translated by people."""

    test_set: Annotated[
        Literal["test_2016_flickr", "test_2017_flickr", "test_2017_mscoco"] | None,
        Option("which of the published sets of data_dir is the test split; null: test_2016_flickr, as on the Hub"),
    ] = None

    name = "multi30k"
    published = {"train": 29_000, "validation": 1_014, "test": 1_000}
    max_new_tokens = 64

    @classmethod
    def check_options(  # type: ignore[override]  # called with the options that it names
        cls, edition: str, data_dir: str | None, form: str, seed: int, test_set: str | None
    ) -> None:
        """Refuse options that the edition would not read, and a set that the Hub does not have apart."""
        super().check_options(edition, data_dir, form, seed)
        _refuse_on_hub(data_dir, test_set)

    def examples(self, split: Split) -> Iterator[Example]:
        """Return one row for each sentence; a sentence is a document, and a prompt with all of its translations."""
        for pair in real.whole(self.pairs(split), gaps=False):
            yield Example(document=pair.source, prompt=pair.source, references=(pair.target,))

    def pairs(self, split: Split) -> Iterator[real.Pair]:
        """Return the sentences of a split, as they are published."""
        if self.data_dir is None:
            return real.from_hub("bentrevett/multi30k", split)
        name = {"train": "train", "validation": "val", "test": self.test_set or "test_2016_flickr"}[split]
        return real.from_lines(find(self.data_dir, f"{name}.en"), find(self.data_dir, f"{name}.de"))


@dataclass(kw_only=True, eq=False)
class Iwslt2017Task(TranslationTask):
    """TED talks."""

    edition: Edition = "mini"

    test_set: Annotated[
        Literal["tst2010", "tst2011", "tst2012", "tst2013", "tst2014", "tst2015"] | None,
        Option("which of the published sets of data_dir is the test split; null: all of them, as on the Hub"),
    ] = None

    name = "iwslt2017"
    norms = {
        ("mini", 1): {
            "sacrebleu": (26.56, 100.0),
            "chrf": (52.84, 100.0),
            "ter": (47.46, 0.0),
            "adequate": (0.03125, 1.0),
            "derivable": (0.3151, 1.0),
        }
    }
    mini = _mini("talks")

    @classmethod
    def check_options(  # type: ignore[override]  # called with the options that it names
        cls, edition: str, data_dir: str | None, form: str, seed: int, test_set: str | None
    ) -> None:
        """Refuse options that the edition would not read, and a set that the Hub does not have apart."""
        super().check_options(edition, data_dir, form, seed)
        _refuse_on_hub(data_dir, test_set)

    def pairs(self, split: Split) -> Iterator[real.Pair]:
        """Return the sentences of a split, as they are published."""
        if self.data_dir is None:
            return real.from_hub("IWSLT/iwslt2017", split, data_dir="iwslt2017-en-de", revision="refs/convert/parquet")
        if split == "train":
            files = (find(self.data_dir, f"train.tags.en-de.{language}") for language in ("en", "de"))
            return real.from_tags(*files)
        sets = ["dev2010"] if split == "validation" else [self.test_set] if self.test_set else _IWSLT_SETS
        return chain.from_iterable(self._set(self.data_dir, f"IWSLT17.TED.{name}.en-de") for name in sets)

    def _set(self, folder: str, name: str) -> Iterator[real.Pair]:
        return real.from_segments(find(folder, f"{name}.en.xml"), find(folder, f"{name}.de.xml"))


@dataclass(kw_only=True, eq=False)
class Wmt16Task(TranslationTask):
    """News."""

    edition: Edition = "mini"

    name = "wmt16"
    mini = _mini("news")

    def pairs(self, split: Split) -> Iterator[real.Pair]:
        """Return the sentences of a split, as they are published."""
        if self.data_dir is None:
            return real.from_hub("wmt/wmt16", split, name="de-en")
        if split == "train":
            name = "news-commentary-v11.de-en"
            return real.from_lines(find(self.data_dir, f"{name}.en"), find(self.data_dir, f"{name}.de"))
        name = _WMT_SETS[split]
        files = (f"{name}-ende-src.en.sgm", f"{name}-ende-ref.de.sgm")
        return real.from_segments(find(self.data_dir, files[0]), find(self.data_dir, files[1]))


def _refuse_on_hub(data_dir: str | None, test_set: str | None) -> None:
    if test_set is not None and data_dir is None:
        raise ConfigError(f"test_set {test_set} is of local files; name their folder with data_dir, or leave it out")
