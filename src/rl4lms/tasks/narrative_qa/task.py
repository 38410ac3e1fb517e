"""The task `narrative_qa`: answer a question about a story from its summary. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rl4lms.tasks.dataset import DatasetTask, Edition, Example, Paper
from rl4lms.tasks.mini import Mini
from rl4lms.tasks.narrative_qa import real
from rl4lms.types import Split

_ALONE = Paper(n_steps=256, learning_rate=2e-6, kl=(0.001, 1.0), iterations=100, rollout={"top_k": 50})
_SUPERVISED = Paper(n_steps=512, learning_rate=5e-7, kl=(0.001, 0.2), iterations=100, rollout={"top_k": 50})


@dataclass(kw_only=True, eq=False)
class NarrativeQATask(DatasetTask):
    """A short answer to a question about a story of which the summary is given."""

    edition: Edition = "mini"

    name = "narrative_qa"
    published = {"train": 32_747, "validation": 3_461, "test": 10_557}
    board = {
        "task": ("rouge_l_max", "token_f1", "meteor_exact_stem", "correct"),
        "naturalness": ("derivable", "distinct-2"),
    }
    norms = {
        ("mini", 1): {
            "rouge_l_max": (0.4606, 1.0),
            "token_f1": (0.385, 1.0),
            "meteor_exact_stem": (0.4135, 0.867),
            "correct": (0.03906, 1.0),
            "derivable": (0.6667, 1.0),
        }
    }
    max_new_tokens = 50
    prompt = {"max_tokens": 512, "truncation_side": "right"}
    reward = {"name": "rouge_l_max"}
    metrics = (
        {"name": "rouge_l_max"},
        {"name": "rouge"},
        {"name": "meteor_exact_stem"},
        {"name": "bleu"},
        {"name": "token_f1"},
        {"name": "diversity"},
    )
    generation = {"num_beams": 4}
    supervised_base = {"seq2seq": "allenai/unifiedqa-t5-base"}
    warm_start = {}  # the paper has none; the library's settings
    mini = Mini(
        grammar="rl4lms.tasks.narrative_qa.grammar",
        prompt_tokens=80,
        completion_tokens=12,
        base={"steps": 500},
        shape={"t5_embeddings": 1},
        noise=0.1,
        warm_start={"max_steps": 500},
        metrics=(*metrics, {"name": "narrative_qa_grammar"}),
    )
    presets = {
        "ppo": _ALONE,
        "nlpo": _ALONE,
        "supervised-ppo": _SUPERVISED,
        "supervised-nlpo": Paper(
            n_steps=256, learning_rate=5e-7, kl=(0.001, 0.2), iterations=100, rollout={"top_k": 50}
        ),
    }

    def examples(self, split: Split) -> Iterator[Example]:
        """Return one row for each question; a story is a document."""
        for story, summary, question, answers in real.questions(self.data_dir, split):
            yield Example(
                document=story,
                # the form that UnifiedQA was trained with: lower case, and a backslash and an n as the separator
                prompt=f"{' '.join(question.split())} \\n {' '.join(summary.split())}".lower(),
                references=tuple(" ".join(answer.split()).lower() for answer in answers),
            )
