"""BLEU, chrF(++) and TER as the sacrebleu package computes them, with its signatures.

Sources: Post (2018); Popović (2015, 2017); Snover et al. (2006).

Each gives a corpus value and one value per text. Corpus values carry a standard error by the bootstrap over texts (200
samples, seeded), from sacrebleu's statistics of each text. Rows may have different numbers of references.

The statistics come from the four methods that sacrebleu's base class asks of every metric (to prepare a text, to take
what is needed of references, to compare, to turn sums into a score), so that what belongs to references is computed
once. The public methods give the same. TER's edits are the exception: see `rl4lms.metrics.ter`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from sacrebleu.metrics.bleu import BLEU, _get_tokenizer
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
from sacrebleu.utils import SACREBLEU_DIR

from rl4lms.errors import MissingPartError
from rl4lms.metrics.bleu import Smoothing
from rl4lms.metrics.sums import corpus_value
from rl4lms.metrics.support import check_references
from rl4lms.metrics.ter import Reference, count_edits
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option
from rl4lms.types import CorpusValue

Options = tuple[tuple[str, Any], ...]


IgnoreCase = Annotated[bool, Option("ignore case")]


SacreTokenizer = Literal[
    "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores101", "flores200", "spm", "spBLEU-1K", "none"
]


class _Adapter:
    """What the three have in common.

    `signature` is sacrebleu's own, which names the number of references: of the batch that was last measured, `var`
    where it differs between rows and before anything was measured.
    """

    needs_references = True
    _remedy = SPACES
    _most = 100.0  # rounding makes perfect texts a little better than that

    def __init__(
        self, key: str, higher_is_better: bool, make: Callable[..., Any], options: dict[str, Any], **sentence: Any
    ) -> None:
        """
        Args:
            key: of the corpus value.
            make, options: sacrebleu's class, and what it is made with.
            sentence: options that are different for single texts.
        """
        self._key, self.reward_key = key, f"sentence_{key}"
        self._make, self._options = make, tuple(options.items())
        self._sentence_options: Options = tuple((options | sentence).items())
        self.higher_is_better = {self._key: higher_is_better, self.reward_key: higher_is_better}
        self.signature = self._signatures(-1)
        self._watch = Watch(key, self._remedy)

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, CorpusValue | list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references(self._key, references)
        self._watch.look(chain.from_iterable(references), self._words)
        scorer, single = _scorer(self._make, self._options), _scorer(self._make, self._sentence_options)
        rows = self._statistics(completions, references)
        counts = {len(texts) for texts in references}
        self.signature = self._signatures(counts.pop() if len(counts) == 1 else -1)
        return {
            self._key: corpus_value(rows, lambda sums: np.array([self._score(scorer, row) for row in sums])),
            self.reward_key: [self._score(single, row) for row in rows],
        }

    def as_reward(self, key: str, value: float) -> float:
        """Return the value in [0, 1]."""
        return value / 100

    def _words(self, text: str) -> list[str]:
        words: list[str] = _scorer(self._make, self._options)._preprocess_segment(text).split()
        return words

    def _statistics(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> Sequence[Sequence[float]]:
        """Of each text, what sacrebleu sums over a corpus."""
        scorer = _scorer(self._make, self._options)
        return [
            scorer._compute_segment_statistics(
                scorer._preprocess_segment(text), _reference_info(self._make, self._options, tuple(texts))
            )
            for text, texts in zip(completions, references, strict=True)
        ]

    def _score(self, scorer: Any, sums: Any) -> float:
        return min(float(scorer._compute_score_from_stats(list(sums)).score), self._most)

    def _signatures(self, number_of_references: int) -> dict[str, str]:
        said = {}
        for key, options in ((self._key, self._options), (self.reward_key, self._sentence_options)):
            scorer = self._make(**dict(options))
            name = scorer.corpus_score(["a"], [["a"]]).name  # BLEU, chrF2, chrF2++, TER
            scorer.num_refs = number_of_references
            said[key] = f"{name}|{scorer.get_signature()}"
        return said


class SacreBleu(_Adapter):
    """BLEU, 0 to 100: corpus value `sacrebleu`, and `sentence_sacrebleu` of each text with `effective_order`, as
    sacrebleu advises.

    0 for a text that shares no word with its references. As a reward: divided by 100.

    `ja-mecab` and `ko-mecab` need the extras of sacrebleu (`pip install "sacrebleu[ja]"`, `"sacrebleu[ko]"`);
    `flores101` (also called `spm`), `flores200` and `spBLEU-1K` need the package sentencepiece, and a model that
    sacrebleu downloads once into its folder (~/.sacrebleu, or what SACREBLEU names). Without them the metric is absent.
    """

    _remedy = "set tokenize: zh (Chinese), ja-mecab (Japanese) or char, or use chrf"

    def __init__(
        self,
        tokenize: Annotated[
            SacreTokenizer,
            Option("13a: Western languages; intl: Unicode punctuation; none: tokenised text"),
        ] = "13a",
        lowercase: IgnoreCase = False,
        smoothing: Annotated[Smoothing, Option("exp, floor (0.1), add-k (1) or none")] = "exp",
    ) -> None:
        require_tokenizer(tokenize)
        # force: no warning about tokenised text, which is what many models write
        options = {"tokenize": tokenize, "lowercase": lowercase, "smooth_method": smoothing, "force": True}
        super().__init__("sacrebleu", True, BLEU, options, effective_order=True)


class Chrf(_Adapter):
    """Character n-gram F-score, 0 to 100: corpus value `chrf` and `sentence_chrf` of each text; `chrf++` with word
    n-grams.

    0 for a text without characters other than white space, and against such a reference. As a reward: divided by 100.
    """

    def __init__(
        self,
        char_order: Annotated[int, Option("character n-grams up to this length", ge=1)] = 6,
        word_order: Annotated[int, Option("word n-grams up to this length; 2: chrF++", ge=0)] = 0,
        beta: Annotated[int, Option("how much more recall counts than precision", ge=1)] = 2,
        lowercase: IgnoreCase = False,
        eps_smoothing: Annotated[
            bool,
            Option("add a little to precision and recall, as chrF++.py and GEM do; else skip empty orders"),
        ] = False,
        whitespace: Annotated[bool, Option("white space counts as a character")] = False,
    ) -> None:
        options = {"char_order": char_order, "word_order": word_order, "beta": beta, "lowercase": lowercase}
        options |= {"eps_smoothing": eps_smoothing, "whitespace": whitespace}
        super().__init__("chrf" + "+" * word_order, True, CHRF, options)

    def _words(self, text: str) -> list[str]:
        return list(text)  # whatever the script


class Ter(_Adapter):
    """Translation edit rate: edits (a shift of words counts as one) in per cent of the mean reference length; lower is
    better.

    Corpus value `ter` and `sentence_ter` of each text; can exceed 100. Against an empty reference: 0 for an empty text,
    else 100. As a reward: 1 - value/100, as in the original library, below 0 for texts that need more edits than the
    reference has words.

    Edits are counted by `rl4lms.metrics.ter`, which finds sacrebleu's numbers without its half minute for 64 long texts
    that repeat words.
    """

    _remedy = "set normalized and asian_support, or use chrf"
    _most = math.inf

    def __init__(
        self,
        normalized: Annotated[bool, Option("split punctuation from words")] = False,
        no_punct: Annotated[bool, Option("remove punctuation")] = False,
        asian_support: Annotated[
            bool, Option("Chinese and Japanese characters are words, with the two options above")
        ] = False,
        case_sensitive: Annotated[bool, Option("case counts")] = False,
    ) -> None:
        options = {
            "normalized": normalized,
            "no_punct": no_punct,
            "asian_support": asian_support,
            "case_sensitive": case_sensitive,
        }
        super().__init__("ter", False, TER, options)

    def _statistics(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> Sequence[Sequence[float]]:
        """Edits of each text to the reference that needs fewest, and the mean length of its references."""
        scorer = _scorer(self._make, self._options)
        words = [scorer._preprocess_segment(text).split() for text in completions]
        tokenised = [[_ter_reference(self._options, text) for text in texts] for texts in references]
        pairs = [(text, reference) for text, row in zip(words, tokenised, strict=True) for reference in row]
        edits = iter(count_edits(pairs))
        return [
            [min(next(edits) for _ in row), sum(len(reference.words) for reference in row) / len(row)]
            for row in tokenised
        ]

    def as_reward(self, key: str, value: float) -> float:
        """1 for no edits."""
        return 1 - value / 100


def require_tokenizer(name: str) -> None:
    """Try a tokenizer of sacrebleu that needs more than the package.

    Raises:
        MissingPartError: what it needs is not there.
    """
    extra = {"ja-mecab": "ja", "ko-mecab": "ko"}.get(name)
    if extra is None and name not in _SENTENCEPIECE:
        return
    try:
        _get_tokenizer(name)()
    except (ImportError, RuntimeError, OSError, SystemExit) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if extra is not None:
            raise MissingPartError(
                f"the dictionary or program of sacrebleu's tokenizer {name!r}", f'run: pip install "sacrebleu[{extra}]"'
            ) from error
        if isinstance(error, ImportError):
            raise MissingPartError(
                f"the package sentencepiece, which sacrebleu's tokenizer {name!r} needs,",
                "run: pip install sentencepiece",
            ) from error
        model = SPM_MODELS[SPM_MODELS[name]["signature"]]["url"]
        place = Path(SACREBLEU_DIR) / "models" / model.rpartition("/")[2]
        raise MissingPartError(
            f"the model of sacrebleu's tokenizer {name!r}",
            f"it could not be downloaded or read ({reason}); put {model} there yourself, as {place}",
        ) from error


_SENTENCEPIECE = ("flores101", "flores200", "spm", "spBLEU-1K")


@lru_cache(maxsize=32)
def _scorer(make: Callable[..., Any], options: Options) -> Any:
    return make(**dict(options))


@lru_cache(maxsize=1 << 10)  # tens of kilobytes each for chrF
def _reference_info(make: Callable[..., Any], options: Options, texts: tuple[str, ...]) -> dict[str, Any]:
    scorer = _scorer(make, options)
    info: dict[str, Any] = scorer._extract_reference_info([scorer._preprocess_segment(text) for text in texts])
    return info


@lru_cache(maxsize=1 << 14)
def _ter_reference(options: Options, text: str) -> Reference:
    return Reference(tuple(_scorer(TER, options)._preprocess_segment(text).split()))
