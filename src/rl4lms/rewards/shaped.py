"""Dense rewards from sequence scores: what each token adds to the score of the text so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rl4lms.errors import RewardError
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import Option
from rl4lms.rewards.call import RewardOutput
from rl4lms.rewards.composite import Composite, composed, refuse_dense, score_part
from rl4lms.rewards.resolve import build, name_inside

if TYPE_CHECKING:
    from rl4lms.rollout.texts import Decoder

# What stays the same while a completion grows.
_OF_PROMPT = ("prompts", "full_prompts", "prompt_ids", "references", "conversations", "full_conversations")


class Shaped(Composite):
    """A sequence score Φ paid in increments: token t gets Φ(prefix up to t) - Φ(prefix before t), with Φ(no text) = 0.

    Potential-based shaping (Ng, Harada and Russell, 1999) with γ = 1: the tokens of a completion sum up to its sequence
    score, so that the optimal policy stays, while credit comes earlier. (With a discount below 1 what comes earlier
    also counts more.) Φ must make sense for an unfinished text, as ROUGE, METEOR or coverage do.

    With `every: word` a prefix is scored where a word is complete, that is, at the token before white space or
    punctuation, and at the last token: about as many calls as words. With `every: token` each token's payment depends
    on the tokens up to it alone, which `TextGenEnv` needs.
    """

    whole = "shaped"

    def __init__(
        self,
        reward: Annotated[Component, Option("Φ, one score per completion; called once with every prefix of the batch")],
        every: Annotated[
            Literal["token", "word"], Option("a prefix per token, or only where a word is complete: fewer calls")
        ] = "word",
    ) -> None:
        self._key = name_inside(reward)
        self.inner = (build(reward),)
        self._every = every
        self._decode: Decoder | None = None

    def use_tokenizer(self, decode: Decoder) -> None:
        """How token ids become texts; a run gives the policy's own tokenizer, without special tokens."""
        self._decode = decode

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`; also RewardError without a tokenizer, or for a dense
        reward inside.
        """
        ids, texts = batch["completion_ids"], batch["completions"]
        places: list[list[int]] = []  # of each row: the tokens after which the prefix is scored; the last one always
        prefixes: list[str] = []
        rows: list[int] = []
        for row, (row_ids, text) in enumerate(zip(ids, texts, strict=True)):
            of_row = self._prefixes(row_ids, text)
            places.append(list(of_row))
            prefixes += of_row.values()
            rows += [row] * len(of_row)
        begun = [[list(row_ids[: place + 1]) for place in of_row] for row_ids, of_row in zip(ids, places, strict=True)]
        of_prompt = {name: batch[name] for name in _OF_PROMPT if name in batch}
        inner = {
            **{name: value for name, value in batch.items() if name != "texts"},
            **{name: [values[row] for row in rows] for name, values in of_prompt.items()},
            "completions": prefixes,
            "completion_ids": list(chain.from_iterable(begun)),
            "columns": {name: [values[row] for row in rows] for name, values in batch["columns"].items()},
        }
        if "prompt_ids" in batch and "texts" in batch:
            inner["texts"] = self._with_prompts(batch, begun)
        output = score_part(self.whole, self._key, self.inner[0], inner)
        faults = tuple(fault if fault.row is None else replace(fault, row=rows[fault.row]) for fault in output.faults)
        output = replace(output, faults=faults)
        potentials = refuse_dense("reward 'shaped'", output)
        dense, start = [], 0
        for row_ids, paid in zip(ids, places, strict=True):
            dense.append(_increments(len(row_ids), paid, potentials[start : start + len(paid)]))
            start += len(paid)
        finals = [place for place, row in enumerate(rows) if place + 1 == len(rows) or rows[place + 1] != row]
        parts = {name: _at(values, rows, finals, len(ids)) for name, values in output.parts.items()}
        return composed("reward 'shaped'", dense, batch, {"": replace(output, parts=parts)}, {})

    def _prefixes(self, ids: Sequence[int], text: str) -> dict[int, str]:
        """Return token place -> text up to it."""
        if self._decode is None:
            raise RewardError(
                "reward 'shaped' has no tokenizer to make prefixes with; a run gives it one, elsewhere call "
                "use_tokenizer"
            )
        if not ids:
            return {}
        shorter = [list(ids[: place + 1]) for place in range(len(ids) - 1)]
        # tokenizers take an empty batch for an empty text; half a character is none yet
        texts = [prefix.rstrip("\ufffd") for prefix in self._decode(shorter)] if shorter else []
        texts.append(text)
        if self._every == "word":
            kept = [place for place in range(len(ids) - 1) if _ends_word(texts[place], texts[place + 1])]
        else:
            kept = list(range(len(ids) - 1))
        return {place: texts[place] for place in [*kept, len(ids) - 1]}

    def _with_prompts(self, batch: Mapping[str, Any], begun: Sequence[Sequence[list[int]]]) -> list[str]:
        """Return the text of every prefix with its prompt before it."""
        found: list[str] = []
        for prompt, of_row, text in zip(batch["prompt_ids"], begun, batch["texts"], strict=True):
            if of_row:
                assert self._decode is not None  # `_prefixes` says so otherwise
                shorter = self._decode.beginnings(prompt, of_row[:-1])
                found += [*(prefix.rstrip("\ufffd") for prefix in shorter), text]
        return found


def _ends_word(text: str, longer: str) -> bool:
    """Return whether the last word of `text` is complete, as what comes next shows."""
    added = longer[len(text) :] if longer.startswith(text) else ""
    return bool(text) and text[-1].isalnum() and bool(added) and not added[0].isalnum()


def _increments(length: int, places: Sequence[int], potentials: Sequence[float | None]) -> list[float] | None:
    """Return one number per token that sum up to the last potential; None where a potential is missing."""
    if any(potential is None for potential in potentials):
        return None
    row, before = [0.0] * length, 0.0
    for place, potential in zip(places, potentials, strict=True):
        row[place] = potential - before  # type: ignore[operator]
        before = potential  # type: ignore[assignment]
    if places:
        row[-1] = before - math.fsum(row[:-1])  # to the last digit
    return row


def _at(values: Sequence[float | None], rows: Sequence[int], finals: Sequence[int], n: int) -> list[float | None]:
    """Of values per prefix those of whole completions."""
    whole: list[float | None] = [None] * n
    for place in finals:
        whole[rows[place]] = values[place]
    return whole
