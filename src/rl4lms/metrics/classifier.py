"""The score that a sequence classifier gives to texts: a learned reward, or a learned measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from rl4lms.errors import ConfigError, ModelError, did_you_mean
from rl4lms.metrics.runner import IncompleteModelError, ModelRunner
from rl4lms.metrics.support import signature
from rl4lms.metrics.texts import joined

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class ClassifierScorer:
    """Reads one output of a HuggingFace sequence classifier.

    Args:
        model: Hub id or folder.
        label: name (as in `config.label2id`) or index; None where the classifier has a single output.
        output: `probability` is the softmax over the labels (the sigmoid of a single output); `logit` is the raw output; `match` is 1
            where the label is the most likely one (a single output: where it is positive), else 0, so that its mean is an accuracy.
        include_prompt: whether prompt and completion are scored together.
        max_tokens: longer texts are cut; the model's own limit applies, too.
        truncation_side: which end is cut.
        batch_size: rows per pass; rows of similar length share one.
        device: where to run.
        allow_pickle: read a pickle where there are no safetensors.

    Raises:
        ModelError: the model or its tokenizer cannot be loaded, or the folder lacks weights of a classifier.
        ConfigError: the classifier has no such label.
    """

    def __init__(
        self,
        model: str,
        label: str | int | None = None,
        output: Literal["probability", "logit", "match"] = "probability",
        include_prompt: bool = True,
        max_tokens: int = 512,
        truncation_side: Literal["left", "right"] = "left",
        batch_size: int = 64,
        device: str = "auto",
        allow_pickle: bool = False,
    ) -> None:
        from transformers import AutoModelForSequenceClassification

        try:
            self._runner = ModelRunner(
                AutoModelForSequenceClassification,
                model,
                "classifier",
                batch_size=batch_size,
                max_tokens=max_tokens,
                truncation_side=truncation_side,
                device=device,
                allow_pickle=allow_pickle,
            )
        except IncompleteModelError as error:
            raise ModelError(
                f"{model!r} has no classification head, or only a part of one: it lacks {', '.join(error.missing)}; "
                "name a model that was trained as a sequence classifier, for example with `rl4lms reward train`"
            ) from error
        self.label_index = label_index(self._runner.config, model, label)
        self._output, self._include_prompt = output, include_prompt

    def scores(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """One value per row: in [0, 1] for probabilities."""
        rows = zip(prompts, completions, strict=True)
        texts = [joined(prompt, completion) if self._include_prompt else completion for prompt, completion in rows]
        return self._runner.run(texts, lambda output, inputs: self._read(output.logits.float()).tolist())

    def _read(self, logits: Any) -> Any:
        """(B, labels) -> (B,)."""
        if self._output == "match":
            return (logits[:, 0] > 0 if logits.shape[-1] == 1 else logits.argmax(-1) == self.label_index).float()
        if self._output == "probability":
            logits = logits.sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1)
        return logits[:, self.label_index]


class ClassifierMetric:
    """`ClassifierScorer` as a metric under a name of its own.

    Args:
        key: name of the result.
        options: those of `ClassifierScorer`.
    """

    higher_is_better = True
    uses_model = True

    def __init__(self, key: str = "classifier", **options: Any) -> None:
        self._key, self._scorer = key, ClassifierScorer(**options)
        shown = {name: options[name] for name in ("model", "label", "output", "include_prompt") if name in options}
        self.signature = signature("classifier", **shown)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> dict[str, list[float]]:
        return {self._key: self._scorer.scores(prompts, completions)}


def label_index(config: PretrainedConfig, model: str, label: str | int | None) -> int:
    """The output that a label names.

    Raises:
        ConfigError: there is no such label, or none was named and the classifier has several.
    """
    names = {str(name): int(index) for index, name in (config.id2label or {}).items()}
    if label is None:
        if len(names) != 1:
            raise ConfigError(f"the classifier {model!r} has {len(names)} labels; say which with `label`: {', '.join(names)}")
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
