"""The tasks `cnn_daily_mail` and `dialogsum`: write a summary. See README.md beside this file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from rl4lms.tasks.dataset import DatasetTask, Edition, Example, Paper
from rl4lms.tasks.mini import Mini
from rl4lms.tasks.summarization import real
from rl4lms.types import Split


def _paper(kl_coef: float, iterations: int, top_k: int, mask_update_every: int = 20) -> Paper:
    return Paper(
        n_steps=512,
        learning_rate=2e-6,
        kl=(kl_coef, 0.2),
        iterations=iterations,
        rollout={"top_k": top_k, "min_new_tokens": 50},
        mask_update_every=mask_update_every,
    )


@dataclass(kw_only=True, eq=False)
class SummarizationTask(DatasetTask):
    """What both have in common: all but where the texts come from."""

    instruction = "Summarize: "
    max_new_tokens = 100
    prompt = {"max_tokens": 512, "truncation_side": "right"}
    reward = {"name": "meteor_exact_stem"}
    metrics = (
        {"name": "rouge"},
        {"name": "meteor_exact_stem"},
        {"name": "bleu"},
        {"name": "diversity"},
    )
    board = {
        "task": ("rougeLsum", "meteor_exact_stem", "covered", "faithful"),
        "naturalness": ("derivable", "distinct-2"),
    }
    generation = {"temperature": 0.7, "min_new_tokens": 50, "top_k": 0}
    warm_start = {
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.1,
    }
    presets = {
        "ppo": _paper(0.001, 100, 50),
        "nlpo": _paper(0.001, 100, 100),
        "supervised-ppo": _paper(0.01, 50, 100),
        "supervised-nlpo": _paper(0.01, 50, 100, mask_update_every=30),
    }

    @abstractmethod
    def texts(self, split: Split) -> Iterator[real.Text]:
        """Return what is summarised in a split, with its summaries."""

    def examples(self, split: Split) -> Iterator[Example]:
        """Return one row for each published row; a text is a document."""
        for text, summaries in self.texts(split):
            yield Example(document=text, prompt=text, references=summaries)


@dataclass(kw_only=True, eq=False)
class CnnDailyMailTask(SummarizationTask):
    """Highlights of news articles."""

    edition: Edition = "mini"

    name = "cnn_daily_mail"
    norms = {
        ("mini", 1): {
            "rougeLsum": (0.5723, 1.0),
            "meteor_exact_stem": (0.6565, 0.9999),
            "covered": (0.113, 1.0),
            "faithful": (0.0, 1.0),
            "derivable": (0.3021, 1.0),
        }
    }
    published = {"train": 287_113, "validation": 13_368, "test": 11_490}
    mini = Mini(
        grammar="rl4lms.tasks.summarization.grammar",
        prompt_tokens=90,
        completion_tokens=24,
        base={"steps": 400},
        shape={"t5_embeddings": 1},
        kl={"kl_coef": 0.02},
        optimizer={"learning_rate": 1e-4},
        metrics=(*SummarizationTask.metrics, {"name": "cnn_daily_mail_grammar"}),
    )

    def texts(self, split: Split) -> Iterator[real.Text]:
        """Return the articles of a split, with their highlights."""
        return real.articles(self.data_dir, split)


@dataclass(kw_only=True, eq=False)
class DialogSumTask(SummarizationTask):
    """Summaries of everyday dialogues."""

    name = "dialogsum"
    published = {"train": 12_460, "validation": 500, "test": 500}
    generation = {"temperature": 0.7, "min_new_tokens": 10, "top_k": 0}

    def texts(self, split: Split) -> Iterator[real.Text]:
        """Return the dialogues of a split, with their summaries."""
        return real.dialogues(self.data_dir, split)
