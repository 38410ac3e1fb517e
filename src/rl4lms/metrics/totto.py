"""The metrics of ToTTo: PARENT and BLEU of all rows, and of the rows whose table headers training data has or has not
("overlap").

Source: Parikh et al., "ToTTo: A Controlled Table-To-Text Generation Dataset" (2020), and its evaluation script
(google-research/language, totto). PARENT's precision looks at the whole table, its recall at the highlighted cells;
titles belong to both. Texts and cells are lower-cased and tokenised as by sacrebleu.

The data columns are those of ToTTo's own JSON: `table` (rows of cells `{"value": ...}`), `highlighted_cells` (pairs of
row and column index) and, where they are there, `table_page_title`, `table_section_title`, `table_section_text` and
`overlap_subset`. The references are the final sentences of `sentence_annotations`.

Deviations: the script runs a detokenizer over its files first, which changes texts with detached punctuation only; and
it fills up to three references with the text `<null>`. PARENT expects nothing of that "reference", so a text that
copies the table can score best against it: here only `null_references=True` does so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Annotated, Any, Literal

from rl4lms.errors import DataError, nth_row
from rl4lms.metrics.parent import Score, Table, best_score, table_of, words_13a, words_between_spaces
from rl4lms.metrics.sacre import SacreBleu
from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option
from rl4lms.types import CorpusValue

NullReferences = Annotated[
    bool,
    Option("fill up to three references with <null>, as ToTTo's script does: its exact numbers, but no fair reward"),
]


class TottoParent:
    """PARENT of ToTTo, in [0, 1] for each text.

    Keys: `totto_parent` (F1), `totto_parent_precision`, `totto_parent_recall`; the same with `totto_parent_overlap` and
    `totto_parent_non_overlap`, where rows of the other subset, and rows whose `overlap_subset` is not known, have no
    value.
    """

    higher_is_better = True
    needs_references = True
    reward_key = "totto_parent"

    def __init__(
        self,
        null_references: NullReferences = False,
        tokenize: Annotated[
            Literal["13a", "whitespace"],
            Option("words of texts; 13a is that of ToTTo's script, whitespace that of its test. Tables are always 13a"),
        ] = "13a",
    ) -> None:
        self._at_least = 3 if null_references else 0
        self._words = words_13a if tokenize == "13a" else words_between_spaces
        self._watch = Watch("totto_parent", SPACES)
        self.signature = signature(
            "totto_parent",
            tokenize=tokenize,
            entailment="overlap",
            recall_weight="auto",
            null_references=null_references,
        )

    def __call__(
        self,
        completions: Sequence[str],
        references: Sequence[tuple[str, ...]],
        table: Sequence[Any],
        highlighted_cells: Sequence[Any],
        table_page_title: Sequence[str | None] | None = None,
        table_section_title: Sequence[str | None] | None = None,
        table_section_text: Sequence[str | None] | None = None,
        overlap_subset: Sequence[bool | None] | None = None,
        **columns: Any,
    ) -> dict[str, list[float | None]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference, a table is none, or a highlighted cell is not in it.
        """
        references = check_references("totto_parent", references)
        self._watch.look(chain.from_iterable(references), self._words)
        nothing = [None] * len(completions)
        titles = zip(
            table_page_title or nothing, table_section_title or nothing, table_section_text or nothing, strict=True
        )
        scores = []
        for row, (text, texts, cells, chosen, (page, section, around)) in enumerate(
            zip(completions, references, table, highlighted_cells, titles, strict=True)
        ):
            read = _table(row, cells, chosen, [page, section], around)
            scores.append(
                best_score(self._words(text), [self._words(other) for other in _filled(texts, self._at_least)], read)
            )
        values: dict[str, list[float | None]] = {}
        for name, subset in (
            ("totto_parent", None),
            ("totto_parent_overlap", True),
            ("totto_parent_non_overlap", False),
        ):
            kept = [subset is None or flag is subset for flag in _flags(overlap_subset or nothing)]
            values |= _columns(name, [score if keep else None for score, keep in zip(scores, kept, strict=True)])
        return values


class TottoBleu:
    """BLEU of ToTTo, 0 to 100: corpus values `totto_bleu`, `totto_bleu_overlap` and `totto_bleu_non_overlap`, and
    `sentence_totto_bleu`.

    Case is ignored. A subset without rows has no value. As a reward: the value of each text, divided by 100.
    """

    higher_is_better = True
    needs_references = True
    reward_key = "sentence_totto_bleu"

    def __init__(self, null_references: NullReferences = False) -> None:
        self._at_least = 3 if null_references else 0
        self._bleu = SacreBleu(lowercase=True)

    @property
    def signature(self) -> dict[str, str]:
        """Sacrebleu's own."""
        corpus, sentence = self._bleu.signature["sacrebleu"], self._bleu.signature["sentence_sacrebleu"]
        return {
            "totto_bleu": corpus,
            "totto_bleu_overlap": corpus,
            "totto_bleu_non_overlap": corpus,
            self.reward_key: sentence,
        }

    def __call__(
        self,
        completions: Sequence[str],
        references: Sequence[tuple[str, ...]],
        overlap_subset: Sequence[bool | None] | None = None,
        **columns: Any,
    ) -> dict[str, CorpusValue | list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("totto_bleu", references)
        references = [_filled(texts, self._at_least) for texts in references]
        flags = _flags(overlap_subset or [None] * len(completions))
        values: dict[str, CorpusValue | list[float]] = {}
        # all rows last: the signature is that of the last batch
        for name, subset in (("totto_bleu_overlap", True), ("totto_bleu_non_overlap", False)):
            rows = [row for row, flag in enumerate(flags) if flag is subset]
            if rows:
                of_rows = self._bleu([completions[row] for row in rows], [references[row] for row in rows])
                value = of_rows["sacrebleu"]
                assert isinstance(value, CorpusValue)
                values[name] = replace(value, n=len(rows))
        of_all = self._bleu(completions, references)
        return {"totto_bleu": of_all["sacrebleu"], **values, self.reward_key: of_all["sentence_sacrebleu"]}

    def as_reward(self, key: str, value: float) -> float:
        """Return the value in [0, 1]."""
        return value / 100


def _filled(texts: tuple[str, ...], at_least: int) -> tuple[str, ...]:
    return (*texts, *["<null>"] * (at_least - len(texts)))


def _table(row: int, cells: Any, chosen: Any, titles: list[str | None], around: str | None) -> Table:
    """Return the whole table for precision, the highlighted cells for recall.

    Args:
        row: for messages.
        cells, chosen: the columns `table` and `highlighted_cells` of the row.
        titles: belong to both.
        around: the text of the section; belongs to the whole table only.
    """
    try:
        whole = [words_13a(_value(cell)) for line in cells for cell in line]
        highlighted = [words_13a(_value(cells[line][place])) for line, place in chosen]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"totto_parent: table or highlighted_cells of {nth_row(row)} is not as expected (rows of cells with a "
            f"value; pairs of row and column index): {type(error).__name__}: {error}"
        ) from error
    except IndexError as error:
        raise DataError(
            f"totto_parent: highlighted_cells of {nth_row(row)} names a cell that its table does not have"
        ) from error
    extra = [words_13a(title.replace("|", "-")) for title in titles if title]
    return Table(
        table_of([*whole, *extra, *([words_13a(around.replace("|", "-"))] if around else [])]).vocabulary,
        table_of([*highlighted, *extra]).values,
    )


def _value(cell: Any) -> str:
    value: str = cell["value"].strip()
    return value.replace("|", "-")


_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "none": None, "": None}


def _flags(subset: Sequence[Any]) -> list[bool | None]:
    """Return the column `overlap_subset`; files may have 0 and 1, and those of CSV have words.

    Raises:
        DataError: a row has something else.
    """
    for row, flag in enumerate(subset):
        if str(flag).lower() not in _FLAGS:
            raise DataError(f"totto: overlap_subset of {nth_row(row)} must be true, false or null, got {flag!r}")
    return [_FLAGS[str(flag).lower()] for flag in subset]


def _columns(name: str, scores: list[Score | None]) -> dict[str, list[float | None]]:
    return {
        name: [None if score is None else score.f for score in scores],
        f"{name}_precision": [None if score is None else score.precision for score in scores],
        f"{name}_recall": [None if score is None else score.recall for score in scores],
    }
