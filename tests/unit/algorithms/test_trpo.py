"""TRPO's step, against matrices and KLs made of HF's own logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rl4lms.algorithms import trpo
from rl4lms.core import token_masks
from rl4lms.core.trust_region import longest_step
from rl4lms.errors import ConfigError
from rl4lms.models.anchors import Snapshot
from rl4lms.rollout.engine import run_pass
from rl4lms.training.loop import Loop
from rl4lms.types import Experience
from tests.properties.test_logprob_parity import hf_logits
from tests.runs import recorded, run_steps, small_loop


def behaviour_logits(loop: Loop, e: Experience) -> Tensor:
    """Of every real completion token (N, V), by HF's forward on each row alone."""
    rollout, found = e.rollout, []
    for i in range(len(rollout)):
        prompt = rollout.prompt_ids[i][rollout.prompt_mask[i]].tolist()
        completion = rollout.completion_ids[i][rollout.completion_mask[i]].tolist()
        z = hf_logits(loop.models.policy, prompt, completion).double() / loop.recipe.rollout.temperature
        if rollout.token_mask is not None:
            allowed = token_masks.unpack(rollout.token_mask[i, : len(completion)], z.shape[-1])
            z = z.masked_fill(~allowed, -torch.inf)
        found.append(z)
    return torch.cat(found)


def kl_of(p_logits: Tensor, q_logits: Tensor) -> float:
    p, q = p_logits.log_softmax(-1), q_logits.log_softmax(-1)
    return float(torch.where(p > -torch.inf, p.exp() * (p - q), 0.0).sum(-1).mean())


def test_the_step_is_that_of_an_explicit_fisher_matrix(tmp_path: Path) -> None:
    """On the 16 numbers of one bias; the matrix is J' (diag p - p p') J, with Jacobians of HF's logits."""
    options = {"name": "trpo", "cg_steps": 60, "cg_damping": 0.01, "target_kl": 1e-4}
    loop = small_loop(tmp_path, algorithm=options, rollout={"temperature": 0.8, "top_k": 12})
    bias = next(p for n, p in loop.models.policy.lm.named_parameters() if n.endswith("ln_f.bias"))
    loop.algorithm._parameters = [bias]  # type: ignore[attr-defined]
    seen, start = recorded(loop), bias.detach().clone()

    reached = run_steps(loop, 1)[0]
    moved, e = bias.detach() - start, seen[0]
    with torch.no_grad():
        bias.copy_(start)
    logits = behaviour_logits(loop, e)
    assert e.advantages is not None
    weight, ids = e.advantages[e.mask].double(), e.rollout.completion_ids[e.mask]
    p, n = logits.detach().softmax(-1), len(logits)
    fisher, gradient = torch.zeros(len(bias), len(bias), dtype=torch.float64), torch.zeros(len(bias)).double()
    chosen = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    gradient += torch.autograd.grad((chosen * weight).sum() / n, bias, retain_graph=True)[0]
    for t in range(n):
        real = (p[t] > 0).nonzero()[:, 0]
        rows = [torch.autograd.grad(logits[t, v], bias, retain_graph=True)[0].double() for v in real]
        jacobian, q = torch.stack(rows), p[t, real]
        fisher += jacobian.T @ (torch.diag(q) - torch.outer(q, q)) @ jacobian / n
    damped = fisher + 0.01 * torch.eye(len(bias))
    direction = torch.linalg.solve(damped, gradient)
    wanted = direction * (2 * 1e-4 / (direction @ damped @ direction)).sqrt() * reached["train/step_fraction"]
    assert reached["train/step_fraction"] > 0
    assert (moved - wanted).abs().max() <= 2e-3 * wanted.abs().max()


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rollout": {"temperature": 0.7, "top_p": 0.9}},
        {"mask": {"source": "reference", "rule": "top_k", "top_k": 8}, "optimizer": {"micro_batch_size": 5}},
    ],
    ids=["plain", "truncated", "masked"],
)
def test_the_kl_of_a_step_is_within_the_bound(
    tmp_path: Path, family: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the quadratic model is far off: steps are proposed that are five times too long."""
    monkeypatch.setattr(trpo, "longest_step", lambda *given: 5 * longest_step(*given))
    options = {"name": "trpo", "target_kl": 0.1, "cg_damping": 1e-4, "line_search_steps": 20}
    loop = small_loop(tmp_path, family, algorithm=options, **settings)
    seen, fractions = recorded(loop), []
    for step in range(3):
        before = {n: p.detach().clone() for n, p in loop.models.policy.lm.named_parameters()}
        numbers = loop.step(step)
        with torch.no_grad():
            new = behaviour_logits(loop, seen[-1])
            now = {n: p.detach().clone() for n, p in loop.models.policy.lm.named_parameters()}
            for n, p in loop.models.policy.lm.named_parameters():
                p.copy_(before[n])
            old = behaviour_logits(loop, seen[-1])
            for n, p in loop.models.policy.lm.named_parameters():
                p.copy_(now[n])
        kl = kl_of(new, old)
        assert kl == pytest.approx(numbers["train/step_kl"], rel=1e-3, abs=1e-6)
        assert kl <= 0.1 * (1 + 1e-3)
        fractions.append(numbers["train/step_fraction"])
    assert all(0 < fraction < 1 for fraction in fractions)


def test_a_step_beyond_the_bound_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trpo, "longest_step", lambda *given: 5 * longest_step(*given))
    options = {"name": "trpo", "target_kl": 0.1, "line_search_steps": 1}
    loop = small_loop(tmp_path, algorithm=options)
    before = {n: p.detach().clone() for n, p in loop.models.policy.lm.named_parameters()}
    numbers = run_steps(loop, 1)[0]
    assert numbers["train/step_fraction"] == 0.0 == numbers["train/step_kl"]
    assert all(torch.equal(before[n], p) for n, p in loop.models.policy.lm.named_parameters())


def test_micro_batches_change_nothing(tmp_path: Path) -> None:
    """But rounding, which conjugate gradients make larger with every step."""
    whole = small_loop(tmp_path, algorithm={"name": "trpo", "cg_steps": 2})
    cut = small_loop(tmp_path, algorithm={"name": "trpo", "cg_steps": 2}, optimizer={"micro_batch_size": 3})
    run_steps(whole, 1)
    run_steps(cut, 1)
    start = small_loop(tmp_path).models.policy.lm.state_dict()
    for name, weights in whole.models.policy.lm.state_dict().items():
        moved, other = weights - start[name], cut.models.policy.lm.state_dict()[name] - start[name]
        assert (moved - other).abs().max() <= 1e-3 * moved.abs().max() + 1e-7, name


def test_adapters_move_and_the_base_does_not(tmp_path: Path) -> None:
    lora = {"model": {"lora": {"r": 4, "alpha": 8, "target_modules": ["c_attn"]}}}
    loop = small_loop(tmp_path, algorithm={"name": "trpo", "target_kl": 0.05}, **lora)
    before = {n: p.detach().clone() for n, p in loop.models.policy.lm.named_parameters()}
    assert run_steps(loop, 2)[1]["train/step_kl"] > 0
    changed = {n for n, p in loop.models.policy.lm.named_parameters() if not torch.equal(before[n], p)}
    assert changed
    assert all(".lora_" in name for name in changed)


def test_a_shared_trunk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.value: shared; trpo steps the policy alone; use separate"):
        small_loop(tmp_path, algorithm={"name": "trpo"}, model={"value": "shared"})


@pytest.mark.parametrize("autocast", [None, "bfloat16"])
def test_a_snapshot_is_the_policy_as_it_was(tmp_path: Path, autocast: str | None) -> None:
    """Autocast keeps weights that it has cast: those of now must not stand in for the old ones."""
    loop = small_loop(tmp_path, algorithm={"name": "trpo"}, model={"autocast": autocast})
    policy, seen = loop.models.policy, recorded(loop)
    run_steps(loop, 1)
    rollout, rows = seen[0].rollout, torch.arange(8)
    old = Snapshot(policy, list(policy.lm.parameters()))
    with torch.no_grad():
        same = run_pass(policy, rollout, rows, anchor=old).kl
        for p in policy.lm.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        moved = run_pass(policy, rollout, rows, anchor=old).kl
        kept = {n: p.detach().clone() for n, p in policy.lm.named_parameters()}
        assert same is not None
        assert moved is not None
        assert same.abs().max() < 1e-6
        assert moved[rollout.completion_mask[rows]].min() > 1e-5
        assert all(torch.equal(kept[n], p) for n, p in policy.lm.named_parameters())


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "target_modules": "all-linear"}], ids=["whole", "lora"])
def test_checkpointed_layers_change_nothing(tmp_path: Path, family: str, lora: Any) -> None:
    """They are computed again in each of the two backward passes, with the adapters of the first."""
    moved = []
    for checkpointed in (False, True):
        model = {"lora": lora, "gradient_checkpointing": checkpointed}
        loop = small_loop(tmp_path, family, algorithm={"name": "trpo", "cg_steps": 3}, model=model)
        assert run_steps(loop, 1)[0]["train/step_fraction"] > 0
        moved.append({n: p.detach().clone() for n, p in loop.models.policy.lm.named_parameters()})
    for name, weights in moved[0].items():
        assert (weights - moved[1][name]).abs().max() <= 1e-6, name
