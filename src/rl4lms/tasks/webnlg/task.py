"""The task `webnlg`: say some facts in a text. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rl4lms.tasks.dataset import DatasetTask, Example, Paper
from rl4lms.tasks.webnlg import real
from rl4lms.types import Split

_ALONE = Paper(n_steps=256, learning_rate=2e-6, kl=(0.001, 2.0), iterations=100, rollout={"min_new_tokens": 10})
_SUPERVISED = Paper(
    n_steps=256, learning_rate=5e-7, kl=(0.01, 0.2), iterations=100, rollout={"min_new_tokens": 10, "top_k": 50}
)


@dataclass(kw_only=True, eq=False)
class WebNlgTask(DatasetTask):
    """A text that says one to seven facts of DBpedia."""

    name = "webnlg"
    published = {"train": 13_211, "validation": 1_667, "test": 1_779}
    instruction = "translate Graph to English: "
    max_new_tokens = 100
    prompt = {"max_tokens": 384, "truncation_side": "right"}
    reward = {"name": "meteor_exact_stem"}
    metrics = (
        {"name": "sacrebleu"},
        {"name": "chrf", "word_order": 2},
        {"name": "ter"},
        {"name": "meteor_exact_stem"},
        {"name": "parent"},
        {"name": "diversity"},
    )
    generation = {"num_beams": 5, "min_new_tokens": 10}
    warm_start = {
        "epochs": 5,
        "batch_size": 8,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant_with_warmup",
        "weight_decay": 0.1,
    }
    presets = {"ppo": _ALONE, "nlpo": _ALONE, "supervised-ppo": _SUPERVISED, "supervised-nlpo": _SUPERVISED}

    def examples(self, split: Split) -> Iterator[Example]:
        """Return one row for each entry; a set of triples is a document and a prompt, in whichever order they stand."""
        for triples, category, texts in real.entries(self.data_dir, split):
            table = [[part.replace("_", " ") for part in triple] for triple in triples]
            facts = [" | ".join(triple) for triple in table]
            yield Example(
                document=" && ".join(sorted(facts)),
                prompt=" && ".join(facts),
                references=texts,
                meta={"table": table, "category": category},
                same=" && ".join(sorted(facts)),
            )
