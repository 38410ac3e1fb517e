"""NLPO does what the paper says and what the original release did not (defects A1 to A6 of its code)."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from rl4lms.config.generation import SamplingConfig
from rl4lms.core import token_masks
from rl4lms.rollout.engine import log_prob_pass
from rl4lms.training.loop import Loop
from rl4lms.types import Rollout
from tests.marks import slow_but
from tests.runs import recorded, run_steps, small_loop

EVERYTHING = {"temperature": 0.7, "top_k": 15, "top_p": 0.95, "min_new_tokens": 3}


def weights(loop: Loop) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in loop.models.policy.named_parameters()}


@pytest.mark.parametrize(
    ("family", "ent_coef"),
    slow_but(itertools.product(["gpt2", "t5-untied"], [0.0, 0.01]), [("gpt2", 0.01), ("t5-untied", 0.0)]),
)
def test_top_p_of_one_is_ppo_to_the_last_bit(tmp_path: Path, family: str, ent_coef: float) -> None:
    ppo = small_loop(tmp_path, family, algorithm={"name": "ppo", "ent_coef": ent_coef})
    options = {"name": "nlpo", "mask_top_p": 1.0, "mask_update_every": 2, "ent_coef": ent_coef}
    nlpo = small_loop(tmp_path, family, algorithm=options)
    a, b = run_steps(ppo, 3), run_steps(nlpo, 3)
    assert [x["rollout/score"] for x in a] == [x["rollout/score"] for x in b]
    for (name, ours), theirs in zip(weights(ppo).items(), weights(nlpo).values(), strict=True):
        assert torch.equal(ours, theirs), name
    assert b[0]["train/mask_size"] == ppo.models.policy.tokens.vocab_size  # the mask was made, packed and applied


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
def test_the_mask_is_refreshed_and_rollouts_use_it(tmp_path: Path, family: str) -> None:
    """A1: the original kept sampling in the mask of the initial policy."""
    options = {"name": "nlpo", "mask_top_p": 0.6, "mask_update_every": 2}
    loop = small_loop(tmp_path, family, algorithm=options, optimizer={"learning_rate": 1e-2})
    before = {n: p.detach().clone() for n, p in loop.models.mask_policy.lm.named_parameters()}
    seen = recorded(loop)
    refreshed = [numbers["train/mask_refreshed"] for numbers in run_steps(loop, 3)]
    assert refreshed == [0, 1, 0]
    after_second = dict(loop.models.mask_policy.lm.named_parameters())
    assert any(not torch.equal(before[n], p) for n, p in after_second.items())
    # The mask of each rollout is the nucleus of the masking policy as it was then: recompute both with the plain
    # forward.
    initial = copy.deepcopy(loop.models.mask_policy)
    for name, parameter in initial.lm.named_parameters():
        parameter.data.copy_(before[name])
    assert _nuclei_agree(initial, seen[0].rollout, 0.6)
    assert _nuclei_agree(initial, seen[1].rollout, 0.6)
    assert not _nuclei_agree(initial, seen[2].rollout, 0.6)
    assert _nuclei_agree(loop.models.mask_policy, seen[2].rollout, 0.6)


@torch.no_grad()
def _nuclei_agree(policy: Any, rollout: Rollout, top_p: float) -> bool:
    mask = rollout.completion_mask
    batch = (rollout.prompt_ids, rollout.prompt_mask, rollout.completion_ids, mask)
    logits = policy.family.head(policy.family.hidden(*batch))
    expected = token_masks.top_p_mask(logits, top_p)
    expected[:, list(policy.tokens.eos)] = True
    return torch.equal(token_masks.unpack(rollout.token_mask[mask], logits.shape[-1]), expected)


@pytest.mark.parametrize("family", slow_but(["gpt2", "t5-untied", "bart", "roberta"], ["bart", "roberta"]))
@pytest.mark.parametrize("algorithm", ["ppo", "nlpo"])
def test_first_ratio_is_one_whatever_the_sampling(tmp_path: Path, family: str, algorithm: str) -> None:
    """A2 and A6: old and new log-probs are those of the distribution that was sampled, renormalised."""
    options = {"name": algorithm} | ({"mask_top_p": 0.8, "min_tokens_to_keep": 2} if algorithm == "nlpo" else {})
    loop = small_loop(tmp_path, family, algorithm=options, rollout=EVERYTHING)
    for numbers in run_steps(loop, 2):
        assert numbers["train/first_ratio_error"] <= 1e-4
        assert numbers["rollout/sampler_error"] <= 1e-4


def test_masked_log_probs_are_renormalised_and_entropy_is_that_of_the_masked_policy() -> None:
    """A2, A3: the figures are hand-computed for a state with four tokens, two of them allowed."""
    from rl4lms.core.logprobs import token_logprobs

    logits = torch.tensor([[0.1375, 0.0625, 0.4, 0.4]]).log()
    allowed = torch.tensor([[True, True, False, False]])
    out = token_logprobs(logits, torch.tensor([0]), 1.0, token_masks.penalty(token_masks.pack(allowed), 4))
    p = 0.1375 / 0.2
    assert out.behaviour.item() == pytest.approx(-0.37469, abs=1e-5)  # log 0.6875, not log 0.1375
    assert out.full.item() == pytest.approx(-1.98413, abs=1e-5)
    assert out.entropy.item() == pytest.approx(-(p * -0.374693 + (1 - p) * -1.163151), abs=1e-5)
    assert out.kept_mass.item() == pytest.approx(0.2)


def test_first_ratio_check_stops_a_run_that_samples_from_another_distribution(tmp_path: Path) -> None:
    from rl4lms.errors import NonFiniteError

    loop = small_loop(tmp_path, algorithm={"name": "ppo"})
    loop.algorithm.learner.temperature = 0.5  # the rollout was sampled at 1
    with pytest.raises(NonFiniteError, match="first ratio"):
        loop.step(0)


def test_encoder_decoder_masks_come_from_the_masking_model_alone(tmp_path: Path) -> None:
    """A4: the original fed the policy's encoder output to the masking model."""
    options = {"name": "nlpo", "mask_top_p": 0.6, "mask_update_every": 100}
    loop = small_loop(tmp_path, "t5-untied", algorithm=options, optimizer={"learning_rate": 1e-2})
    run_steps(loop, 2)
    rule = loop.masking.rule
    rollout = loop.engine.rollout(loop.samples[:4], loop.recipe.rollout, stream="train", step=9, mask_rule=rule)
    assert _nuclei_agree(loop.models.mask_policy, rollout, 0.6)


def test_kl_of_the_reward_is_zero_at_step_zero_under_any_truncation(tmp_path: Path) -> None:
    loop = small_loop(tmp_path, algorithm={"name": "nlpo", "mask_top_p": 0.5}, rollout=EVERYTHING)
    numbers = loop.step(0)
    assert abs(numbers["rollout/kl_per_token"]) < 1e-6
    assert numbers["rollout/kl_behaviour_per_token"] > 0.1  # what truncation did, logged beside it


def test_the_mask_bites_even_under_a_smaller_top_k(tmp_path: Path) -> None:
    """A5: with the original's minimum of 100 tokens the nucleus was inert; here it is not, and what it removes is
    logged.
    """
    plain = small_loop(tmp_path, algorithm={"name": "ppo"}, rollout={"top_k": 12}).step(0)
    options = {"name": "nlpo", "mask_top_p": 0.6}
    masked = small_loop(tmp_path, algorithm=options, rollout={"top_k": 12}, output_dir=str(tmp_path / "masked")).step(0)
    assert masked["train/mask_size"] < 12
    assert masked["rollout/removed_mass"] > plain["rollout/removed_mass"] + 0.05


def test_every_generated_token_is_trained_on(tmp_path: Path) -> None:
    """A8: the original dropped transitions that did not fit its buffer, and bootstrapped cut episodes."""
    loop = small_loop(tmp_path, training={"prompts_per_iteration": 10}, algorithm={"name": "ppo", "minibatch_size": 4})
    counted = 0
    accumulate = loop.algorithm.learner.accumulate

    def count(objective: Any, experience: Any, minibatch: torch.Tensor) -> Any:
        nonlocal counted
        counted += int(experience.mask[minibatch].sum())
        return accumulate(objective, experience, minibatch)

    loop.algorithm.learner.accumulate = count  # type: ignore[method-assign]
    numbers = loop.step(0)
    assert counted == 4 * round(10 * numbers["rollout/completion_tokens"])


@torch.no_grad()
def test_scores_and_masks_survive_a_pad_token_that_equals_eos(tmp_path: Path) -> None:
    """The completion mask says what is real; ids do not."""
    loop = small_loop(tmp_path)
    policy = loop.models.policy
    policy.tokens = type(policy.tokens)(policy.tokens.eos, policy.tokens.eos[0], (), policy.tokens.vocab_size)
    settings = SamplingConfig(max_new_tokens=40)
    rollout = loop.engine.rollout(loop.samples[:16], settings, stream="train", step=0)
    lengths = rollout.completion_mask.sum(-1)
    assert bool(rollout.terminated.any())
    for row in range(16):
        real = rollout.completion_ids[row, : lengths[row]]
        assert (real[-1].item() in policy.tokens.eos) == bool(rollout.terminated[row])
        assert not any(token in policy.tokens.eos for token in real[:-1].tolist())
    assert log_prob_pass(policy, rollout).logprobs.abs().sum(-1).min() > 0
