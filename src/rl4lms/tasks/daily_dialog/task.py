"""The task `daily_dialog`: answer the last turns of a conversation. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from rl4lms.plugins.options import Option
from rl4lms.tasks.daily_dialog import real
from rl4lms.tasks.dataset import DatasetTask, Example, Paper
from rl4lms.types import Split

TURN_END = "<EOU>"
_SUPERVISED = Paper(
    n_steps=128, learning_rate=1e-6, kl=(0.2, 0.05), iterations=50, rollout={"top_k": 20, "min_new_tokens": 2}
)


@dataclass(kw_only=True, eq=False)
class DailyDialogTask(DatasetTask):
    """The next turn of an everyday conversation."""

    form: Annotated[
        Literal["text", "chat"],
        Option(
            "text: turns that each end with <EOU>; chat: turns as messages of assistant and user, the last the user's"
        ),
    ] = "text"  # type: ignore[assignment]
    context_size: Annotated[int, Option("turns of a prompt; turns with fewer before them are no samples", ge=1)] = 5

    name = "daily_dialog"
    max_new_tokens = 20
    prompt = {"max_tokens": 128, "truncation_side": "left"}
    reward = {"name": "meteor_exact_stem"}
    metrics = (
        {"name": "meteor_exact_stem"},
        {"name": "rouge"},
        {"name": "bleu"},
        {"name": "sacrebleu"},
        {"name": "reference_perplexity"},
        {"name": "diversity"},
    )
    warm_start = {"epochs": 20, "batch_size": 32, "learning_rate": 1e-5, "lr_scheduler_type": "constant"}
    presets = {
        "ppo": Paper(
            n_steps=128,
            learning_rate=1e-6,
            kl=(0.2, 0.5),
            iterations=50,
            rollout={"top_k": 20, "min_new_tokens": 2},
        ),
        "nlpo": Paper(
            n_steps=128,
            learning_rate=1e-6,
            kl=(0.2, 0.5),
            iterations=100,
            rollout={"top_k": 20, "min_new_tokens": 2},
        ),
        "supervised-ppo": _SUPERVISED,
        "supervised-nlpo": _SUPERVISED,
    }

    def examples(self, split: Split) -> Iterator[Example]:
        """Return one row for each turn that has enough turns before it; a dialogue is a document."""
        for dialogue in real.dialogues(self.data_dir, split):
            if not dialogue.intents:
                continue
            document = "\n".join(dialogue.turns)
            for number in range(self.context_size, len(dialogue.turns)):
                turns = dialogue.turns[number - self.context_size : number]
                intent, emotion = dialogue.intents[number], dialogue.emotions[number]
                yield Example(
                    document=document,
                    prompt=" ".join(f"{turn} {TURN_END}" for turn in turns),
                    references=(dialogue.turns[number],),
                    meta={
                        "intent": intent,
                        "intent_name": real.INTENTS[intent],
                        "emotion": emotion,
                        "emotion_name": real.EMOTIONS[emotion],
                    },
                    turns=turns,
                )
