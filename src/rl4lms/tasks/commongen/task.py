"""The task `commongen`: write a sentence with all of some concepts. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rl4lms.tasks.commongen import real
from rl4lms.tasks.dataset import DatasetTask, Edition, Example, Paper
from rl4lms.tasks.mini import Mini
from rl4lms.types import Split

_SUPERVISED = Paper(
    n_steps=128,
    learning_rate=2e-6,
    kl=(0.01, 1.0),
    iterations=100,
    ent_coef=0.01,
    rollout={"top_k": 50, "min_new_tokens": 5},
)


@dataclass(kw_only=True, eq=False)
class CommonGenTask(DatasetTask):
    """A sentence with all of three to five concepts."""

    edition: Edition = "mini"

    name = "commongen"
    published = {"train": 67_389, "validation": 4_018, "test": 6_042}
    instruction = "generate a sentence with: "
    max_new_tokens = 20
    prompt = {"max_tokens": 32, "truncation_side": "right"}
    reward = {"name": "sum", "parts": [{"reward": "meteor_exact_stem"}, {"reward": "commongen_penalty"}]}
    metrics = (
        {"name": "rouge"},
        {"name": "bleu"},
        {"name": "meteor_exact_stem"},
        {"name": "cider"},
        {"name": "concept_coverage"},
        {"name": "diversity"},
    )
    board = {
        "task": ("meteor_exact_stem", "cider", "concept_coverage", "solved"),
        "naturalness": ("derivable", "distinct-2"),
    }
    norms = {
        ("mini", 1): {
            "meteor_exact_stem": (0.4555, 0.9994),
            "cider": (0.9207, 4.392),
            "concept_coverage": (0.3826, 1.0),
            "solved": (0.01302, 1.0),
            "derivable": (0.1979, 1.0),
        }
    }
    generation = {"num_beams": 5, "min_new_tokens": 5}
    warm_start = {
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.01,
    }
    mini = Mini(
        grammar="rl4lms.tasks.commongen.grammar",
        prompt_tokens=6,
        completion_tokens=20,
        metrics=(*metrics, {"name": "commongen_grammar"}),
    )
    presets = {
        "ppo": Paper(
            n_steps=256,
            learning_rate=2e-6,
            kl=(0.001, 2.0),
            iterations=200,
            ent_coef=0.01,
            rollout={"min_new_tokens": 5},
        ),
        "nlpo": Paper(
            n_steps=128,
            learning_rate=2e-6,
            kl=(0.001, 2.0),
            iterations=100,
            rollout={"top_k": 50, "min_new_tokens": 10},
        ),
        "supervised-ppo": _SUPERVISED,
        "supervised-nlpo": _SUPERVISED,
    }

    def examples(self, split: Split) -> Iterator[Example]:
        """Return one row for each sentence; a set of concepts is one prompt, in whichever orders it stands there."""
        for _, concepts, sentence in real.pairs(self.data_dir, split):
            group = " ".join(sorted(concepts))
            yield Example(
                document=group,
                prompt=f"{' '.join(concepts)}.",
                references=(sentence,) if sentence else (),
                meta={"concepts": concepts},
                same=group,
            )
