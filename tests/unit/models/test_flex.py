"""Flex attention for rows that hold a prompt and its completions, against SDPA with a mask.

PyTorch refuses its backward pass on a CPU, though the operator has one that is not compiled: here it is let through.
tests/gpu has the compiled one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention as of_torch
from transformers import PreTrainedModel

from rl4lms.checks.dry_run import describe
from rl4lms.config.model import ModelConfig
from rl4lms.core.packing import Packed
from rl4lms.core.padding import pad
from rl4lms.errors import ModelError
from rl4lms.models import build, flex
from rl4lms.models.build import checkpoint_layers
from rl4lms.models.families import CausalFamily
from rl4lms.models.family_check import family_of
from rl4lms.models.flex import block_mask, use_flex
from rl4lms.runs.fingerprint import fingerprint
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
    assert "flex" not in calls
    use_flex(lm, True)
    assert lm.config._attn_implementation == "sdpa"
    calls.clear()
    found, of_flex = states_and_gradients(lm)
    assert set(calls) == {"flex", "sdpa"}  # the model was tried again, its own forward and cached decoding by SDPA
    assert lm.shares_prompts
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert of_flex.keys() == of_sdpa.keys()
    largest = max(float(gradient.norm()) for gradient in of_sdpa.values())
    for key, gradient in of_sdpa.items():  # that of a key's bias is 0 but for rounding
        assert (of_flex[key] - gradient).norm() <= 1e-5 * max(float(gradient.norm()), 0.01 * largest), key
    use_flex(lm, False)
    calls.clear()
    assert torch.equal(states_and_gradients(lm)[0], wanted)
    assert set(calls) == {"sdpa"}


def test_the_mask_is_that_of_sdpa() -> None:
    packed = rows()
    batch, query, key = (torch.arange(n).view(shape) for n, shape in ((3, (3, 1, 1)), (packed.width, (1, -1, 1)), (packed.width, (1, 1, -1))))  # fmt: skip
    seen = block_mask(packed.part).mask_mod(batch, torch.tensor(0), query, key)
    assert torch.equal(seen, packed.mask("sdpa", torch.float32)[:, 0])


@pytest.mark.parametrize(
    ("prompt", "completion", "n"), [([200], 700, 4), ([1000], 300, 8), ([2000], 200, 16), ([2000, 1000, 200], 400, 6)]
)
def test_what_is_computed_is_about_what_it_is_taken_to_be(prompt: list[int], completion: int, n: int) -> None:
    completions = [[1] * completion] * n * len(prompt)
    packed = Packed(*pad([[1] * length for length in prompt], 0, "left"), *pad(completions, 0, "right"))
    blocks = block_mask(packed.part)
    computed = float(blocks.kv_num_blocks.sum() + blocks.full_kv_num_blocks.sum()) * 128 * 128
    assert 0.6 * packed.pairs(flex=True) <= computed <= 1.4 * packed.pairs(flex=True)
    assert computed < 0.6 * len(prompt) * packed.width**2  # what SDPA computes


def test_long_completions_pay_where_blocks_are_left_out() -> None:
    packed = Packed(*pad([[1] * 800], 0, "left"), *pad([[1] * 1000] * 8, 0, "right"))
    assert not packed.pays(512)
    assert packed.pays(512, flex=True)
    short = Packed(*pad([[1] * 2], 0, "left"), *pad([[1] * 200] * 8, 0, "right"))
    assert not short.pays(64, flex=True)  # nearly nothing is shared


def test_what_cannot_have_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cpu", "mps"):
        with pytest.raises(ModelError, match=f"flex has no backward pass on {device}, only on cuda; leave it out"):
            build.refuse_contradictions(ModelConfig(path="m", attention="flex"), device)
    for device in ("auto", "cuda"):
        build.refuse_contradictions(ModelConfig(path="m", attention="flex"), device)
    monkeypatch.setattr(build, "refuse_contradictions", lambda *given: None)
    refused = {
        "t5": r"T5ForConditionalGeneration does not run with it \(an encoder reads a prompt once for all of them\)",
        "roberta": r"RobertaForCausalLM does not run with it \(its positions are not given by ids alone\)",
    }
    for family, words in refused.items():
        recipe = small_recipe(tmp_path / family, family, model={"attention": "flex"})
        with pytest.raises(ModelError, match=f"which {words}; leave it out"):
            build.build_models(recipe.model, torch.device("cpu"))
    eager = tiny_lm("gpt2").eval()
    eager.set_attn_implementation("eager")
    recipe = small_recipe(tmp_path, model={"attention": "flex"})
    with pytest.raises(ModelError, match=r"GPT2LMHeadModel does not run with it .*fail with"):
        build.build_models(recipe.model, torch.device("cpu"), lm=eager)


def test_a_machine_without_a_gpu_is_told_before_a_warm_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl4lms.training.run.warm_start", lambda *given: pytest.fail("the warm start began"))
    monkeypatch.setattr("rl4lms.training.run.resolve_device", lambda name: torch.device("cpu"))
    recipe = small_recipe(tmp_path, device="auto", supervised={"max_steps": 1}, model={"attention": "flex"})
    with pytest.raises(ModelError, match="no backward pass on cpu"):
        assemble(recipe, tmp_path / "run")


def test_a_warm_start_alone_has_no_use_for_it_which_is_said(tmp_path: Path) -> None:
    settings = {"algorithm": None, "supervised": {"max_steps": 1}, "model": {"attention": "flex"}}
    lines = [line.value for line in describe(small_recipe(tmp_path, device="cuda", **settings)) if line.name == "note"]
    assert "model.attention: flex has no effect: nothing is sampled" in lines


def test_a_run_may_go_on_without_it(tmp_path: Path) -> None:
    recipes = [small_recipe(tmp_path, model={"attention": attention}) for attention in ("auto", "flex")]
    assert fingerprint(recipes[0]) == fingerprint(recipes[1])
