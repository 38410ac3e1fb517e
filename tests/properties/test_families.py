"""Every family of `transformers` is sampled, scored and trained right, or refused with one message."""

from __future__ import annotations

import pytest

from tests.properties.family_sweep import committed_rows, sweep, without_numbers
from tests.properties.family_zoo import NAMES

# One for each way of being run: positions given, by ALiBi, by a table of one's own, by the cache alone; windows, chunks,
# experts, latent attention, local layers, recurrent states, wrapped decoders, encoders with blocks; and the refusals.
QUICK = (
    "causal:mixtral",
    "causal:gemma3",
    "causal:deepseek_v3",
    "causal:llama4_text",
    "causal:bloom",
    "causal:xlm-roberta",
    "causal:bart",
    "causal:gpt_neo",
    "causal:mamba",
    "causal:falcon_h1",
    "causal:openai-gpt",
    "causal:recurrent_gemma",
    "seq2seq:longt5",
    "seq2seq:switch_transformers",
    "seq2seq:t5gemma",
)


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_the_page_says_what_a_family_does(family: str) -> None:
    found = sweep(family)
    assert found.result != "fails", found.note
    assert without_numbers(found.row()) == without_numbers(committed_rows()[family])


def test_the_page_has_every_family() -> None:
    assert list(committed_rows()) == NAMES
