"""The score that a sequence classifier gives to texts: a learned reward, or a learned measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import StrictInt, StrictStr

from rl4lms.data.conversations import Message
from rl4lms.data.texts import Join, whole_texts
from rl4lms.errors import ConfigError, ModelError, did_you_mean
from rl4lms.metrics.runner import IncompleteModelError, ModelRunner, RunnerOptions, Side
from rl4lms.metrics.support import signature
from rl4lms.plugins.options import Option

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(kw_only=True, eq=False)
class Classifier(RunnerOptions):
    """Return scores of a label by a sequence classifier, for prompt and completion as one text (`texts`) or for the
    completion alone.

    `probability` is the softmax over the labels (the sigmoid of a single output); `logit` is the raw output; `match`
    is 1 where the label is the most likely one (a single output: where it is positive), else 0, so that its mean is
    an accuracy.

    Raises:
        ModelError: the model or its tokenizer cannot be loaded, or the folder lacks weights of a classifier.
        ConfigError: the classifier has no such label.
    """

    higher_is_better = True
    uses_model = True

    model: Annotated[str, Option("Hub id, local folder, or asset:<name> of the task", min_length=1)]
    label: Annotated[
        StrictInt | Annotated[StrictStr, Option(min_length=1)] | None,
        Option("name or index; needed unless the classifier has one output"),
    ] = None
    output: Annotated[
        Literal["probability", "logit", "match"], Option("match: 1 where the label is the most likely one")
    ] = "probability"
    include_prompt: Annotated[bool, Option("score prompt and completion together, as in the paper")] = True
    join: Join = None
    truncation_side: Side = "left"
    key: Annotated[str, Option("name of the result in logs", min_length=1)] = "classifier"

    def __post_init__(self) -> None:
        from transformers import AutoModelForSequenceClassification

        try:
            self._runner = ModelRunner(
                AutoModelForSequenceClassification, self.model, "classifier", self, truncation_side=self.truncation_side
            )
        except IncompleteModelError as error:
            raise ModelError(
                f"{self.model!r} has no classification head, or only a part of one: it lacks "
                f"{', '.join(error.missing)}; "
                "name a model that was trained as a sequence classifier, for example with `rl4lms reward train`"
            ) from error
        if self.output != "logit" and self._runner.config.problem_type == "regression":
            raise ConfigError(
                f"{self.model!r} is trained to rate or to compare, so {self.output!r} of it means nothing; write "
                f"{{name: preference, model: {self.model}}}, or output: logit"
            )
        self.label_index = label_index(self._runner.config, self.model, self.label)
        shown = {name: getattr(self, name) for name in ("model", "label", "output", "include_prompt")}
        shown |= {} if self.join is None else {"join": self.join}
        self.signature = signature("classifier", **shown)

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        texts: Sequence[str] | None = None,
        conversations: Sequence[Sequence[Message]] | None = None,
        **columns: Any,
    ) -> dict[str, list[float]]:
        """Score each text. A model that was trained on conversations reads them as its own chat template writes them.

        Raises:
            DataError: see `whole_texts`; or the model was trained on conversations, and a prompt is none.
        """
        read = list(completions)
        if self._runner.reads_chats and self.include_prompt:
            read = self._runner.rendered("'classifier'", completions, conversations)
        elif self.include_prompt:
            read = whole_texts("classifier", prompts, completions, texts, self.join)
        return {self.key: self._runner.run(read, lambda output, inputs: self._read(output.logits.float()).tolist())}

    def _read(self, logits: Any) -> Any:
        """(B, labels) -> (B,)."""
        if self.output == "match":
            return (logits[:, 0] > 0 if logits.shape[-1] == 1 else logits.argmax(-1) == self.label_index).float()
        if self.output == "probability":
            logits = logits.sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1)
        return logits[:, self.label_index]


def label_index(config: PretrainedConfig, model: str, label: str | int | None) -> int:
    """Return the output that a label names.

    Raises:
        ConfigError: there is no such label, or none was named and the classifier has several.
    """
    names = {str(name): int(index) for index, name in (config.id2label or {}).items()}
    if label is None:
        if len(names) != 1:
            raise ConfigError(
                f"the classifier {model!r} has {len(names)} labels; say which with `label`: {', '.join(names)}"
            )
        return 0
    if isinstance(label, int):
        if not 0 <= label < len(names):
            raise ConfigError(f"the classifier {model!r} has no label {label}; it has {len(names)}, counted from 0")
        return label
    if label in names:
        return names[label]
    folded = {name.lower(): index for name, index in names.items()}
    if label.lower() in folded:
        return folded[label.lower()]
    raise ConfigError(f"the classifier {model!r} has no label {label!r}; {did_you_mean(label, names)}")
