"""The systems that the demo compares, and the metrics that it shows of them."""

from __future__ import annotations

from dataclasses import dataclass

from rl4lms.studies.findings import Column


@dataclass(frozen=True, slots=True)
class DemoSystem:
    """One row of the comparison.

    Attributes:
        key: name of its run folder.
        label: as the paper calls it.
        start: key of the system that it starts from, None for the base model itself.
        recipe: packaged recipe, None where nothing is trained.
    """

    key: str
    label: str
    start: str | None = None
    recipe: str | None = None

    @property
    def is_rl(self) -> bool:
        return self.recipe is not None and self.key != "supervised"


SYSTEMS = (
    DemoSystem("zero-shot", "Zero-shot"),
    DemoSystem("supervised", "Supervised", "zero-shot", "imdb-mini-supervised"),
    DemoSystem("ppo", "PPO", "zero-shot", "imdb-mini-ppo"),
    DemoSystem("nlpo", "NLPO", "zero-shot", "imdb-mini-nlpo"),
    DemoSystem("supervised-ppo", "Supervised+PPO", "supervised", "imdb-mini-supervised-ppo"),
    DemoSystem("supervised-nlpo", "Supervised+NLPO", "supervised", "imdb-mini-supervised-nlpo"),
)

#: Each system against the one that it starts from.
AGAINST = {one.label: other.label for one in SYSTEMS for other in SYSTEMS if one.start == other.key}

COLUMNS = (
    Column(
        "sentiment",
        "sentiment ↑",
        "`positive` under a second classifier: other data, seed and shape than the reward; 0 to 1",
        True,
    ),
    Column(
        "gold_sentiment",
        "gold label ↑",
        "the grammar's own label of prompt and completion; 0.5 where no sentence has one",
        True,
    ),
    Column(
        "derivable",
        "derivable ↑",
        "share of the sentences ending in the completion that the grammar derives",
        True,
    ),
    Column(
        "perplexity",
        "perplexity ↓",
        "of the completions under a judge LM: other seed and data, clean text",
        False,
    ),
    Column(
        "reference_perplexity",
        "reference perplexity ↓",
        "of the true rest of the reviews under the policy: rises when the language is forgotten",
        False,
    ),
    Column("distinct-2", "distinct-2 ↑", "different bigrams / bigrams", True),
    Column("kl_per_sequence", "KL per sequence", "to the model that RL started from, nats, full softmax"),
    Column("completion_tokens", "tokens", "length of the completions"),
    Column(
        "reward",
        "reward (optimised)",
        "the classifier that RL optimises: no evidence, it is what was trained on",
    ),
)
