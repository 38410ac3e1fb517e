"""Every family of `transformers` is sampled, scored and trained right, or refused with one message."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from tests.properties.family_sweep import committed_rows, committed_sharing, loaded, sharing, sweep, without_numbers
from tests.properties.family_zoo import NAMES, zoo_lm

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"

# Ways of being run: experts, ALiBi, a wrapped decoder; and a refusal.
QUICK = (
    "causal:mixtral",
    "causal:bloom",
    "causal:bart",
    "causal:recurrent_gemma",
)


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_the_page_says_what_a_family_does(family: str) -> None:
    found = sweep(family)
    assert found.result != "fails", found.note
    assert without_numbers(found.row()) == without_numbers(committed_rows()[family])


# Each way of sharing a prompt, and each reason not to: windows in all layers or some, positions of its own, ALiBi, a
# recurrent state. The sweep tries all others.
SHARING = (
    "causal:gpt2",
    "causal:llama",
    "causal:qwen3_moe",
    "causal:deepseek_v3",
    "causal:mistral",
    "causal:gemma3_text",
    "causal:bloom",
    "causal:roberta",
    "causal:bart",
    "causal:mamba",
    "seq2seq:t5",
    "seq2seq:bart",
    "seq2seq:encoder-decoder",
)


@pytest.mark.parametrize("family", SHARING)
def test_the_page_says_whether_completions_share_a_prompt(tmp_path: Path, family: str) -> None:
    """Where they do, gradients are those of a prompt for each; where not, it is computed for each."""
    assert sharing(family, loaded(zoo_lm(family), tmp_path)) == committed_sharing(family)


def test_the_page_says_it_of_every_family_that_works() -> None:
    for family, row in committed_rows().items():
        ways = {"encoded once", "no"} if family.startswith("seq2seq") else {"one row", "without windows", "no"}
        assert committed_sharing(family) in (ways if "| works" in row else {""}), family


@pytest.mark.skipif(
    f"transformers=={transformers.__version__}\n" not in CONSTRAINTS.read_text(encoding="utf-8"),
    reason="the page lists the families of the version in constraints.txt",
)
def test_the_page_has_every_family() -> None:
    assert list(committed_rows()) == NAMES
