"""Flex attention for rows that hold a prompt and its completions, against SDPA with a mask.

PyTorch refuses its backward pass on a CPU, though the operator has one that is not compiled: here it is let through.
tests/gpu has the compiled one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention as of_torch
from transformers import PreTrainedModel

from rl4lms.core.packing import Packed
from rl4lms.core.padding import pad
from rl4lms.errors import ModelError
from rl4lms.models import build, flex
from rl4lms.models.build import checkpoint_layers
from rl4lms.models.families import CausalFamily
from rl4lms.models.family_check import family_of
from rl4lms.models.flex import ATTENTION, block_mask, set_attention
from rl4lms.training.run import assemble
from tests.runs import small_recipe
from tests.tiny import tiny_lm

PROMPTS = [[5, 6, 7, 8, 9], [11, 3], [12]]
COMPLETIONS = [[10, 11, 12], [13], [], [20, 21], [22, 23, 24, 25], [26, 27]]


def rows() -> Packed:
    return Packed(*pad(PROMPTS, 0, "left"), *pad(COMPLETIONS, 0, "right"))


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(of_torch, "_validate_device", lambda *tensors: None)
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attention of each layer, as it is computed."""
    seen: list[str] = []

    def noted(name: str, plain: Any) -> Any:
        def attend(*given: Any, **options: Any) -> Any:
            seen.append(name)
            return plain(*given, **options)

        return attend

    for name in ("flex", "sdpa"):
        function = f"{name}_attention_forward"
        monkeypatch.setattr(flex, function, noted(name, getattr(flex, function)))
    return seen


def states_and_gradients(lm: PreTrainedModel) -> tuple[Tensor, dict[str, Tensor]]:
    family = family_of(lm, ())
    assert isinstance(family, CausalFamily)
    lm.zero_grad()
    states = family.packed(rows())
    (states * torch.randn(states.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    return states.detach(), {name: p.grad.clone() for name, p in lm.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "opt"])
@pytest.mark.usefixtures("not_compiled")
def test_states_and_gradients_are_those_of_sdpa(name: str, checkpointing: bool, calls: list[str]) -> None:
    lm = tiny_lm(name).eval()
    if checkpointing:
        checkpoint_layers(lm)
    wanted, of_sdpa = states_and_gradients(lm)
    assert not calls
    set_attention(lm, True)
    assert lm.config._attn_implementation == ATTENTION
    calls.clear()
    found, of_flex = states_and_gradients(lm)
    assert set(calls) == {"flex", "sdpa"}  # the model was tried again, its own forward and cached decoding by SDPA
    assert lm.shares_prompts
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert of_flex.keys() == of_sdpa.keys()
    largest = max(float(gradient.norm()) for gradient in of_sdpa.values())
    for key, gradient in of_sdpa.items():  # that of a key's bias is 0 but for rounding
        assert (of_flex[key] - gradient).norm() <= 1e-5 * max(float(gradient.norm()), 0.01 * largest), key
    set_attention(lm, False)
    calls.clear()
    assert torch.equal(states_and_gradients(lm)[0], wanted)
    assert not calls


def test_the_mask_is_that_of_sdpa() -> None:
    packed = rows()
    batch, query, key = (torch.arange(n).view(shape) for n, shape in ((3, (3, 1, 1)), (packed.width, (1, -1, 1)), (packed.width, (1, 1, -1))))  # fmt: skip
    seen = block_mask(packed.part).mask_mod(batch, torch.tensor(0), query, key)
    assert torch.equal(seen, packed.mask("sdpa", torch.float32)[:, 0])


@pytest.mark.parametrize(("prompt", "completion", "n"), [(200, 700, 4), (1000, 300, 8), (64, 48, 4)])
def test_what_is_computed_is_about_what_it_is_taken_to_be(prompt: int, completion: int, n: int) -> None:
    packed = Packed(*pad([[1] * prompt], 0, "left"), *pad([[1] * completion] * n, 0, "right"))
    blocks = block_mask(packed.part)
    computed = float(blocks.kv_num_blocks.sum() + blocks.full_kv_num_blocks.sum()) * 128 * 128
    at_least, at_most = 0.6 * packed.pairs(flex=True), 1.4 * packed.pairs(flex=True)
    if packed.width > 1000:
        assert at_least <= computed <= at_most
        assert computed < 0.6 * packed.width**2  # what SDPA computes


def test_long_completions_pay_where_blocks_are_left_out() -> None:
    packed = Packed(*pad([[1] * 800], 0, "left"), *pad([[1] * 1000] * 8, 0, "right"))
    assert not packed.pays(512)
    assert packed.pays(512, flex=True)
    short = Packed(*pad([[1] * 2], 0, "left"), *pad([[1] * 200] * 8, 0, "right"))
    assert not short.pays(64, flex=True)  # nearly nothing is shared


@pytest.mark.usefixtures("not_compiled")
def test_a_model_with_it_is_saved_as_any_other(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2").eval()
    set_attention(lm, True)
    lm.save_pretrained(tmp_path)
    assert ATTENTION not in (tmp_path / "config.json").read_text()
    assert "attn_implementation" not in json.loads((tmp_path / "config.json").read_text())


def test_what_cannot_have_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = tiny_lm("gpt2").eval()
    eager.set_attn_implementation("eager")
    with pytest.raises(ModelError, match="takes the place of SDPA, which GPT2LMHeadModel does not have; leave it out"):
        set_attention(eager, True)
    recipe = small_recipe(tmp_path, model={"attention": "flex"})
    with pytest.raises(ModelError, match="no backward pass on a CPU; leave it out, or set device: cuda"):
        assemble(recipe, tmp_path / "run")
    t5 = small_recipe(tmp_path / "t5", "t5", model={"attention": "flex"})
    monkeypatch.setattr(build, "refuse_contradictions", lambda *given: None)
    with pytest.raises(ModelError, match="which T5ForConditionalGeneration does not run; leave it out"):
        build.build_models(t5.model, torch.device("cpu"))
