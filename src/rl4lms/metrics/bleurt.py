"""BLEURT: a regression model of human judgements that reads a reference and a text (Sellam, Das and Parikh, 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from rl4lms.errors import ConfigError
from rl4lms.metrics.pretrained import load_runner
from rl4lms.metrics.runner import RunnerOptions
from rl4lms.metrics.support import check_references, signature
from rl4lms.plugins.options import Option


@dataclass(kw_only=True, eq=False)
class Bleurt(RunnerOptions):
    """The output of a BLEURT checkpoint, under the key `bleurt`: about 0 to 1 for the published ones, but not bounded.

    The checkpoint has the form of the conversions on the Hub that transformers loads by itself, such as
    `Elron/bleurt-base-512`: a sequence classifier with one output that reads a pair, the reference first. Google's
    TensorFlow checkpoints, and conversions that bring code of their own (BLEURT-20), have to be converted first. Of
    several references the best score counts. Empty texts are read like any other.

    Of a pair that is too long the longer text is cut.

    Raises:
        MissingPartError: the model is not here and cannot be downloaded.
        ModelError: the model cannot be loaded, or lacks weights.
        ConfigError: it has not exactly one output.
    """

    higher_is_better = True
    needs_references = True
    uses_model = True

    model: Annotated[str, Option("folder or Hub id of a checkpoint in HF format", min_length=1)]

    def __post_init__(self) -> None:
        from transformers import AutoModelForSequenceClassification

        self._runner = load_runner("bleurt", AutoModelForSequenceClassification, self.model, "BLEURT checkpoint", self)
        outputs = self._runner.config.num_labels
        if outputs != 1:
            raise ConfigError(f"bleurt: {self.model!r} is no BLEURT checkpoint: it has {outputs} outputs, and not one")
        self.signature = signature("bleurt", model=self.model, refs="max", max_tokens=self.max_tokens)

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("bleurt", references)
        rows = [
            [(text, completion) for text in texts] for completion, texts in zip(completions, references, strict=True)
        ]
        pairs = list(dict.fromkeys(pair for row in rows for pair in row))
        scores = dict(
            zip(
                pairs, self._runner.run(pairs, lambda output, inputs: output.logits[:, 0].float().tolist()), strict=True
            )
        )
        return {"bleurt": [max(scores[pair] for pair in row) for row in rows]}
