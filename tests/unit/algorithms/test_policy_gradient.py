"""Advantages and losses of the algorithms without a value function, against loops by hand and exact gradients."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rl4lms.algorithms.a2c import A2C
from rl4lms.algorithms.bandit_ppo import BanditPPO
from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.build import build_algorithm
from rl4lms.algorithms.cispo import CISPO
from rl4lms.algorithms.grpo import GRPO
from rl4lms.algorithms.gspo import GSPO
from rl4lms.algorithms.ppo import PPO
from rl4lms.algorithms.reinforce import Reinforce
from rl4lms.algorithms.rloo import RLOO
from rl4lms.core.groups import best_of_group, group_relative, leave_one_out
from rl4lms.core.kl import ESTIMATORS
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.errors import ConfigError
from rl4lms.plugins.component import Component
from rl4lms.types import Tokens

TOTALS = torch.tensor([1.0, 2.0, 4.0, 7.0, 3.0, 3.0, 3.0, 3.0, 5.0, 9.0, 1.0, 0.5])
SCORED = torch.tensor([True, True, False, True, True, True, True, True, False, False, True, False])


def by_hand(how: str) -> list[float]:
    found = []
    for start in range(0, 12, 4):
        rows = [float(TOTALS[i]) for i in range(start, start + 4) if SCORED[i]]
        for i in range(start, start + 4):
            others = [float(TOTALS[j]) for j in range(start, start + 4) if j != i and SCORED[j]]
            if not SCORED[i] or not others:
                found.append(0.0)
            elif how == "leave one out":
                found.append(float(TOTALS[i]) - sum(others) / len(others))
            else:
                found.append(float(TOTALS[i]) - sum(rows) / len(rows))
    return found


def test_leave_one_out_is_that_of_a_loop():
    assert leave_one_out(TOTALS, SCORED, 4).tolist() == pytest.approx(by_hand("leave one out"))


def test_group_advantages_are_those_of_a_loop():
    centred = by_hand("centred")
    assert group_relative(TOTALS, SCORED, 4, "none").tolist() == pytest.approx(centred)
    first = torch.tensor([1.0, 2.0, 7.0]).std()  # unbiased, as in TRL and Stable-Baselines3
    wanted = [value / float(first) if i < 4 else 0.0 for i, value in enumerate(centred)]
    assert group_relative(TOTALS, SCORED, 4, "group").tolist() == pytest.approx(wanted)
    kept = [value for value, scored in zip(centred, SCORED, strict=True) if scored]
    spread = math.sqrt(sum(value**2 for value in kept) / (len(kept) - 1))
    assert group_relative(TOTALS, SCORED, 4, "batch").tolist() == pytest.approx([value / spread for value in centred])


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_returns_are_no_signal_however_they_are_rounded(scale):
    totals = torch.full((8,), 0.1) + torch.tensor([0, 1e-8, -1e-8, 0] * 2)
    assert not group_relative(totals, torch.ones(8, dtype=torch.bool), 4, scale).any()


# Losses of four completions of 1 to 4 tokens, in any parts


def tokens(**changes: Any) -> tuple[Tokens, TokenLogprobs, Tensor]:
    torch.manual_seed(0)
    lengths = torch.tensor([4, 1, 3, 2])
    row = torch.repeat_interleave(torch.arange(4), lengths)
    logprobs = torch.randn(10) - 2
    behaviour = (logprobs + 0.5 * torch.randn(10)).requires_grad_()
    old = Tokens(
        logprobs=logprobs,
        scores=torch.zeros(10),
        rewards=torch.zeros(10),
        row=row,
        rows=4,
        lengths=lengths,
        n_tokens=10,
        n_sequences=4,
        ref_logprobs=logprobs + 0.3 * torch.randn(10),
        advantages=torch.tensor([1.5, -1.0, 0.5, -2.0])[row],
        **changes,
    )
    return old, TokenLogprobs(behaviour, behaviour + 0.1, None, None), behaviour


def slow_grpo(algorithm: GRPO, old: Tokens, new: TokenLogprobs, kl_coef: float) -> float:
    """The loss, completion by completion and token by token."""
    policy, kl = [], []
    high = algorithm.clip_range_high or algorithm.clip_range
    assert old.advantages is not None
    assert old.ref_logprobs is not None
    assert new.full is not None
    for i in range(4):
        mine = [t for t in range(10) if old.row[t] == i]
        difference = [float(new.behaviour[t] - old.logprobs[t]) for t in mine]
        a = float(old.advantages[mine[0]])
        ratios = [math.exp(x) for x in difference]
        gains = []
        for r in ratios:
            gain = min(r * a, min(max(r, 1 - algorithm.clip_range), 1 + high) * a)
            gains.append(gain if algorithm.clip_dual is None or a >= 0 else max(gain, algorithm.clip_dual * a))
        x = [float(new.full[t] - old.ref_logprobs[t]) for t in mine]
        terms = {"k1": x, "k2": [v * v / 2 for v in x], "k3": [math.exp(-v) - 1 + v for v in x]}
        policy.append(gains)
        kl.append(terms[algorithm.kl_estimator])

    def whole(parts: list[list[float]]) -> float:
        if algorithm.length_norm == "sequence":
            return sum(sum(part) / len(part) for part in parts) / 4
        return sum(map(sum, parts)) / (10 if algorithm.length_norm == "token" else 4 * (algorithm.norm_length or 0))

    return -whole(policy) + (kl_coef * whole(kl) if algorithm.kl_in == "loss" else 0.0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kl_in": "reward"},
        {"length_norm": "token", "clip_range_high": 0.28, "kl_estimator": "k2"},
        {"length_norm": "constant", "norm_length": 6, "scale": "none", "kl_estimator": "k1"},
        {"clip_dual": 1.2},
    ],
)
def test_losses_are_those_of_a_loop_and_parts_add_up(options):
    algorithm = GRPO(**options)
    algorithm._kl_coef = 0.7
    old, new, logprobs = tokens()
    loss, stats = algorithm.loss(new, old)
    frozen = TokenLogprobs(*(None if one is None else one.detach() for one in new))
    assert float(loss.detach()) == pytest.approx(slow_grpo(algorithm, old, frozen, 0.7), rel=1e-5)
    assert 0 < float(stats["clip_fraction"]) < 1 or "clip_dual" in options
    (gradient,) = torch.autograd.grad(loss, logprobs)
    parts = []
    for piece in (slice(0, 3), slice(3, 10)):
        part = TokenLogprobs(new.behaviour[piece], logprobs[piece] + 0.1, None, None)
        parts.append(algorithm.loss(part, old.part(piece))[0])
    assert float(sum(parts).detach()) == pytest.approx(float(loss.detach()), rel=1e-6)
    assert torch.allclose(torch.autograd.grad(sum(parts), logprobs)[0], gradient, atol=1e-7)


def test_clipped_tokens_have_no_gradient():
    old, new, logprobs = tokens()
    ratio = (logprobs - old.logprobs).exp()
    gone = ((ratio > 1.2) & (old.advantages > 0)) | ((ratio < 0.8) & (old.advantages < 0))
    assert 0 < int(gone.sum()) < 10
    (gradient,) = torch.autograd.grad(GRPO(kl_in="reward").loss(new, old)[0], logprobs)
    assert torch.equal(gradient != 0, ~gone)


def by_completion(old: Tokens, new: TokenLogprobs) -> list[tuple[float, list[float], float]]:
    """Advantage, log-ratios of the tokens and their number, of each of the four completions."""
    assert old.advantages is not None
    found = []
    for i in range(4):
        mine = [t for t in range(10) if old.row[t] == i]
        ratios = [float(new.behaviour[t] - old.logprobs[t]) for t in mine]
        found.append((float(old.advantages[mine[0]]), ratios, float(len(mine))))
    return found


def clipped(ratio: float, a: float, low: float, high: float) -> float:
    return min(ratio * a, min(max(ratio, 1 - low), 1 + high) * a)


def test_gspo_is_that_of_a_loop() -> None:
    old, new, logprobs = tokens()
    algorithm = GSPO(kl_in="reward", clip_range=0.05, clip_range_high=0.3)
    wanted = [clipped(math.exp(sum(ratios) / n), a, 0.05, 0.3) for a, ratios, n in by_completion(old, detached(new))]
    loss, stats = algorithm.loss(new, old)
    assert float(loss.detach()) == pytest.approx(-sum(wanted) / 4, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    for i in range(4):  # one ratio per completion: its tokens have the same gradient, or none
        assert len(set(gradient[old.row == i].tolist())) == 1
    assert float(stats["clip_fraction"]) == int(sum(not gradient[old.row == i].any() for i in range(4))) / 4


def test_bandit_is_that_of_a_loop() -> None:
    old, new, _ = tokens(values=torch.zeros(10), returns=torch.arange(10.0))
    algorithm = BanditPPO(clip_range=0.4)
    wanted = [clipped(math.exp(sum(ratios)), a, 0.4, 0.4) for a, ratios, _ in by_completion(old, detached(new))]
    assert float(algorithm.loss(new, old)[0].detach()) == pytest.approx(-sum(wanted) / 4, rel=1e-5)
    values = torch.linspace(-1, 1, 10)
    first = [0, 4, 5, 8]  # the prompt's value is the one before the first token
    squares = [(float(values[t]) - t) ** 2 for t in first]
    assert float(algorithm.value_loss(values, old)[0]) == pytest.approx(0.5 * sum(squares) / 4, rel=1e-6)


def test_cispo_keeps_the_gradient_of_every_token_and_bounds_its_weight() -> None:
    old, new, logprobs = tokens()
    algorithm = CISPO(kl_in="reward", clip_range_high=0.1)
    loss, stats = algorithm.loss(new, old)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    assert old.advantages is not None
    weight = [min(math.exp(x), 1.1) for x in (logprobs - old.logprobs).tolist()]
    wanted = [-w * a / 10 for w, a in zip(weight, old.advantages.tolist(), strict=True)]
    assert gradient.tolist() == pytest.approx(wanted, rel=1e-5)
    assert 0 < float(stats["clip_fraction"]) == pytest.approx(sum(w == 1.1 for w in weight) / 10)


@pytest.mark.parametrize("algorithm", [GRPO(), GSPO(), CISPO()], ids=["grpo", "gspo", "cispo"])
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "exact"])
def test_the_kl_is_added_to_every_loss(algorithm, estimator) -> None:
    """Each averages its own way; where all completions have one length these are the same."""
    old, new, _ = tokens()
    rows = torch.arange(10) // 5
    old = dataclasses.replace(old, row=rows, rows=2, lengths=torch.tensor([5, 5]), n_sequences=2)
    new = new._replace(kl=torch.linspace(0, 1, 10))
    assert new.full is not None
    assert old.ref_logprobs is not None
    x = new.full.detach() - old.ref_logprobs
    wanted = {"k1": x, "k2": x**2 / 2, "k3": (-x).exp() - 1 + x, "exact": torch.linspace(0, 1, 10)}[estimator].mean()
    with_kl = dataclasses.replace(algorithm, kl_estimator=estimator)
    with_kl._kl_coef = 0.3
    without = dataclasses.replace(algorithm, kl_in="reward")
    assert with_kl.needs_exact_kl == (estimator == "exact") != with_kl.needs_full_logprobs
    loss, stats = with_kl.loss(new, old)
    assert float(stats["kl_in_loss"].detach()) == pytest.approx(float(wanted), rel=1e-5)
    assert float((loss - without.loss(new, old)[0]).detach()) == pytest.approx(0.3 * float(wanted), rel=1e-4)


def detached(new: TokenLogprobs) -> TokenLogprobs:
    return TokenLogprobs(*(None if one is None else one.detach() for one in new))


@pytest.mark.parametrize(("keep", "wanted"), [(1, [3, 10]), (2, [1, 3, 10]), (9, [0, 1, 3, 10])])
def test_the_best_of_a_group(keep, wanted) -> None:
    """Prompts: rewards 1, 2, -, 7; all 3; -, -, 1, - . One row alone is no best of anything."""
    wanted = [row for row in wanted if row != 10]
    assert best_of_group(TOTALS, SCORED, 4, keep).nonzero()[:, 0].tolist() == wanted
    ties = torch.tensor([2.0, 5.0, 5.0, 1.0])
    assert best_of_group(ties, torch.ones(4, dtype=torch.bool), 4, 1).tolist() == [False, True, False, False]


# One token, so that the gradient of the expected reward is known: theta -> p -> r


LOGITS = torch.tensor([0.5, -1.0, 0.2, 1.5, -0.3, 0.0])
REWARDS = torch.tensor([1.0, 0.2, -0.5, 0.4, 2.0, 0.0])
DRAWS = 20_000


def exact_gradient() -> Tensor:
    p = LOGITS.softmax(-1)
    return p * (REWARDS - (p * REWARDS).sum())


def drawn_gradient(algorithm: Algorithm) -> Tensor:
    """Minus the gradient of the algorithm's loss with respect to the logits, from 20,000 completions of one token."""
    generator = torch.Generator().manual_seed(3)
    actions = torch.multinomial(LOGITS.softmax(-1), DRAWS, replacement=True, generator=generator)
    rewards, mask = REWARDS[actions][:, None], torch.ones(DRAWS, 1, dtype=torch.bool)
    constant = torch.full((DRAWS, 1), float(rewards.mean()))
    experience: Any = SimpleNamespace(
        rewards=rewards, scores=rewards, kl=None, values=constant, mask=mask, row_mask=mask[:, 0],
        rollout=SimpleNamespace(group_size=4), advantages=None, returns=None,
    )  # fmt: skip
    algorithm.learner = SimpleNamespace(started_values=lambda e: e.values)  # type: ignore[assignment]
    algorithm.advantages(experience)
    logits = LOGITS.clone().requires_grad_()
    behaviour = logits.log_softmax(-1)[actions]
    old = Tokens(
        logprobs=behaviour.detach(), scores=rewards[:, 0], rewards=rewards[:, 0], row=torch.arange(DRAWS), rows=DRAWS,
        lengths=torch.ones(DRAWS, dtype=torch.long), n_tokens=DRAWS, n_sequences=DRAWS,
        advantages=experience.advantages[:, 0],
    )  # fmt: skip
    loss, _ = algorithm.loss(TokenLogprobs(behaviour, None, None, None), old)
    return -torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize(
    ("algorithm", "scaled"),
    [
        (Reinforce(baseline="none"), False),
        (Reinforce(baseline="batch"), False),
        (Reinforce(baseline="running"), False),
        (RLOO(), False),
        (RLOO(length_norm="token"), False),
        (A2C(whiten_advantages=False), False),
        (A2C(), True),
        (PPO(whiten_advantages=False), False),
        (GRPO(scale="none", kl_in="reward"), True),
        (GRPO(scale="batch", kl_in="reward"), True),
        (GSPO(scale="none", kl_in="reward"), True),
        (CISPO(scale="none", kl_in="reward"), True),
        (BanditPPO(whiten_advantages=False), False),
    ],
    ids=lambda value: "" if isinstance(value, bool) else repr(value).replace("kw_only", "")[:60],
)
def test_the_gradient_is_that_of_the_expected_reward(algorithm, scaled):
    found, wanted = drawn_gradient(algorithm), exact_gradient()
    assert float(torch.cosine_similarity(found, wanted, dim=0)) >= 0.999
    if not scaled:
        assert float(found.norm() / wanted.norm()) == pytest.approx(1, abs=0.03)


def test_leave_one_out_is_unbiased_and_the_mean_of_the_group_shrinks():
    """Dividing by n and not by n - 1 takes the factor (n - 1) / n from the gradient (Dr. GRPO against RLOO)."""
    ratio = drawn_gradient(GRPO(scale="none", kl_in="reward")) / drawn_gradient(RLOO())
    assert torch.allclose(ratio, torch.full((6,), 0.75), atol=1e-4)


def test_ppo_at_ratio_one_has_the_gradient_of_a2c():
    ours, theirs = drawn_gradient(PPO(gae_lambda=1.0)), drawn_gradient(A2C())
    assert torch.allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize(("name", "is_gradient"), [("k1", False), ("k2", True)])
def test_which_estimator_has_the_gradient_of_the_kl(name, is_gradient):
    """E[grad k1] = 0, E[grad k2] = grad KL, over draws of the policy: why a loss must not add k1."""
    reference = torch.tensor([0.0, 1.0, -0.5, 0.3, 0.2, -1.0]).log_softmax(-1)
    logits = LOGITS.clone().requires_grad_()
    p = logits.log_softmax(-1)
    (wanted,) = torch.autograd.grad((p.exp() * (p - reference)).sum(), logits, retain_graph=True)
    actions = torch.multinomial(LOGITS.softmax(-1), DRAWS, replacement=True, generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad(ESTIMATORS[name](p[actions] - reference[actions]).mean(), logits)
    if is_gradient:
        assert float(torch.cosine_similarity(found, wanted, dim=0)) >= 0.999
    else:
        assert float(found.norm()) < 0.05 * float(wanted.norm())


def test_a_running_baseline_is_of_earlier_iterations_and_goes_on_after_a_checkpoint():
    algorithm = Reinforce(baseline="running", decay=0.5)

    def step(algorithm: Reinforce, rewards: list[float], scored: tuple[bool, ...] = (True, True)) -> list[float]:
        given = torch.tensor(rewards)[:, None]
        rows = torch.tensor(scored)
        e: Any = SimpleNamespace(
            rewards=given, mask=rows[:, None], row_mask=rows, rollout=SimpleNamespace(group_size=1)
        )
        algorithm.advantages(e)
        return e.advantages[:, 0].tolist()

    assert step(algorithm, [1.0, 3.0]) == [-1.0, 1.0]  # there is no earlier one
    assert step(algorithm, [4.0, 6.0]) == [2.0, 4.0]
    again = Reinforce(baseline="running", decay=0.5)
    again.load_state_dict(algorithm.state_dict())
    assert step(again, [0.0, 99.0], (True, False)) == step(algorithm, [0.0, 99.0], (True, False)) == [-3.5, 0.0]
    assert step(algorithm, [9.0, 9.0], (False, False)) == [0.0, 0.0]
    assert algorithm.state_dict() == again.state_dict() == {"mean": 1.75}


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ({"name": "grpo"}, "rollout.completions_per_prompt: algorithm 'grpo' compares completions of one prompt"),
        ({"name": "rloo"}, "needs 2 or more, got 1"),
        ({"name": "a2c", "n_epochs": 2}, "n_epochs: a2c takes one pass"),
        ({"name": "rloo", "n_epochs": 2}, "n_epochs: rloo takes one pass"),
        ({"name": "reinforce", "decay": 0.5}, "decay belongs to baseline: running"),
        (
            {"name": "reinforce", "length_norm": "token", "norm_length": 2},
            "norm_length belongs to length_norm: constant",
        ),
        ({"name": "rloo", "length_norm": "sequence", "norm_length": 1}, "norm_length belongs to length_norm: constant"),
        ({"name": "grpo", "length_norm": "token", "norm_length": 1}, "norm_length belongs to length_norm: constant"),
        ({"name": "grpo", "length_norm": "constant"}, "length_norm: constant needs norm_length; 1 takes the sum"),
        ({"name": "grpo", "kl_in": "reward", "kl_estimator": "k1"}, "kl_estimator has no effect with kl_in: reward"),
        ({"name": "a2c", "clip_range": 0.1}, "clip_range"),
        ({"name": "gspo", "kl_in": "reward", "kl_estimator": "k1"}, "kl_estimator has no effect with kl_in: reward"),
        ({"name": "cispo", "kl_in": "reward", "kl_estimator": "exact"}, "kl_estimator has no effect"),
        ({"name": "expert_iteration"}, "rollout.completions_per_prompt: algorithm 'expert_iteration' compares"),
        ({"name": "expert_iteration", "keep": 3}, "needs 4 or more, got 1"),
        ({"name": "bandit_ppo", "gamma": 0.9}, "gamma"),
        ({"name": "trpo", "target_kl": None}, "target_kl"),
    ],
)
def test_options_without_an_effect_are_refused(component, message):
    with pytest.raises(ConfigError, match=message):
        build_algorithm(Component(**component), 1)
