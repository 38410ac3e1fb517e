"""A prompt that is computed once for all its completions gives what a prompt for each of them does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rl4lms.core.packing import Packed
from rl4lms.core.padding import pad
from rl4lms.core.token_masks import pack
from rl4lms.models.families import CausalFamily
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from tests.runs import run_steps, small_loop
from tests.tiny import FAMILIES, tiny_lm

PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 3], [12]]
COMPLETIONS = [[4, 9, 1], [7], [30, 31, 32, 5, 6], [7, 2, 9], [8, 8, 8, 8], [20, 1], [3, 4], [5], [6, 7, 8, 9, 10, 11]]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it costs more: these models are tiny."""
    monkeypatch.setattr(Packed, "pays", lambda *given: True)


def outputs(policy: Policy, shared: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What the pass says, and the gradient of a loss of all of it."""
    ids, mask = pad(PROMPTS, policy.tokens.pad, policy.family.padding_side)
    completions, real = pad(COMPLETIONS, policy.tokens.pad, "right")
    if not shared:
        ids, mask = ids.repeat_interleave(3, 0), mask.repeat_interleave(3, 0)
    generator = torch.Generator().manual_seed(0)
    allowed = torch.rand(9, 6, policy.tokens.vocab_size, generator=generator) < 0.5
    packed = pack(allowed.scatter(2, completions[..., None], True))
    out = policy(ids, mask, completions, real, temperature=0.8, token_mask=packed, values=True)
    named = {n: getattr(out, n) for n in ("logprobs", "full_logprobs", "entropy", "kept_mass", "values")}
    loss = (out.logprobs.exp() + out.entropy * out.full_logprobs + out.values**2).sum()
    policy.zero_grad()
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    return {n: x.detach() for n, x in named.items()}, gradient


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_values_and_gradients_are_the_same(family: str) -> None:
    lm = tiny_lm(family)
    policy = Policy(lm, special_tokens(lm, None))
    policy.add_value(None)
    torch.nn.init.normal_(policy.value_head.linear.weight)  # type: ignore[union-attr]
    ours, gradient = outputs(policy, shared=True)
    theirs, other = outputs(policy, shared=False)
    for name, column in ours.items():
        assert (column - theirs[name]).abs().max() <= 1e-5 * (1 + theirs[name].abs().max()), name
    assert (gradient - other).abs().max() <= 1e-5 * other.abs().max()


def test_which_families_share() -> None:
    """Of decoder-only models those that take a mask of pairs and see positions by their ids alone."""
    found = {}
    for family in FAMILIES:
        lm = tiny_lm(family)
        policy = Policy(lm, special_tokens(lm, None))
        if isinstance(policy.family, CausalFamily):
            found[family] = policy.family.shares_prompts
    print(found)
    assert found["gpt2"]
    assert found["llama"]
    assert not found.get("bloom", False)  # ALiBi counts columns


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "target_modules": "all-linear"}], ids=["whole", "lora"])
@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
@pytest.mark.parametrize(
    "more", [{}, {"optimizer": {"micro_batch_size": 8}}, {"model": {"gradient_checkpointing": True}}]
)
def test_runs_are_the_same(tmp_path: Path, family: str, lora: Any, more: dict[str, Any]) -> None:
    """But for rounding; with masks, a value function and a KL term."""
    settings: dict[str, Any] = {
        "algorithm": {"name": "ppo", "minibatch_size": 8, "n_epochs": 2},
        "mask": {"source": "reference", "top_p": 0.8},
        "rollout": {"completions_per_prompt": 4, "temperature": 0.9},
        "training": {"prompts_per_iteration": 4},
        **more,
    }
    settings["model"] = {"lora": lora, "value": "separate", **more.get("model", {})}
    together = small_loop(tmp_path, family, **settings)
    numbers = run_steps(together, 2)
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        forward = Policy.forward

        def apart(self: Policy, prompt_ids: Any, prompt_mask: Any, ids: Any, mask: Any, **options: Any) -> Any:
            n = len(ids) // len(prompt_ids)
            seen.append(n)
            return forward(
                self, prompt_ids.repeat_interleave(n, 0), prompt_mask.repeat_interleave(n, 0), ids, mask, **options
            )

        patch.setattr(Policy, "forward", apart)
        alone = small_loop(tmp_path, family, **settings)
        others = run_steps(alone, 2)
    assert set(seen) == {1, 4}
    assert seen.count(1) <= 4  # the rows that are verified in iteration 2; all other passes see a prompt once
    for ours, theirs in zip(numbers, others, strict=True):
        for key in ("rollout/score", "train/policy_loss", "train/value_loss", "rollout/kl_per_token"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-5), key


def test_a_completion_without_a_reward_is_left_out_of_a_shared_prompt_as_well(tmp_path: Path) -> None:
    groups = {"rollout": {"completions_per_prompt": 4}, "training": {"prompts_per_iteration": 4}}
    loop = small_loop(tmp_path, algorithm={"name": "rloo", "minibatch_size": 8}, **groups)
    loop.reward = lambda completions, **columns: [None if i == 5 else float(i) for i in range(len(completions))]
    numbers = run_steps(loop, 1)[0]
    assert numbers["rollout/masked_rows"] == 1
    assert numbers["train/updates"] == 2


@pytest.mark.parametrize("window", [6, 140])
def test_a_window_is_seen_wherever_the_config_has_it(window: int) -> None:
    """One that is longer than what is tried at loading, too: Gemma 3 keeps its own in the config of the text part."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**sizes, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 40, "sliding_window": window}
    vision = {**sizes, "image_size": 8, "patch_size": 4}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=39)
    lm = Gemma3ForConditionalGeneration(config).eval()
    lm.config.pad_token_id, lm.config.eos_token_id = 0, 1
    policy = Policy(lm, special_tokens(lm, None))
    assert isinstance(policy.family, CausalFamily)
    assert not policy.family.shares_prompts
