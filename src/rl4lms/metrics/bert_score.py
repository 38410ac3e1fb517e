"""BERTScore: how well the tokens of a text and of a reference match, by the cosine of their contextual embeddings.

Source: Zhang et al., "BERTScore: Evaluating Text Generation with BERT" (2020); the numbers are those of the authors'
package, bert-score 0.3.13. Embeddings are the states after layer `layer`. Each token of the candidate is matched with
the most similar token of the reference for precision, and the other way round for recall; special tokens are matched
with, but have no weight in the average themselves. With `idf` tokens weigh log((N + 1) / (n + 1)), where n of the N
reference texts of a corpus contain the token. Of several references the best precision, the best recall and the best F1
count, each on its own. A baseline b rescales each of them to (x - b) / (1 - b).

A text without tokens, and a reference without tokens, have the raw value 0. So has a side whose tokens all weigh 0,
where the package has NaN in precision or recall.

Deviations: in the package padding counts as similarity 0, so that negative similarities depend on the batch, here they
do not; and F1 is 0 unless precision and recall are both positive. With the encoders that people use neither ever shows.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from rl4lms.errors import ConfigError
from rl4lms.metrics.pretrained import Memory, load_runner
from rl4lms.metrics.runner import RunnerOptions
from rl4lms.metrics.support import CORPUS, check_references, signature
from rl4lms.plugins.options import Option

if TYPE_CHECKING:
    from torch import Tensor

KEYS = ("bert_score", "bert_score_precision", "bert_score_recall")

# bert-score's choices, by correlation with human judgements of WMT16
_LAYERS = {
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "bert-base-multilingual-cased": 9,
    "bert-base-chinese": 8,
    "roberta-base": 10,
    "roberta-large": 17,
    "roberta-large-mnli": 19,
    "distilroberta-base": 5,
    "distilbert-base-uncased": 5,
    "distilbert-base-multilingual-cased": 5,
    "xlm-roberta-base": 9,
    "xlm-roberta-large": 17,
    "albert-base-v2": 9,
    "albert-large-v2": 14,
    "albert-xlarge-v2": 13,
    "albert-xxlarge-v2": 8,
    "google/electra-small-discriminator": 11,
    "google/electra-base-discriminator": 9,
    "google/electra-large-discriminator": 14,
    "facebook/bart-base": 6,
    "facebook/bart-large": 10,
    "facebook/bart-large-mnli": 11,
    "t5-small": 6,
    "t5-base": 11,
    "t5-large": 23,
    "microsoft/mpnet-base": 8,
    "microsoft/deberta-base": 9,
    "microsoft/deberta-base-mnli": 9,
    "microsoft/deberta-large": 16,
    "microsoft/deberta-large-mnli": 18,
    "microsoft/deberta-xlarge": 18,
    "microsoft/deberta-xlarge-mnli": 40,
    "microsoft/deberta-v2-xlarge": 10,
    "microsoft/deberta-v2-xlarge-mnli": 17,
    "microsoft/deberta-v3-small": 4,
    "microsoft/deberta-v3-base": 9,
    "microsoft/deberta-v3-large": 12,
}
# The Hub has since moved models whose names had no organisation.
_MOVED_TO = ("google-bert/", "FacebookAI/", "distilbert/", "albert/", "google-t5/")
# Where encoders keep their layers.
_STACKS = ("layer", "encoder.layer", "encoder.block", "block", "transformer.layer", "layers")
# Rows whose embeddings are held at the same time, and bytes of those of references that are kept.
_ROWS, _KEPT = 256, 64 << 20


class _Embedded(NamedTuple):
    """A text: its n token ids, and their embeddings (n, d) of length 1, on the CPU."""

    ids: list[int]
    vectors: Tensor


@dataclass(kw_only=True, eq=False)
class BertScore(RunnerOptions):
    """F1, precision and recall under the keys `bert_score`, `bert_score_precision` and `bert_score_recall`; at most 1.

    A file of baselines has the lines LAYER,P,R,F; bert-score's folder `rescale_baseline` has some. Without `idf`
    all tokens weigh the same.

    Raises:
        ConfigError: the layer has to be named, or there is no such layer, or the baseline cannot be used.
        MissingPartError: the model is not here and cannot be downloaded.
        ModelError: the model cannot be loaded.
    """

    higher_is_better = True
    needs_references = True
    uses_model = True
    reward_key = "bert_score"

    model: Annotated[
        str, Option("an encoder, or an encoder-decoder whose encoder is used: Hub id or folder", min_length=1)
    ] = "roberta-large"
    layer: Annotated[
        int | None,
        Option(
            "whose states are compared, 0: the input embeddings; needed unless bert-score has a choice for the model",
            ge=0,
        ),
    ] = None
    idf: Annotated[str | None, Option(f"weigh tokens by rarity; {CORPUS}", min_length=1)] = None
    baseline: Annotated[
        str | None, Option("rescale with this file of baselines, one line per layer as in bert-score", min_length=1)
    ] = None

    def __post_init__(self) -> None:
        from transformers import AutoModel, GPT2Tokenizer, RobertaTokenizer

        layer = default_layer(self.model) if self.layer is None else self.layer
        self._baseline = None if self.baseline is None else read_baseline(self.baseline, layer)
        # states are read below the pooling layer, which many checkpoints lack
        self._runner = load_runner(
            "bert_score", AutoModel, self.model, "encoder", self, need=lambda name: "pooler" not in name
        )
        self._runner.model = _cut(self._runner.model, self.model, layer)
        tokenizer = self._runner.tokenizer
        self._unweighted = {tokenizer.cls_token_id, tokenizer.sep_token_id}
        self._marks = self._unweighted | {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        # for these the first word is written like the others, with a space before it
        self._before = " " if isinstance(tokenizer, GPT2Tokenizer | RobertaTokenizer) else ""
        self.corpus = self.idf
        self._idf: dict[int, float] | None = None
        self._shown = {"model": self.model, "layer": layer, "max_tokens": self.max_tokens}
        self._fitted: dict[str, object] = {}
        self._kept: Memory[_Embedded] = Memory(_KEPT, lambda text: text.vectors.numel() * 4)

    @property
    def signature(self) -> str:
        """With name, size and hash of the corpus of `idf`, and the baseline's precision, recall and F1."""
        baseline = None if self._baseline is None else "/".join(f"{value:g}" for value in self._baseline)
        return signature("bert_score", **self._shown, idf=self.corpus, **self._fitted, baseline=baseline)

    def fit(self, references: Sequence[tuple[str, ...]], name: str) -> None:
        """Take the weights of tokens from these references; each text is a document, as in bert-score.

        Args:
            references: one tuple of texts per sample.
            name: of the corpus, for the signature.

        Raises:
            DataError: a sample has no reference, or there are no samples.
        """
        references = check_references(f"the corpus {name!r} of bert_score", references)
        texts = list(chain.from_iterable(references))
        frequencies = Counter(
            chain.from_iterable(set(ids) for ids in self._runner.encode(self._prepared(texts))["input_ids"])
        )
        self._idf = {token: math.log((len(texts) + 1) / (count + 1)) for token, count in frequencies.items()}
        self._unseen = math.log(len(texts) + 1)
        self.corpus, self._fitted = name, {"documents": len(texts), "hash": _hash(texts)}

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
            ConfigError: `idf` is on, and there are no weights yet.
        """
        references = check_references("bert_score", references)
        if self.corpus is not None and self._idf is None:
            raise ConfigError(
                f"bert_score needs the references of a corpus for its weights: fit(references, {self.corpus!r}) first"
            )
        rows = list(zip(completions, references, strict=True))
        values = [value for start in range(0, len(rows), _ROWS) for value in self._values(rows[start : start + _ROWS])]
        return (
            dict(zip(KEYS, (list(column) for column in zip(*values, strict=True)), strict=True))
            if values
            else {key: [] for key in KEYS}
        )

    def _values(self, rows: Sequence[tuple[str, tuple[str, ...]]]) -> list[list[float]]:
        """F1, precision and recall of each row."""
        embedded = self._embedded(
            [completion for completion, _ in rows], chain.from_iterable(texts for _, texts in rows)
        )
        weighted = {text: (found.vectors, self._weights(found.ids)) for text, found in embedded.items()}
        values = []
        for completion, texts in rows:
            scored = [_greedy(*weighted[completion], *weighted[text]) for text in texts]
            best = [max(column) for column in zip(*scored, strict=True)]
            if self._baseline is not None:
                best = [(value - base) / (1 - base) for value, base in zip(best, self._baseline, strict=True)]
            values.append([best[2], best[0], best[1]])
        return values

    def _embedded(self, completions: Iterable[str], references: Iterable[str]) -> dict[str, _Embedded]:
        """Return every text once; references are remembered."""
        of_references = dict.fromkeys(references)
        known = {text: found for text in of_references if (found := self._kept.get(text)) is not None}
        new = [text for text in dict.fromkeys(chain(of_references, completions)) if text not in known]
        for text, found in zip(new, self._runner.run(self._prepared(new), _read), strict=True):
            known[text] = found
            if text in of_references:
                self._kept.put(text, found)
        return known

    def _prepared(self, texts: Sequence[str]) -> list[str]:
        return [self._before + stripped if (stripped := text.strip()) else "" for text in texts]

    def _weights(self, ids: list[int]) -> Tensor | None:
        """(n,) float32 with the sum 1, or zeros where idf gives no token any weight; None for a text without tokens of
        its own.
        """
        import torch

        if self._marks.issuperset(ids):
            return None
        if self._idf is None:
            weights = torch.tensor([float(token not in self._unweighted) for token in ids])
        else:
            weights = torch.tensor([self._idf.get(token, self._unseen) for token in ids])
        total = weights.sum()
        return weights / total if total > 0 else torch.zeros(len(ids))


def default_layer(model: str) -> int:
    """bert-score's choice for a model.

    Raises:
        ConfigError: it has none.
    """
    for prefix in ("", *_MOVED_TO):
        if model.startswith(prefix) and model.removeprefix(prefix) in _LAYERS:
            return _LAYERS[model.removeprefix(prefix)]
    raise ConfigError(
        f"bert_score: say with `layer` which layer of {model!r} to compare; bert-score has no choice for it. "
        "Near three quarters of the layers is usual: 9 of 12, 17 of 24"
    )


def read_baseline(path: str, layer: int) -> tuple[float, float, float]:
    """Precision, recall and F1 of a layer in a file of baselines.

    Args:
        path: a text file with the header LAYER,P,R,F and a line for every layer; tabs may stand for the commas.

    Raises:
        ConfigError: there is no such file, or no such line, or its values are no numbers below 1.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"bert_score: the baseline {path!r} cannot be read: {error}") from error
    rows = [[cell.strip() for cell in line.replace("\t", ",").split(",")] for line in lines if line.strip()]
    if not rows or rows[0] != ["LAYER", "P", "R", "F"]:
        raise ConfigError(f"bert_score: the baseline {path!r} does not begin with the line LAYER,P,R,F")
    for row in rows[1:]:
        if row[0] == str(layer):
            try:
                precision, recall, f1 = (float(cell) for cell in row[1:])
            except ValueError:
                precision = recall = f1 = math.nan
            if precision < 1 and recall < 1 and f1 < 1:
                return precision, recall, f1
            raise ConfigError(
                f"bert_score: layer {layer} of the baseline {path!r} is not three numbers below 1: {','.join(row)}"
            )
    raise ConfigError(f"bert_score: the baseline {path!r} has no line for layer {layer}")


def _cut(encoder: Any, model: str, layer: int) -> Any:
    """Return the encoder without the layers above `layer`, so that its output is what is compared, and nothing is
    computed in vain.

    Raises:
        ConfigError: there are not so many layers, or it is unknown where they are.
    """
    if hasattr(encoder, "encoder") and hasattr(encoder, "decoder"):
        encoder = encoder.encoder
    if hasattr(getattr(encoder, "encoder", None), "albert_layer_groups"):  # one layer, run many times
        _check_layer(model, layer, encoder.encoder.config.num_hidden_layers)
        encoder.encoder.config.num_hidden_layers = layer
        return encoder
    for path in _STACKS:
        *parents, name = path.split(".")
        owner = encoder
        for parent in parents:
            owner = getattr(owner, parent, None)
        layers = getattr(owner, name, None)
        if layers is not None:
            _check_layer(model, layer, len(layers))
            setattr(owner, name, layers[:layer])
            return encoder
    raise ConfigError(
        f"bert_score cannot use {model!r}: it is unknown where a {type(encoder).__name__} keeps its layers"
    )


def _check_layer(model: str, layer: int, layers: int) -> None:
    if not 0 <= layer <= layers:
        raise ConfigError(f"bert_score: {model!r} has the layers 0 to {layers}, and no layer {layer}")


def _read(output: Any, inputs: dict[str, Tensor]) -> list[_Embedded]:
    vectors = output.last_hidden_state.float()
    vectors = (vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)).cpu()
    rows = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].sum(dim=1).tolist(), vectors, strict=True)
    # copies: a slice would keep the whole batch alive
    return [_Embedded(ids[:size], matrix[:size].clone()) for ids, size, matrix in rows]


def _greedy(
    candidate: Tensor, own: Tensor | None, reference: Tensor, weights: Tensor | None
) -> tuple[float, float, float]:
    """Precision, recall and F1 of one pair: embeddings (n, d) and weights (n,) of each."""
    if own is None or weights is None:
        return 0.0, 0.0, 0.0
    similarities = candidate @ reference.T
    precision = float(similarities.amax(dim=1) @ own)
    recall = float(similarities.amax(dim=0) @ weights)
    f1 = 2 * precision * recall / (precision + recall) if precision > 0 and recall > 0 else 0.0
    return precision, recall, f1


def _hash(texts: Sequence[str]) -> str:
    """Of the texts, whatever their order."""
    digests = sorted(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:8]
