"""The score that a sequence classifier gives to texts: a learned reward, or a learned measure."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from rl4lms.errors import ConfigError, ModelError, did_you_mean
from rl4lms.metrics.texts import joined

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class ClassifierScorer:
    """Reads one output of a HuggingFace sequence classifier.

    Args:
        model: Hub id or folder.
        label: name (as in `config.label2id`) or index; None where the classifier has a single output.
        output: `probability` is the softmax over the labels (the sigmoid of a single output); `logit` is the raw output.
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
        output: Literal["probability", "logit"] = "probability",
        include_prompt: bool = True,
        max_tokens: int = 512,
        truncation_side: Literal["left", "right"] = "left",
        batch_size: int = 64,
        device: str = "auto",
        allow_pickle: bool = False,
    ) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from rl4lms.models.loading import load_pretrained, resolve_device

        what = f"the classifier {model!r} cannot be loaded"
        loaded: tuple[Any, list[str]] = load_pretrained(AutoModelForSequenceClassification, model, what, allow_pickle=allow_pickle)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model, truncation_side=truncation_side, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelError(f"{what}: {error}") from error
        self._model, missing = loaded
        if missing:  # they would be random
            raise ModelError(
                f"{model!r} has no classification head, or only a part of one: it lacks {', '.join(missing)}; "
                "name a model that was trained as a sequence classifier, for example with `rl4lms reward train`"
            )
        self._device = resolve_device(device)
        self._model.to(self._device).eval().requires_grad_(False)
        self.label_index = label_index(self._model.config, model, label)
        self._output, self._include_prompt, self._batch_size = output, include_prompt, batch_size
        self._max_tokens = min(max_tokens, self._tokenizer.model_max_length, _positions(self._model.config))
        self._inputs = set(inspect.signature(self._model.forward).parameters)
        self._tokenizer.padding_side = "right"
        if self._tokenizer.pad_token is None:  # decoders: padding comes last and is masked, so any token will do
            self._tokenizer.pad_token = self._tokenizer.eos_token
        if self._model.config.pad_token_id is None:
            self._model.config.pad_token_id = self._tokenizer.pad_token_id

    def scores(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """One value per row: in [0, 1] for probabilities."""
        import torch

        rows = zip(prompts, completions, strict=True)
        texts = [joined(prompt, completion) if self._include_prompt else completion for prompt, completion in rows]
        encoded = self._tokenizer(texts, truncation=True, max_length=self._max_tokens)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        values = [0.0] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), self._batch_size):
                batch = order[start : start + self._batch_size]
                columns = {name: [column[row] for row in batch] for name, column in encoded.items() if name in self._inputs}
                padded = self._tokenizer.pad(columns, return_tensors="pt").to(self._device)
                for row, value in zip(batch, self._read(self._model(**padded).logits.float()).tolist(), strict=True):
                    values[row] = value
        return values

    def _read(self, logits: Any) -> Any:
        """(B, labels) -> (B,)."""
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

    def __init__(self, key: str = "classifier", **options: Any) -> None:
        self._key, self._scorer = key, ClassifierScorer(**options)

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


def _positions(config: PretrainedConfig) -> int:
    """How many tokens the position embeddings allow."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return 1 << 30
    if "roberta" in config.model_type:  # positions are counted from pad_token_id + 1
        return positions - (config.pad_token_id or 0) - 1
    return positions
