"""Two perplexities that must not be confused: of what the policy wrote, under a judge; and of human text, under the
policy.

The first is low for a policy that repeats one bland sentence, the second rises when a policy forgets the language.
Reported together they show a collapse. The paper's perplexity is the second one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from rl4lms.errors import DataError
from rl4lms.metrics.runner import AllowPickle, BatchSize, Device
from rl4lms.metrics.sums import corpus_value, ratio
from rl4lms.metrics.support import signature
from rl4lms.plugins.options import Option
from rl4lms.types import CorpusValue, NllOfTexts


class Perplexity:
    """Perplexity of completions given their prompts, under a fixed judge LM.

    Keys: `perplexity`, exp(nats of all completions / tokens of all completions), with its error by the bootstrap over
    completions, left out where no completion has a token; and `nll`, the nats of each completion. EOS is not scored.
    """

    higher_is_better = False
    uses_model = True

    def __init__(
        self,
        model: Annotated[str, Option("Hub id, local folder, or asset:<name> of the task", min_length=1)],
        batch_size: BatchSize = 32,
        max_tokens: Annotated[
            int, Option("prompt and text together; the prompt is cut first, from the left", ge=8)
        ] = 512,
        device: Device = "auto",
        key: Annotated[
            str, Option("name of the result in logs; any but the default also names `<key>_nll`", min_length=1)
        ] = "perplexity",
        allow_pickle: AllowPickle = False,
    ) -> None:
        from rl4lms.models.text_nll import load_text_nll

        self.signature = signature("perplexity", model=model, max_tokens=max_tokens)
        self._key, self._nll_key = key, "nll" if key == "perplexity" else f"{key}_nll"
        self._score: NllOfTexts = load_text_nll(
            model, device=device, batch_size=batch_size, max_tokens=max_tokens, allow_pickle=allow_pickle
        )

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Any
    ) -> dict[str, list[float] | CorpusValue]:
        nats, counts = self._score(list(prompts), list(completions))
        if not sum(counts):
            return {self._nll_key: nats}
        with_tokens = sum(count > 0 for count in counts)
        return {self._key: _perplexity(nats, counts, with_tokens), self._nll_key: nats}


class ReferencePerplexity:
    """Perplexity of the references given their prompts, under the policy that is being evaluated; all references count
    alike.

    Its error is that of the bootstrap over references.
    """

    higher_is_better = False
    needs_policy = True
    signature = signature("reference_perplexity")

    def __call__(
        self,
        full_prompts: Sequence[str],
        references: Sequence[tuple[str, ...]],
        nll_of_texts: NllOfTexts,
        **columns: Any,
    ) -> dict[str, CorpusValue]:
        """Measure each text; the class says under which keys. The policy cuts the prompts itself, as in training.

        Raises:
            DataError: no row has a reference with a token in it.
        """
        # Several completions of one prompt repeat its references, which then would cost more and tell nothing new.
        rows = list(
            dict.fromkeys(
                (p, text) for p, texts in zip(full_prompts, references, strict=True) for text in texts if text
            )
        )
        nats, counts = nll_of_texts([prompt for prompt, _ in rows], [text for _, text in rows]) if rows else ([], [])
        if not sum(counts):
            raise DataError("reference_perplexity: the data has no references; leave the metric out")
        return {"reference_perplexity": _perplexity(nats, counts, sum(map(any, references)))}


def _perplexity(nats: Sequence[float], counts: Sequence[int], n: int) -> CorpusValue:
    """Of texts with these nats and numbers of tokens, from n rows; samples of the bootstrap without any token are left
    out.
    """
    value = corpus_value(list(zip(nats, counts, strict=True)), lambda sums: np.exp(ratio(sums)), n)
    return replace(value, value=math.exp(math.fsum(nats) / sum(counts)))
