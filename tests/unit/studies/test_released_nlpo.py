"""What the released NLPO did otherwise, each against numbers made another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from rl4lms.core import token_masks
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.errors import ConfigError
from rl4lms.models.policy import Policy
from rl4lms.studies import released_nlpo
from rl4lms.types import Tokens
from tests.properties.test_logprob_parity import hf_logits
from tests.runs import recorded, run_steps, small_loop

NAME = f"{released_nlpo.__file__}:ReleasedNLPO"


def loop_of(tmp_path: Path, family: str = "gpt2", rollout: dict[str, Any] | None = None, **options: Any) -> Any:
    options = {"name": NAME, "mask_top_p": 0.5, "mask_update_every": 1, "n_epochs": 1} | options
    sampling = {"max_new_tokens": 6} | (rollout or {})
    return small_loop(tmp_path, family, algorithm=options, rollout=sampling, optimizer={"learning_rate": 1e-2})


def weights(loop: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in loop.models.policy.lm.parameters()]


def test_without_options_it_is_nlpo(tmp_path: Path) -> None:
    ours = loop_of(tmp_path)
    published = loop_of(tmp_path, name="nlpo")
    run_steps(ours, 3)
    run_steps(published, 3)
    assert all(torch.equal(a, b) for a, b in zip(weights(ours), weights(published), strict=True))


def test_a_stale_mask_is_the_initial_models(tmp_path: Path) -> None:
    """After updates that moved the policy, by HF's forward of the model that was saved before."""
    loop = loop_of(tmp_path, stale_mask=True)
    seen = recorded(loop)
    run_steps(loop, 3)
    initial: Policy = loop.models.ref_policy
    outside_own = 0
    rollout = seen[-1].rollout
    assert rollout.token_mask is not None
    for i in range(len(rollout)):
        prompt = rollout.prompt_ids[i][rollout.prompt_mask[i]].tolist()
        completion = rollout.completion_ids[i][rollout.completion_mask[i]].tolist()
        found = token_masks.unpack(rollout.token_mask[i, : len(completion)], initial.tokens.vocab_size)
        for policy, fits in ((initial, True), (loop.models.policy, False)):
            sets = token_masks.top_p_mask(hf_logits(policy, prompt, completion).float(), 0.5, 1)
            sets[:, list(policy.tokens.eos)] = True
            if fits:
                assert torch.equal(sets, found)
            else:
                outside_own += int((sets != found).any())
    assert outside_own > 0


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_full_ratios_are_of_the_whole_softmax(tmp_path: Path, temperature: float) -> None:
    """The first gradient of an update is that of -sum(A log p), p without mask and temperature; not that inside."""
    sampling = {"temperature": temperature, "top_k": 12}
    loop = loop_of(tmp_path, rollout=sampling, full_ratio=True, vf_coef=0.0, minibatch_size=16)
    lm = loop.models.policy.lm
    parameters = [p for p in lm.parameters() if p.requires_grad]
    seen, optimizer, found = recorded(loop), loop.algorithm.learner.optimizer, []
    optimizer.step = lambda: found.append(torch.cat([p.grad.flatten() for p in parameters]))  # and moves nothing
    run_steps(loop, 1)
    e, rollout = seen[0], seen[0].rollout
    full, inside = torch.zeros(()), torch.zeros(())
    for i in range(len(rollout)):
        prompt = rollout.prompt_ids[i][rollout.prompt_mask[i]].tolist()
        completion = rollout.completion_ids[i][rollout.completion_mask[i]]
        logits = hf_logits(loop.models.policy, prompt, completion.tolist())
        allowed = token_masks.unpack(rollout.token_mask[i, : len(completion)], logits.shape[-1])
        masked = (logits / temperature).masked_fill(~allowed, -torch.inf)
        weight = e.advantages[i][rollout.completion_mask[i]]
        full = full - (weight * logits.log_softmax(-1).gather(-1, completion[:, None])[:, 0]).sum()
        inside = inside - (weight * masked.log_softmax(-1).gather(-1, completion[:, None])[:, 0]).sum()

    def cosine(loss: torch.Tensor) -> float:
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)])
        return float(torch.nn.functional.cosine_similarity(flat, found[0], 0))

    assert len(found) == 1
    assert cosine(full) > 0.9999
    assert cosine(inside) < 0.95


def test_mixed_entropy_is_what_the_released_code_summed(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, mixed_entropy=True, ent_coef=1.0)
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    allowed = torch.tensor([[1, 1, 0, 0, 0, 0, 1], [0, 1, 1, 1, 0, 0, 0], [1] * 7]).bool()
    ids = torch.tensor([0, 2, 5])
    p, tilde = logits.softmax(-1), logits.masked_fill(~allowed, -torch.inf).softmax(-1)
    expected = -(tilde * p.log()).sum(-1)
    inside = tilde.gather(-1, ids[:, None])[:, 0].log()
    entropy = torch.special.entr(tilde).sum(-1)
    new = TokenLogprobs(inside, p.gather(-1, ids[:, None])[:, 0].log(), entropy=entropy)
    zeros = torch.zeros(3)
    old = Tokens(inside, zeros, zeros, torch.arange(3), 3, torch.ones(3).long(), 3, 3, advantages=zeros)
    loss, stats = loop.algorithm.loss(new, old)
    assert torch.allclose(stats["entropy"], expected.mean(), atol=1e-6)
    assert torch.allclose(loss, -expected.mean(), atol=1e-6)
    assert not torch.allclose(expected, entropy, atol=0.1)


@torch.no_grad()
def test_a_mask_on_the_policys_states_is_what_hf_says_of_a_foreign_cache(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, "t5", stale_mask=True, mask_on_policy_cache=True)
    policy: Policy = loop.models.policy
    initial: Policy = loop.models.ref_policy
    for p in policy.lm.parameters():
        p.add_(0.3 * torch.randn_like(p))
    prompt, mask = torch.tensor([[3, 4, 5], [6, 7, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()
    tokens = torch.tensor([[5, 6, 7], [8, 9, 10]])
    state, hidden = initial.family.prefill(prompt, mask, 4)
    found = [initial.family.head(hidden)]
    for t in range(3):
        found.append(initial.family.head(initial.family.step(state, tokens[:, t])))

    lms: dict[str, PreTrainedModel] = {"policy": policy.lm, "initial": initial.lm}
    encoded = lms["policy"].get_encoder()(input_ids=prompt, attention_mask=mask.long())
    start = torch.full((2, 1), lms["policy"].config.decoder_start_token_id)
    inputs = {"encoder_outputs": encoded, "attention_mask": mask.long()}
    expected = [lms["initial"](**inputs, decoder_input_ids=start, use_cache=False).logits[:, -1]]
    for t in range(3):
        fed = torch.cat([start, tokens[:, :t]], 1)
        cache = lms["policy"](**inputs, decoder_input_ids=fed, use_cache=True).past_key_values
        last = lms["initial"](**inputs, decoder_input_ids=tokens[:, t : t + 1], past_key_values=cache, use_cache=True)
        expected.append(last.logits[:, -1])
    own = lms["initial"](input_ids=prompt, attention_mask=mask.long(), decoder_input_ids=torch.cat([start, tokens], 1))
    for t in range(4):
        assert torch.allclose(found[t], expected[t], atol=1e-5), t
        assert not torch.allclose(found[t], own.logits[:, t], atol=1e-2), t


def test_dropped_completions_teach_nothing_and_are_counted(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, dropped=0.25)
    seen: list[int] = []
    learner_update = loop.algorithm.learner.update

    def record(algorithm: Any, experience: Any, step: int) -> Any:
        seen.append(int(experience.row_mask.sum()))
        return learner_update(algorithm, experience, step)

    loop.algorithm.learner.update = record
    numbers = run_steps(loop, 1)[0]
    assert seen == [12]
    assert numbers["rollout/masked_rows"] == 0


@pytest.mark.parametrize(
    ("family", "options", "said"),
    [
        ("t5", {"mask_on_policy_cache": True}, "needs stale_mask"),
        ("gpt2", {"mask_on_policy_cache": True, "stale_mask": True}, "encoder-decoders"),
        ("gpt2", {"mixed_entropy": True}, "no effect without ent_coef"),
    ],
)
def test_options_without_an_effect_are_refused(tmp_path: Path, family: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        loop_of(tmp_path, family, **options)
