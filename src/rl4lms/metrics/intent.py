"""Intent accuracy of the original library's DailyDialog task: does a classifier read the wanted intent from an
answer?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from rl4lms.errors import ConfigError, DataError, ModelError, nth_row
from rl4lms.metrics.classifier import label_index
from rl4lms.metrics.pretrained import load_runner
from rl4lms.metrics.runner import IncompleteModelError, RunnerOptions
from rl4lms.metrics.support import signature
from rl4lms.plugins.options import Option


@dataclass(kw_only=True, eq=False)
class IntentAccuracy(RunnerOptions):
    """1 where the likeliest label of last turn and completion is the wanted one, else 0, under the key
    `intent_accuracy`.

    The classifier reads `<last turn><turn_end><completion>`, as the original's intent classifier was trained. The
    original's metric left the `turn_end` out, so that it asked for something else than what was trained. The last turn
    is what stands in the prompt before its last `turn_end`, or the whole prompt where there is none. Of long texts the
    beginning is cut.

    Raises:
        MissingPartError: the model is not here and cannot be downloaded.
        ModelError: the model cannot be loaded, or is no classifier.
    """

    higher_is_better = True
    uses_model = True

    model: Annotated[str, Option("Hub id, local folder, or asset:<name> of the task", min_length=1)]
    column: Annotated[str, Option("data column with the wanted label, a name or an index", min_length=1)] = "intent"
    turn_end: Annotated[
        str, Option("ends a turn in prompts, and stands between turn and completion as in the classifier's training")
    ] = "<EOU>"

    def __post_init__(self) -> None:
        from transformers import AutoModelForSequenceClassification

        try:
            self._runner = load_runner(
                "intent_accuracy",
                AutoModelForSequenceClassification,
                self.model,
                "intent classifier",
                self,
                truncation_side="left",
            )
        except IncompleteModelError as error:
            raise ModelError(f"{error}; name a model that was trained as a sequence classifier") from error
        shown = {"model": self.model, "column": self.column, "turn_end": self.turn_end, "max_tokens": self.max_tokens}
        self.signature = signature("intent_accuracy", **shown)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: there is no such column, or a value in it names no label.
        """
        if self.column not in columns:
            known = ", ".join(sorted(columns)) or "none"
            raise DataError(
                f"intent_accuracy needs the data column {self.column!r} with the wanted labels; there are: {known}"
            )
        wanted = [self._wanted(row, label) for row, label in enumerate(columns[self.column])]
        texts = [
            self._last_turn(prompt) + self.turn_end + text for prompt, text in zip(prompts, completions, strict=True)
        ]
        likeliest = self._runner.run(texts, lambda output, inputs: output.logits.argmax(-1).tolist())
        return {"intent_accuracy": [float(one == other) for one, other in zip(likeliest, wanted, strict=True)]}

    def _last_turn(self, prompt: str) -> str:
        turns = prompt.split(self.turn_end) if self.turn_end else [prompt]
        return next((turn for turn in reversed(turns) if turn.strip()), "")

    def _wanted(self, row: int, label: Any) -> int:
        if not isinstance(label, str | int):
            raise DataError(
                f"intent_accuracy: {self.column} of {nth_row(row)} is {label!r}; expected the name or the "
                f"index of a label"
            )
        try:
            return label_index(self._runner.config, self.model, label)
        except ConfigError as error:
            raise DataError(f"intent_accuracy: {self.column} of {nth_row(row)}: {error}") from error
