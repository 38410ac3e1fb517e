"""Faults that a review found, each with the kind it is of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rl4lms import distributed, errors
from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.config.model import LoraConfig, ModelConfig
from rl4lms.core import token_masks
from rl4lms.core.padding import pad
from rl4lms.errors import ModelError
from rl4lms.models.activations import TanhGELU
from rl4lms.models.build import build_models
from rl4lms.models.loading import special_tokens
from rl4lms.models.lora import renamed
from rl4lms.models.policy import Policy
from rl4lms.training.run import run
from tests.runs import save_tiny, small_recipe
from tests.tiny import tiny_lm


@pytest.mark.parametrize("target", ["lm_head", "wte"])
def test_adapters_on_tied_weights_are_refused(tmp_path: Path, target: str) -> None:
    config = ModelConfig(path=str(save_tiny(tmp_path, "gpt2")), lora=LoraConfig(target_modules=["c_attn", target]))
    with pytest.raises(ModelError, match=r"model\.lora\.target_modules: .* is tied to .*; leave it out"):
        build_models(config, torch.device("cpu"))


def test_a_mask_of_no_rows() -> None:
    empty = torch.zeros(0, 5, dtype=torch.uint8)
    assert token_masks.penalty(empty, 40).shape == (0, 40)
    assert token_masks.unpack(empty, 38).shape == (0, 38)


def test_second_derivatives_of_the_activation_far_below_zero() -> None:
    x = torch.tensor([-12.0, -10.0, -9.5, -8.0], requires_grad=True)
    (first,) = torch.autograd.grad(TanhGELU()(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert first.abs().max() < 1e-18
    assert second.abs().max() < 1e-17


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h.0.attn.lora_A.policy.weight", "h.0.attn.lora_A.mask.weight"),
        ("wte.lora_embedding_A.policy", "wte.lora_embedding_A.mask"),
        ("policy.lora_B.policy.bias", "policy.lora_B.mask.bias"),
    ],
)
def test_adapters_of_embeddings_are_copied_too(name: str, expected: str) -> None:
    assert renamed(name, "policy", "mask") == expected


@pytest.mark.parametrize("family", ["gpt2", "bart"])
def test_beams_do_not_depend_on_the_models_own_generation_config(family: str) -> None:
    lm = tiny_lm(family)
    policy = Policy(lm, special_tokens(lm, None))
    batch = pad([[5, 6, 7], [8, 9]], policy.tokens.pad, policy.family.padding_side)
    settings = EvalGenerationConfig(num_beams=2, max_new_tokens=6)
    plain = policy.beam_search(*batch, settings)
    for option, value in {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "num_return_sequences": 2}.items():
        setattr(lm.generation_config, option, value)
        found = policy.beam_search(*batch, settings)
        assert torch.equal(found.completion_ids, plain.completion_ids), option
    assert lm.generation_config.repetition_penalty == 3.0


def test_every_error_reaches_the_other_processes_as_it_is() -> None:
    given = [
        errors.UnknownNameError("reward", "rogue", ["rouge"]),
        errors.MissingPartError("WordNet", "run this"),
        errors.MissingExtraError("peft", "peft"),
        errors.NonFiniteError("nan", rows=[1, 2]),
        errors.RewardError("gone"),
        errors.Interrupted("stopped", Path("runs/x")),
    ]
    for error in given:
        remade = distributed._remade(json.loads(json.dumps(distributed._described(error))))
        assert type(remade) is type(error)
        assert str(remade).startswith(str(error).split(";")[0])


def test_the_card_of_the_best_model_is_its_own(tmp_path: Path) -> None:
    code = tmp_path / "fading.py"
    code.write_text(
        "calls = []\n\n\ndef fading(completions, **columns):\n    calls.append(1)\n"
        "    return [1.0 / len(calls)] * len(completions)\n"
    )
    result = run(
        small_recipe(
            tmp_path, reward={"name": f"{code}:fading"}, evaluation={"every": 1}, checkpoint={"best": "eval/reward"}
        )
    )
    best = json.loads((result.folder / "result.json").read_text())["best"]
    card = (result.folder / "best" / "README.md").read_text()
    assert best["step"] == 0
    assert f"{best['step']} iterations" in card
    assert f"| reward | {best['value']:.4g} |" in card
