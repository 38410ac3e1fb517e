"""The task `daily_dialog`: answer the last turns of a conversation. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from rl4lms.errors import ConfigError
from rl4lms.plugins.options import Option
from rl4lms.tasks.daily_dialog import real
from rl4lms.tasks.dataset import DatasetTask, Edition, Example, Paper
from rl4lms.tasks.mini import Mini
from rl4lms.types import ClassifierSpec, Split

TURN_END = "<EOU>"
_SUPERVISED = Paper(
    n_steps=128, learning_rate=1e-6, kl=(0.2, 0.05), iterations=50, rollout={"top_k": 20, "min_new_tokens": 2}
)


def _judges(seed: int) -> dict[str, ClassifierSpec]:
    """Return the classifier of the reward, and the one that reports: of other data, seed and shape."""
    return {
        "intent": _classifier("intent", "reward", {"hidden_size": 64, "layers": 2}, seed),
        # three layers as narrow as these stay at chance with twice the learning rate, for half of all seeds
        "evaluator": _classifier(
            "evaluator", "evaluator", {"hidden_size": 48, "layers": 3}, seed + 1, steps=600, learning_rate=5e-4
        ),
    }


def _classifier(name: str, part: str, shape: dict[str, int], seed: int, **training: Any) -> ClassifierSpec:
    grammar = "rl4lms.tasks.daily_dialog.grammar"
    return ClassifierSpec(
        name,
        {**shape, "heads": 4, "max_positions": 64},
        f"{grammar}:labelled",
        f"{grammar}:vocabulary",
        real.INTENTS,
        {"part": part, "count": 12_800, "seed": seed, "broken": 0.25},
        batch_size=32,
        seed=seed,
        **{"steps": 400, **training},
    )


@dataclass(kw_only=True, eq=False)
class DailyDialogTask(DatasetTask):
    """The next turn of an everyday conversation."""

    edition: Edition = "mini"
    form: Annotated[
        Literal["text", "chat"],
        Option(
            "text: turns that each end with <EOU>; chat: turns as messages of assistant and user, the last the user's"
        ),
    ] = "text"  # type: ignore[assignment]
    context_size: Annotated[
        int, Option("full: turns of a prompt; turns with fewer before them are no samples", ge=1)
    ] = 5

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
    board = {
        "task": ("intent_accuracy", "gold_intent", "meteor_exact_stem"),
        "naturalness": ("derivable", "reference_perplexity", "distinct-2"),
    }
    norms = {
        ("mini", 1): {
            "intent_accuracy": (0.8203, 1.0),
            "gold_intent": (0.125, 1.0),
            "meteor_exact_stem": (0.4645, 0.9988),
            "derivable": (0.1458, 1.0),
        }
    }
    mini = Mini(
        grammar="rl4lms.tasks.daily_dialog.grammar",
        architecture="gpt2",
        prompt_tokens=64,
        completion_tokens=20,
        base={"steps": 350},
        noise=0.35,
        broken=0.4,
        warm_start={"max_steps": 60, "learning_rate": 5e-4},
        training={"prompts_per_iteration": 192},
        kl={"kl_coef": 0.005},
        optimizer={"learning_rate": 1e-4},
        judges=_judges,
        reward={
            "name": "sum",
            "parts": [
                {"reward": {"name": "intent_accuracy", "model": "asset:intent"}, "weight": 0.5},
                {"reward": "meteor_exact_stem", "weight": 0.5},
            ],
        },
        metrics=(
            {"name": "intent_accuracy", "model": "asset:evaluator"},
            *metrics,
            {"name": "daily_dialog_grammar"},
        ),
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

    @classmethod
    def check_options(  # type: ignore[override]  # called with the options that it names
        cls, edition: str, data_dir: str | None, form: str, seed: int, context_size: int
    ) -> None:
        """Refuse options that the edition would not read."""
        super().check_options(edition, data_dir, form, seed)
        if edition == "mini" and context_size != cls.context_size:
            raise ConfigError(
                f"context_size: {context_size} is for real data; the mini edition has three to five turns; add "
                f"edition: full"
            )

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
