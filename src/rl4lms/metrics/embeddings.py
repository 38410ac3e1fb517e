"""Embedding similarity: the cosine of the embeddings of two texts by a sentence encoder (Reimers and Gurevych,
2019).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rl4lms.metrics.pretrained import Memory, load_runner
from rl4lms.metrics.runner import RunnerOptions
from rl4lms.metrics.support import check_references, signature
from rl4lms.plugins.options import Option

if TYPE_CHECKING:
    from torch import Tensor

# Rows whose embeddings are held at the same time, and bytes of those of references and prompts that are kept.
_ROWS, _KEPT = 1024, 64 << 20


@dataclass(kw_only=True, eq=False)
class EmbeddingSimilarity(RunnerOptions):
    """Cosine in [-1, 1] of a text and the most similar of its references, or its prompt, under the key
    `embedding_similarity`.

    The embedding is the mean of the encoder's last states over all tokens, special ones included, or the state of the
    first token, as sentence-transformers' pooling computes it. Its further modules (`Dense` and the like) are not read,
    and the length it cuts texts to has to be given as `max_tokens`. The empty text has an embedding like any other,
    that of its special tokens.

    Raises:
        MissingPartError: the model is not here and cannot be downloaded.
        ModelError: the model cannot be loaded.
    """

    higher_is_better = True
    uses_model = True

    model: Annotated[str, Option("an encoder: Hub id or folder", min_length=1)]
    pooling: Annotated[Literal["mean", "cls"], Option("the mean of the last states, or that of the first token")] = (
        "mean"
    )
    to: Annotated[Literal["references", "prompts"], Option("what completions are compared with")] = "references"

    def __post_init__(self) -> None:
        from transformers import AutoModel

        # BERT's own pooling layer is not used, and many checkpoints lack it
        self._runner = load_runner(
            "embedding_similarity", AutoModel, self.model, "encoder", self, need=lambda name: "pooler" not in name
        )
        shown = {"model": self.model, "pooling": self.pooling, "to": self.to, "max_tokens": self.max_tokens}
        self.signature = signature("embedding_similarity", **shown)
        self._kept: Memory[Tensor] = Memory(_KEPT, lambda vector: vector.numel() * 4)

    @property
    def needs_references(self) -> bool:
        """Whether texts are compared with references."""
        return self.to == "references"

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: texts are compared with references, and a row has none.
        """
        if self.to == "references":
            references = check_references("embedding_similarity", references)
        others = references if self.to == "references" else [(prompt,) for prompt in prompts]
        rows = list(zip(completions, others, strict=True))
        values = [value for start in range(0, len(rows), _ROWS) for value in self._values(rows[start : start + _ROWS])]
        return {"embedding_similarity": values}

    def _values(self, rows: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        embedded = self._embedded(
            [completion for completion, _ in rows], chain.from_iterable(texts for _, texts in rows)
        )
        return [max(float(embedded[completion] @ embedded[text]) for text in texts) for completion, texts in rows]

    def _embedded(self, completions: Iterable[str], others: Iterable[str]) -> dict[str, Tensor]:
        """(d,) of length 1 for every text; those of `others` are remembered."""
        of_others = dict.fromkeys(others)
        known = {text: found for text in of_others if (found := self._kept.get(text)) is not None}
        new = [text for text in dict.fromkeys(chain(of_others, completions)) if text not in known]
        for text, found in zip(new, self._runner.run(new, self._read), strict=True):
            known[text] = found
            if text in of_others:
                self._kept.put(text, found)
        return known

    def _read(self, output: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
        states = output.last_hidden_state.float()
        if self.pooling == "cls":
            pooled = states[:, 0]
        else:
            mask = inputs["attention_mask"].unsqueeze(-1)
            pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
        pooled = pooled / pooled.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return [vector.clone() for vector in pooled.cpu()]
