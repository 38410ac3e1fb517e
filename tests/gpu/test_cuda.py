"""What a CUDA device computes is what the CPU computes, to rounding: texts, numbers, weights, files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import rl4lms
from rl4lms.config.generation import SamplingConfig
from rl4lms.core.packing import Packed
from rl4lms.core.padding import pad
from rl4lms.core.sampling import draw_keys
from rl4lms.core.token_masks import top_p_mask
from rl4lms.models import flex
from rl4lms.models.generate import MaskRule
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from tests.runs import metric_lines, run_steps, small_loop, small_recipe
from tests.tiny import FAMILIES, number_tokenizer, tiny_lm

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 3], [12], [4, 4, 4, 9], [30, 31, 32], [7, 2, 9]]
ALGORITHMS: dict[str, dict[str, Any]] = {
    "ppo": {"name": "ppo", "minibatch_size": 8},
    "nlpo": {"name": "nlpo", "minibatch_size": 8, "mask_top_p": 0.8, "mask_update_every": 2},
}


def sampled(family: str, device: str) -> tuple[Any, Any]:
    """Completions of a tiny model inside a mask, and the log-prob pass over them."""
    policies = []
    for seed in (0, 1):
        lm = tiny_lm(family, seed=seed).to(device)
        policies.append(Policy(lm, special_tokens(lm, None)))
    policy, other = policies
    ids, mask = (x.to(device) for x in pad(PROMPTS, policy.tokens.pad, policy.family.padding_side))
    settings = SamplingConfig(max_new_tokens=12, temperature=0.8, top_k=12, top_p=0.9, min_new_tokens=4)
    keys = draw_keys(0, 0, 0, torch.arange(len(PROMPTS))).to(device)
    out = policy.generate(
        ids,
        mask,
        keys,
        settings=settings,
        mask_rule=MaskRule(other, functools.partial(top_p_mask, top_p=0.9, min_tokens_to_keep=3)),
    )
    rows = (ids, mask, out.completion_ids, out.completion_mask)
    return out, policy(*rows, temperature=settings.temperature, token_mask=out.token_mask)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_sampler_and_the_pass_agree_with_each_other_and_with_the_cpu(family: str) -> None:
    out, scored = sampled(family, "cuda")
    assert (out.sampled.logprobs - scored.logprobs).abs().max() <= 1e-4
    there, _ = sampled(family, "cpu")
    assert out.completion_ids.cpu().equal(there.completion_ids)  # the draws are the same numbers on every device
    assert (out.sampled.logprobs.cpu() - there.sampled.logprobs).abs().max() <= 1e-4
    assert out.token_mask.cpu().equal(there.token_mask)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_an_update_is_that_of_the_cpu(tmp_path: Path, family: str, algorithm: str) -> None:
    weights, lines = {}, {}
    for device in ("cpu", "cuda"):
        settings = {"algorithm": ALGORITHMS[algorithm], "optimizer": {"name": "sgd", "learning_rate": 0.05}}
        loop = small_loop(tmp_path, family, **settings, device=device, output_dir=str(tmp_path / device))
        lines[device] = run_steps(loop, 2)
        weights[device] = {name: p.detach().cpu() for name, p in loop.models.policy.named_parameters()}
    for name, value in weights["cpu"].items():
        assert (value - weights["cuda"][name]).abs().max() <= 1e-4, name
    for here, there in zip(lines["cpu"], lines["cuda"], strict=True):
        assert here["rollout/score"] == pytest.approx(there["rollout/score"], abs=1e-5)
        assert there["rollout/sampler_error"] <= 1e-4


GROUPS: dict[str, Any] = {"rollout": {"completions_per_prompt": 4}, "training": {"prompts_per_iteration": 4}}
MASK: dict[str, Any] = {"mask": {"source": "reference", "rule": "min_p", "min_p": 0.2}}
OTHERS: dict[str, dict[str, Any]] = {
    "a2c": {},
    "trpo": {"cg_steps": 2},
    "bandit_ppo": {"minibatch_size": 8},
    "reinforce": {},
    "rloo": GROUPS,
    "grpo": {**GROUPS, "kl_estimator": "exact", "minibatch_size": 8},
    "gspo": {**GROUPS, "minibatch_size": 8},
    "cispo": {**GROUPS, "minibatch_size": 8},
    "expert_iteration": GROUPS,
}


@pytest.mark.parametrize("algorithm", OTHERS)
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_an_update_of_the_others_is_that_of_the_cpu(
    tmp_path: Path, family: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a mask, and with prompts that are shared wherever they can be."""
    monkeypatch.setattr(Packed, "pays", lambda *given: True)
    options = {"name": algorithm, **{k: v for k, v in OTHERS[algorithm].items() if k not in GROUPS}}
    blocks = {k: v for k, v in OTHERS[algorithm].items() if k in GROUPS}
    weights, lines = {}, {}
    for device in ("cpu", "cuda"):
        rate = {"name": "sgd", "learning_rate": 0.05}
        loop = small_loop(
            tmp_path, family, algorithm=options, optimizer=rate, device=device, output_dir=str(tmp_path / device),
            **blocks, **MASK,
        )  # fmt: skip
        lines[device] = run_steps(loop, 2)
        weights[device] = {name: p.detach().cpu() for name, p in loop.models.policy.named_parameters()}
    for name, value in weights["cpu"].items():
        moved = 1e-3 if algorithm == "trpo" else 1e-4  # conjugate gradients make rounding larger
        assert (value - weights["cuda"][name]).abs().max() <= moved, name
    for here, there in zip(lines["cpu"], lines["cuda"], strict=True):
        assert here["rollout/score"] == pytest.approx(there["rollout/score"], abs=1e-5)
        assert there["rollout/sampler_error"] <= 1e-4


@pytest.mark.parametrize(
    "settings",
    [{}, {"gradient_checkpointing": True}, {"lora": {}}, {"autocast": "bfloat16"}, {"lora": {}, "dtype": "bfloat16"}],
    ids=str,
)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_an_update_with_flex_attention_is_that_with_sdpa(
    tmp_path: Path, family: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled, forward and backward. Its kernels want heads of at least 16."""
    monkeypatch.setattr(Packed, "pays", lambda *given: True)
    for part in (tiny_lm(family, width=64), number_tokenizer()):
        part.save_pretrained(tmp_path / "lm")
    calls = []
    plain = flex.flex_attention_forward
    monkeypatch.setattr(flex, "flex_attention_forward", lambda *args, **kw: calls.append(1) or plain(*args, **kw))
    weights, scores = {}, {}
    for attention in ("auto", "flex"):
        loop = small_loop(
            tmp_path,
            device="cuda",
            model={"path": str(tmp_path / "lm"), "attention": attention, **settings},
            algorithm={"name": "grpo", "minibatch_size": 8},
            optimizer={"name": "sgd", "learning_rate": 0.05},
            output_dir=str(tmp_path / attention),
            **GROUPS,
        )
        calls.clear()
        scores[attention] = [line["rollout/score"] for line in run_steps(loop, 2)]
        assert bool(calls) == (attention == "flex")
        weights[attention] = {name: p.detach().cpu() for name, p in loop.models.policy.named_parameters()}
    low = "bfloat16" in settings.values()  # whose rounding may change a draw of the second iteration
    assert scores["flex"][: 1 if low else 2] == pytest.approx(scores["auto"][: 1 if low else 2], abs=1e-5)
    for name, value in weights["auto"].items():
        assert (value - weights["flex"][name]).abs().max() <= (1e-2 if low else 1e-4), name


@pytest.mark.parametrize("precision", [{}, {"autocast": "bfloat16"}], ids=["float32", "autocast"])
@pytest.mark.parametrize("algorithm", ["trpo", "grpo"])
def test_trpo_and_grpo_learn(tmp_path: Path, algorithm: str, precision: dict[str, Any]) -> None:
    groups = GROUPS if algorithm == "grpo" else {"training": {"prompts_per_iteration": 64}}
    options = {"grpo": {"n_epochs": 2}, "trpo": {"target_kl": 0.1}}[algorithm]
    recipe = small_recipe(
        tmp_path,
        device="cuda",
        model=precision,
        algorithm={"name": algorithm, **options},
        kl={"kl_coef": 0.0},
        checkpoint={"every": 0},
        **{**groups, "training": {"iterations": 40, "prompts_per_iteration": 16 if algorithm == "grpo" else 64}},
        optimizer={"learning_rate": 3e-3},
    )
    result = rl4lms.train(recipe, progress=False)
    rewards = [row["rollout/score"] for row in result.history if "rollout/score" in row]
    assert sum(rewards[-5:]) / 5 >= sum(rewards[:3]) / 3 + 0.2, rewards
    if algorithm == "trpo":
        steps = [row["train/step_kl"] for row in result.history if "train/step_kl" in row]
        assert 0 < max(steps) <= 0.1


@pytest.mark.parametrize(
    "model",
    [{}, {"autocast": "bfloat16"}, {"dtype": "bfloat16", "lora": {}}],
    ids=["float32", "autocast", "bfloat16 with adapters"],
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_learns(tmp_path: Path, algorithm: str, model: dict[str, Any]) -> None:
    recipe = small_recipe(
        tmp_path,
        device="cuda",
        model=model,
        algorithm={**ALGORITHMS[algorithm], "n_epochs": 4},
        training={"iterations": 30, "prompts_per_iteration": 64},
        kl={"kl_coef": 0.0},
        checkpoint={"every": 0},
    )
    result = rl4lms.train(recipe, progress=False)
    rewards = [row["rollout/score"] for row in result.history if "rollout/score" in row]
    assert sum(rewards[-5:]) / 5 >= sum(rewards[:3]) / 3 + 0.2, rewards


def test_a_run_goes_on_where_it_was_and_its_model_is_one_of_the_cpu(tmp_path: Path) -> None:
    def trained(name: str, *iterations: int) -> Path:
        for i, many in enumerate(iterations):
            training = {"iterations": many, "prompts_per_iteration": 16}
            recipe = small_recipe(tmp_path, device="cuda", output_dir=str(tmp_path / name), training=training)
            rl4lms.train(recipe, progress=False, resume=i > 0)
        return tmp_path / name

    straight, halted = trained("straight", 4), trained("halted", 2, 4)
    scores = [
        [line["rollout/score"] for line in metric_lines(folder) if "rollout/score" in line]
        for folder in (straight, halted)
    ]
    assert len(scores[0]) == 4
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (straight, halted)]
    for name, value in weights[0].items():
        assert (value - weights[1][name]).abs().max() <= 1e-4, name
    assert rl4lms.generate(str(straight / "model"), ["1 2 3"])


def test_nothing_of_batch_by_length_by_vocabulary_is_held(tmp_path: Path) -> None:
    """One tensor of logits of a minibatch would already be more than a whole iteration takes above weights, Adam and
    gradients.
    """
    rows, length, vocabulary = 64, 64, 60_000
    model, tokenizer = tiny_lm("gpt2", vocab_size=vocabulary), number_tokenizer()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "lm")
    loop = small_loop(
        tmp_path,
        device="cuda",
        model={"path": str(tmp_path / "lm"), "value": "shared"},
        rollout={"max_new_tokens": length, "min_new_tokens": length},
        algorithm={"name": "ppo", "minibatch_size": rows},
        training={"iterations": 3, "prompts_per_iteration": rows},
    )
    run_steps(loop, 1)
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    run_steps(loop, 1)
    gradients = sum(p.numel() for p in loop.models.policy.parameters()) * 4
    assert torch.cuda.max_memory_allocated() - held - gradients <= rows * length * vocabulary * 4
