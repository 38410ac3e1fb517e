"""SARI: what a simplification adds, keeps and deletes of its source (Xu et al., 2016)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Any, Literal

from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option

_ORDERS = (1, 2, 3, 4)
_tokenize_13a = Tokenizer13a()

Grams = Counter[tuple[str, ...]]


class Sari:
    """SARI in [0, 100] of each text, under the key `sari`: the mean of `sari_add` (F1 of n-grams that are new), of
    `sari_keep` (F1 of those kept of the source) and of `sari_delete` (precision of those left out), each the mean over
    n = 1 to 4. The source is the prompt, as it was before it was cut.

    An n-gram that is kept or deleted counts by the share of the references that do so, too. `standard` gives the
    numbers of Hugging Face's `evaluate` and of GEM-metrics (after tensor2tensor): where there is nothing to add, keep
    or delete, precision and recall are 1; `xu` those of the authors' script, where they are 0 and the recall of what is
    kept is a mean over n-grams rather than over their counts. Not the value of a corpus that EASSE computes from summed
    counts. As a reward: divided by 100.
    """

    higher_is_better = True
    needs_references = True
    needs_prompts = True
    reward_key = "sari"

    def __init__(
        self,
        formula: Annotated[
            Literal["standard", "xu"], Option("standard: as evaluate and GEM; xu: as the authors' script")
        ] = "standard",
        tokenize: Annotated[
            Literal["13a", "whitespace"], Option("13a: as evaluate and GEM; whitespace: for text that is tokenised")
        ] = "13a",
        lowercase: Annotated[bool, Option("ignore case")] = True,
    ) -> None:
        self._standard, self._tokenize, self._lowercase = formula == "standard", tokenize, lowercase
        self._watch = Watch("sari", SPACES)
        self.signature = signature("sari", formula=formula, tok=tokenize, case="lc" if lowercase else "mixed")

    def __call__(
        self,
        full_prompts: Sequence[str],
        completions: Sequence[str],
        references: Sequence[tuple[str, ...]],
        **columns: Any,
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("sari", references)
        self._watch.look(chain.from_iterable(references), self._words)
        rows = [self._row(*row) for row in zip(full_prompts, completions, references, strict=True)]
        add, keep, delete = ([100 * row[part] for row in rows] for part in range(3))
        means = [sum(parts) / 3 for parts in zip(add, keep, delete, strict=True)]
        return {"sari": means, "sari_add": add, "sari_keep": keep, "sari_delete": delete}

    def as_reward(self, key: str, value: float) -> float:
        """Return the value in [0, 1]."""
        return value / 100

    def _words(self, text: str) -> list[str]:
        text = text.lower() if self._lowercase else text
        return (_tokenize_13a(text) if self._tokenize == "13a" else text).split()

    def _row(self, source: str, completion: str, texts: tuple[str, ...]) -> tuple[float, float, float]:
        """Return what was added, kept and deleted, each the mean over n."""
        old, new, gold = self._words(source), self._words(completion), [self._words(text) for text in texts]
        parts = [
            self._parts(_grams([old], n, len(gold)), _grams([new], n, len(gold)), _grams(gold, n)) for n in _ORDERS
        ]
        add, keep, delete = (sum(values) / len(_ORDERS) for values in zip(*parts, strict=True))
        return add, keep, delete

    def _parts(self, old: Grams, new: Grams, gold: Grams) -> tuple[float, float, float]:
        """F1 of what is added and kept, precision of what is deleted.

        Args:
            old, new, gold: n-grams of source and text, counted once for each reference, and of the references.
        """
        added, wanted = new.keys() - old.keys(), gold.keys() - old.keys()
        right = len(added & wanted)
        add = _f1(self._share(right, len(added)), self._share(right, len(wanted)))

        kept, keepable = old & new, old & gold
        well = kept & keepable
        precision = self._share(sum(well[gram] / kept[gram] for gram in well), len(kept))
        if self._standard:
            recall = self._share(well.total(), keepable.total())
        else:
            recall = self._share(sum(well[gram] / keepable[gram] for gram in well), len(keepable))
        keep = _f1(precision, recall)

        deleted = old - new
        rightly = deleted - gold
        delete = self._share(sum(rightly[gram] / deleted[gram] for gram in rightly), len(deleted))
        return add, keep, delete

    def _share(self, part: float, whole: float) -> float:
        return part / whole if whole else float(self._standard)


def _grams(texts: Iterable[list[str]], n: int, times: int = 1) -> Grams:
    counts = Counter(gram for words in texts for gram in zip(*(words[shift:] for shift in range(n)), strict=False))
    return Counter({gram: count * times for gram, count in counts.items()})


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
