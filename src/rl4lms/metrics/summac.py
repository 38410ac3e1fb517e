"""SummaC: whether a source entails a text, by a model of natural language inference (NLI) on pairs of their parts.

Source: Laban et al., "SummaC: Re-Visiting NLI-based Models for Inconsistency Detection in Summarization" (2022), and
the authors' package summac 0.0.4, whose numbers these are for the same parts. Deviations: sentences are found by the
rules of `rl4lms.metrics.sentences` and not by NLTK's trained splitter, whose data may not be there; of a pair that is
too long the longer text is cut, not always the source; and where there is nothing to compare SummaC-ZS is 0 whatever
its options are, also with `use_contradiction` alone, where the package says 1.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rl4lms.errors import ConfigError, DataError, MissingPartError, ModelError, nth_row
from rl4lms.metrics.pretrained import Memory, load_runner
from rl4lms.metrics.runner import RunnerOptions
from rl4lms.metrics.sentences import paragraphs, sentences
from rl4lms.metrics.support import check_references, signature
from rl4lms.plugins.options import Option

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Array = NDArray[np.float64]
Pair = tuple[str, str]
Granularity = Annotated[
    Literal["sentence", "paragraph", "document", "paragraph-sentence", "document-sentence"],
    Option("how source and text are cut, both in the same way or source-text"),
]
Operation = Literal["max", "mean", "min"]

# As in the authors' package: sentences and paragraphs of up to ten characters do not count, nor what comes after 100
# parts of the source.
_SHORTEST, _MOST_PARTS = 11, 100
# SummaC-Conv reads ten sentences.
_MOST_SENTENCES = 10
# Edges of the bins of the published layer.
_PERCENTILES = (
    np.array([0, 1, 2, 3, 4, 7, 13, 37, 90, 91, 92, 93, 94, 95, 95.5, 96, 96.5, 97, 97.5, 98, 98.5, 99, 99.5, 100])
    / 100
)
# Probabilities of that many pairs are kept, and that many pairs are tokenised at once.
_KEPT, _PAIRS = 1 << 17, 1 << 13
_OPERATIONS: dict[str, Callable[..., Any]] = {"max": np.max, "mean": np.mean, "min": np.min}


@dataclass(kw_only=True, eq=False)
class _SummaC(RunnerOptions, ABC):
    """What the two have in common: the table of probabilities of the pairs of parts."""

    key: ClassVar[str]
    higher_is_better = True
    uses_model = True

    model: Annotated[
        str, Option("an NLI classifier with a label named like `entailment`: Hub id or folder", min_length=1)
    ]
    source: Annotated[str, Option("what must entail the text: prompts, references, or a data column", min_length=1)] = (
        "prompts"
    )
    max_tokens: Annotated[int, Option("longer pairs are cut; the model's own limit applies, too", ge=8)] = 500

    @property
    def needs_references(self) -> bool:
        """Whether references are the sources."""
        return self.source == "references"

    def _load(self, granularity: str, contradiction: bool) -> None:
        from transformers import AutoModelForSequenceClassification

        first, _, second = granularity.partition("-")
        self._cut_source, self._cut_text = _CUTS[first], _CUTS[second or first]
        self._runner = load_runner(self.key, AutoModelForSequenceClassification, self.model, "NLI classifier", self)
        wanted = ("entail", "contradict") if contradiction else ("entail",)
        self._labels = [nli_label(self._runner.config, self.model, word) for word in wanted]
        self._kept: Memory[list[float]] = Memory(_KEPT)

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no source.
        """
        sources = self._sources(prompts, references, columns)
        parts = {text: self._cut_source(text)[:_MOST_PARTS] for texts in sources for text in texts}
        cut = {text: self._cut_text(text) for text in completions}
        rows = list(zip(completions, sources, strict=True))
        found = self._probabilities(
            (part, sentence) for text, texts in rows for one in texts for part in parts[one] for sentence in cut[text]
        )
        values = []
        for text, texts in rows:
            tables = [
                np.array([[found[part, sentence] for sentence in cut[text]] for part in parts[one]]) for one in texts
            ]
            values.append(max(self._value(table.transpose(2, 0, 1) if table.size else None) for table in tables))
        return {self.key: values}

    @abstractmethod
    def _value(self, table: Array | None) -> float:
        """From probabilities (labels, parts, sentences), or None where there are no pairs, to the score of one
        source.
        """

    def _sources(
        self, prompts: Sequence[str], references: Sequence[tuple[str, ...]], columns: dict[str, Any]
    ) -> list[tuple[str, ...]]:
        if self.source == "prompts":
            return [(prompt,) for prompt in prompts]
        if self.source == "references":
            return check_references(self.key, references)
        if self.source not in columns:
            known = ", ".join(["prompts", "references", *sorted(columns)])
            raise DataError(
                f"{self.key}: there is no data column {self.source!r} to take sources from; there are: {known}"
            )
        for row, text in enumerate(columns[self.source]):
            if not isinstance(text, str):
                raise DataError(
                    f"{self.key}: {self.source} of {nth_row(row)} is {type(text).__name__}; expected a text"
                )
        return [(text,) for text in columns[self.source]]

    def _probabilities(self, pairs: Iterable[Pair]) -> dict[Pair, list[float]]:
        """Of each pair, in the order of the labels."""
        keys = {pair: _digest(pair) for pair in pairs}
        found = {pair: kept for pair, key in keys.items() if (kept := self._kept.get(key)) is not None}
        new = [pair for pair in keys if pair not in found]
        for start in range(0, len(new), _PAIRS):
            some = new[start : start + _PAIRS]
            read = self._runner.run(
                some, lambda output, inputs: output.logits.float().softmax(-1)[:, self._labels].tolist()
            )
            for pair, probabilities in zip(some, read, strict=True):
                found[pair] = probabilities
                self._kept.put(keys[pair], probabilities)
        return found


@dataclass(kw_only=True, eq=False)
class SummaCZS(_SummaC):
    """SummaC-ZS, in [-1, 1] (in [0, 1] without one of the two), under the key `summac_zs`.

    For every part of the source and every sentence of the text the probabilities of entailment and of contradiction;
    `op1` of each over the parts of the source; their difference; `op2` of it over the sentences. 0 where either has no
    part that is long enough. With `use_entailment` alone the score is entailment, with `use_contradiction` alone 1
    minus contradiction. Of several references as sources the best score counts.

    A `paragraph` is a block between blank lines, or a line where there are none; as in the original library, it is
    the default.

    Raises:
        MissingPartError: the model is not here and cannot be downloaded.
        ModelError: the model cannot be loaded.
        ConfigError: its labels have other names, or neither of the two is looked at.
    """

    key = "summac_zs"

    granularity: Granularity = "paragraph"
    op1: Annotated[Operation, Option("over the parts of the source")] = "max"
    op2: Annotated[Operation, Option("over the parts of the text")] = "mean"
    use_entailment: Annotated[bool, Option("count what the source entails")] = True
    use_contradiction: Annotated[bool, Option("take off what the source contradicts")] = True

    @staticmethod
    def check_options(use_entailment: bool, use_contradiction: bool) -> None:
        """Refuse to look at neither of the two."""
        if not use_entailment and not use_contradiction:
            raise ConfigError("summac_zs: set use_entailment, use_contradiction or both")

    def __post_init__(self) -> None:
        self.check_options(self.use_entailment, self.use_contradiction)
        self._load(self.granularity, self.use_contradiction)
        names = ("model", "source", "granularity", "op1", "op2", "max_tokens")
        looked_at = {"entailment": self.use_entailment, "contradiction": self.use_contradiction}
        self.signature = signature(self.key, **{name: getattr(self, name) for name in names}, **looked_at)

    def _value(self, table: Array | None) -> float:
        if table is None:
            return 0.0
        over_parts = _OPERATIONS[self.op1](table, axis=1)
        use_entailment, use_contradiction = self.use_entailment, self.use_contradiction
        scores = over_parts[0] if use_entailment else 1 - over_parts[1]
        if use_entailment and use_contradiction:
            scores = over_parts[0] - over_parts[1]
        return float(_OPERATIONS[self.op2](scores))


@dataclass(kw_only=True, eq=False)
class SummaCConv(_SummaC):
    """SummaC-Conv, in [0, 1], under the key `summac_conv`.

    For each of the first ten sentences of the text the histogram of the probabilities that the parts of the source
    entail it; a trained linear layer turns each histogram into a number; their mean m goes as (m, m, m) through a
    second one, and the softmax of its second output is the score. Source or text without any part long enough count as
    one part that entails nothing. Of several references as sources the best score counts. This library does not train
    the layer.

    The classifier is the one that the layer was trained for, `tals/albert-xlarge-vitaminc-mnli` for the published
    one. The layers have the authors' layout, `mlp.weight` (1, bins), `mlp.bias` (1,), `layer_final.weight` (2, 3),
    `layer_final.bias` (2,); the authors' `summac_conv_vitc_sent_perc_e.bin` is a pickle and must be converted
    first. With 23 bins their edges are those of that file, otherwise bins are equally wide.

    Raises:
        MissingPartError: the model is not here and cannot be downloaded, or there is no file of weights.
        ModelError: the model or the weights cannot be loaded.
        ConfigError: the classifier's labels have other names.
    """

    key = "summac_conv"

    weights: Annotated[str, Option("the trained layer, a safetensors file or folder", min_length=1)]
    granularity: Granularity = "sentence"

    def __post_init__(self) -> None:
        self._layers = load_layers(self.weights)
        self._load(self.granularity, contradiction=False)
        bins = self._layers["mlp.weight"].shape[1]
        self._edges = _PERCENTILES if bins == len(_PERCENTILES) - 1 else np.linspace(0, 1, bins + 1)
        digest = hashlib.sha256(b"".join(np.float32(self._layers[name]).tobytes() for name in _SHAPES)).hexdigest()[:8]
        shown = {
            "model": self.model,
            "weights": digest,
            "bins": bins,
            "source": self.source,
            "granularity": self.granularity,
        }
        self.signature = signature(self.key, **shown, max_tokens=self.max_tokens)

    def _value(self, table: Array | None) -> float:
        entailment = np.zeros((1, 1)) if table is None else table[0, :, :_MOST_SENTENCES]
        histograms = np.array([np.histogram(column, bins=self._edges)[0] for column in entailment.T])
        mean = float(np.mean(histograms @ self._layers["mlp.weight"][0] + self._layers["mlp.bias"][0]))
        logits = self._layers["layer_final.weight"].sum(axis=1) * mean + self._layers["layer_final.bias"]
        return float(1 / (1 + np.exp(np.clip(logits[0] - logits[1], -700, 700))))


_SHAPES = {"mlp.weight": (1, None), "mlp.bias": (1,), "layer_final.weight": (2, 3), "layer_final.bias": (2,)}


def load_layers(path: str) -> dict[str, Array]:
    """Return the trained layers of SummaC-Conv.

    Args:
        path: a safetensors file, or a folder with one.

    Raises:
        MissingPartError: there is no such file.
        ModelError: it cannot be read, or holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(path)
    if file.is_dir():
        file = next(iter(sorted(file.glob("*.safetensors"))), file)
    if not file.is_file():
        raise MissingPartError(
            f"the trained layer {path!r} that summac_conv needs",
            "convert the authors' summac_conv_vitc_sent_perc_e.bin (github.com/tingofurro/summac) to safetensors, "
            "or use summac_zs, which needs none",
        )
    if file.suffix != ".safetensors":
        raise ModelError(
            f"summac_conv: {path!r} is no safetensors file; convert what torch saved once, if you trust its source: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'layers.safetensors')"
        )
    try:
        tensors = load_file(file)
        layers = {name: tensors[name].double().numpy() for name in _SHAPES}
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(
            f"summac_conv: the layers cannot be read from {path!r}: {type(error).__name__}: {error}"
        ) from error
    for name, shape in _SHAPES.items():
        found = layers[name].shape
        if len(found) != len(shape) or any(size not in (None, there) for size, there in zip(shape, found, strict=True)):
            raise ModelError(
                f"summac_conv: {name} of {path!r} has the shape {found}; expected (1, bins), (1,), (2, 3) and (2,)"
            )
    return layers


def nli_label(config: PretrainedConfig, model: str, word: str) -> int:
    """Return the output of an NLI classifier whose label contains a word, but not as `not_entailment` does.

    Raises:
        ConfigError: not exactly one label does.
    """
    names = {int(index): str(name) for index, name in (config.id2label or {}).items()}
    found = [
        index for index, name in names.items() if word in name.lower() and not name.lower().startswith(("no", "un"))
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(names[index] for index in sorted(names))
    raise ConfigError(
        f"{model!r} is no NLI classifier, or does not name its labels: exactly one must contain {word!r}, and they "
        f"are: {listed}. "
        "If you know what they mean, correct id2label in its config.json"
    )


def _long_enough(parts: list[str]) -> list[str]:
    return [part for part in parts if len(part) >= _SHORTEST]


_CUTS = {
    "sentence": lambda text: _long_enough(sentences(text)),
    "paragraph": lambda text: _long_enough(paragraphs(text)),
    "document": lambda text: [text] if text.strip() else [],
}


def _digest(pair: Pair) -> bytes:
    """Of a pair: texts are long, and many."""
    digest = hashlib.blake2b(digest_size=16)
    for text in pair:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()
