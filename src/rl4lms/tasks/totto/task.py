"""The task `totto`: describe the highlighted cells of a table in one sentence. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rl4lms.tasks.dataset import DatasetTask, Edition, Example, Paper
from rl4lms.tasks.mini import Mini
from rl4lms.tasks.totto import real
from rl4lms.types import Split

_COLUMNS = ("table", "highlighted_cells", "table_page_title", "table_section_title", "table_section_text")


@dataclass(kw_only=True, eq=False)
class TottoTask(DatasetTask):
    """One sentence about the highlighted cells of a table of Wikipedia."""

    edition: Edition = "mini"

    name = "totto"
    published = {"train": 120_761, "validation": 7_700, "test": 7_700}
    board = {
        "task": ("totto_parent", "totto_bleu", "meteor_exact_stem", "faithful"),
        "naturalness": ("derivable", "distinct-2"),
    }
    norms = {
        ("mini", 1): {
            "totto_parent": (0.1623, 0.9482),
            "totto_bleu": (21.79, 100.0),
            "meteor_exact_stem": (0.4644, 0.9995),
            "faithful": (0.0, 1.0),
            "derivable": (0.2292, 1.0),
        }
    }
    max_new_tokens = 50
    prompt = {"max_tokens": 512, "truncation_side": "right"}
    reward = {"name": "meteor_exact_stem"}
    metrics = (
        {"name": "totto_bleu"},
        {"name": "totto_parent"},
        {"name": "meteor_exact_stem"},
        {"name": "rouge"},
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
    mini = Mini(
        grammar="rl4lms.tasks.totto.grammar",
        prompt_tokens=64,
        completion_tokens=22,
        base={"steps": 500},
        shape={"t5_embeddings": 1},
        kl={"kl_coef": 0.02},
        optimizer={"learning_rate": 1e-4},
        reward={"name": "totto_parent"},
        metrics=(*metrics, {"name": "totto_grammar"}),
    )
    presets = {
        **dict.fromkeys(
            ("ppo", "nlpo"),
            Paper(
                n_steps=256,
                learning_rate=2e-6,
                kl=(0.001, 2.0),
                iterations=100,
                rollout={"min_new_tokens": 10},
            ),
        ),
        **dict.fromkeys(
            ("supervised-ppo", "supervised-nlpo"),
            Paper(
                n_steps=256,
                learning_rate=5e-7,
                kl=(0.01, 0.2),
                iterations=100,
                rollout={"min_new_tokens": 10, "top_k": 50},
            ),
        ),
    }

    def examples(self, split: Split) -> Iterator[Example]:
        """Return one row for each table and its cells; the section of a page that has the table is a document."""
        for place, row in real.rows(self.data_dir, split):
            yield Example(
                document=f"{row.get('table_webpage_url')} {row.get('table_section_title')}",
                prompt=real.linearised(row, place),
                references=real.sentences(row, place, hidden=split == "test"),
                meta={name: row.get(name) for name in _COLUMNS} | {"overlap_subset": real.overlap(row, place)},
            )
