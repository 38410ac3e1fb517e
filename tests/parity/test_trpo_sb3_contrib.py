"""TRPO's step equals the one that sb3_contrib's own `TRPO.train` takes on the same numbers.

The rollout and its advantages are ours. Token by token they fill the buffer of sb3_contrib's agent, whose policy is the
same language model. Aligned are discount and normalisation of advantages (both get the same ones), the damping, steps,
bound and line search; and where conjugate gradients start, which is noise of 1e-4 there and 0 here: for the time of
their step `randn_like` gives zeros. Of what differs on purpose these numbers show nothing: a KL that equals the bound is
allowed here and refused there, and conjugate gradients end early at a residual relative to the gradient here, at an
absolute one there. Not compared is the regression of the value function, which follows the step, on weights of its own,
and has another optimiser and other minibatches there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl4lms.models.build import policy_parameters
from rl4lms.models.policy import Policy
from rl4lms.training.loop import Loop
from rl4lms.types import Experience
from tests.runs import recorded, run_steps, small_loop

contrib = pytest.importorskip("sb3_contrib")

#: Of the largest change of a weight. Seen: 1.2e-5 at most. The order of the rows alone, which sb3_contrib draws, moves
#: its own step by up to 1e-5; conjugate gradients amplify rounding with every step, so that after 10 of them on the
#: tiny Llama two runs of sb3_contrib's differ by more than 1 %, and 6 are compared.
TOLERANCE = 1e-4
SETTINGS = {"target_kl": 0.01, "cg_steps": 10, "cg_damping": 0.1, "line_search_steps": 10, "line_search_shrink": 0.8}
LORA = {"r": 4, "alpha": 8, "target_modules": "all-linear"}
TEMPERATURE = 0.8


def weights(policy: Policy) -> dict[str, torch.Tensor]:
    """What a step moves: with adapters not those of the value function."""
    return {name: p.detach().clone() for name, p in policy_parameters(policy)}


def agent_of(loop: Loop, e: Experience, options: dict[str, Any]) -> Any:
    """sb3_contrib's agent, with a state and an action in its buffer for every completion token of an experience."""
    from stable_baselines3.common.logger import configure

    from rl4lms.integrations.sb3 import LMActorCriticPolicy, TextGenVecEnv

    model = loop.recipe.model.model_dump(mode="json", exclude_unset=True)
    rollout, tokens = e.rollout, int(e.mask.sum())
    agent = contrib.TRPO(
        LMActorCriticPolicy,
        TextGenVecEnv(model, ["1 2"], "increasing_numbers", prompt={"max_tokens": 8}, max_new_tokens=6),
        n_steps=tokens,
        batch_size=tokens,
        n_critic_updates=1,
        normalize_advantage=False,
        target_kl=options["target_kl"],
        cg_max_steps=options["cg_steps"],
        cg_damping=options["cg_damping"],
        line_search_max_iter=options["line_search_steps"],
        line_search_shrinking_factor=options["line_search_shrink"],
        policy_kwargs={"model": model, "temperature": TEMPERATURE},
        device="cpu",
    )
    agent.set_logger(configure(None, []))
    shapes = {key: space.shape for key, space in agent.observation_space.items()}
    assert e.advantages is not None
    for i, t in e.mask.nonzero().tolist():
        state = {key: np.zeros((1, *shape), dtype=np.int64) for key, shape in shapes.items()}
        prompt = rollout.prompt_ids[i][rollout.prompt_mask[i]]
        left = agent.policy.policy.family.padding_side == "left"
        columns = slice(shapes["prompt_ids"][0] - len(prompt), None) if left else slice(len(prompt))
        state["prompt_ids"][0, columns], state["prompt_mask"][0, columns] = prompt, 1
        state["completion_ids"][0, :t], state["completion_mask"][0, :t] = rollout.completion_ids[i, :t], 1
        action, begins = rollout.completion_ids[i, t].numpy()[None, None], np.array([t == 0])
        agent.rollout_buffer.add(state, action, np.zeros(1), begins, torch.zeros(1), e.logprobs[i, t][None])
    agent.rollout_buffer.advantages[:, 0] = e.advantages[e.mask]
    agent.rollout_buffer.returns[:] = 0.0
    return agent


@pytest.mark.parametrize(
    ("family", "lora", "given", "fraction"),
    [
        ("gpt2", None, {}, 1.0),
        ("gpt2", LORA, {}, 1.0),
        ("gpt2", None, {"cg_steps": 6, "cg_damping": 0.01, "target_kl": 0.05}, 0.8),
        ("gpt2", None, {"cg_steps": 6, "cg_damping": 0.01, "target_kl": 0.05, "line_search_steps": 1}, 0.0),
        ("t5-untied", None, {}, 1.0),
        ("llama", None, {"cg_steps": 6, "target_kl": 0.05}, 0.8),
    ],
    ids=["whole", "adapters", "shortened", "taken back", "encoder-decoder", "llama"],
)
def test_the_step_is_that_of_sb3_contrib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, lora: Any, given: dict[str, Any], fraction: float
) -> None:
    options = SETTINGS | given
    algorithm = {"name": "trpo", **options}
    loop = small_loop(tmp_path, family, algorithm=algorithm, rollout={"temperature": TEMPERATURE}, model={"lora": lora})
    if lora:  # half of an adapter's weights begin at 0, and the gradient of the other half with them
        with torch.no_grad():
            for _, p in policy_parameters(loop.models.policy):
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    seen, start = recorded(loop), weights(loop.models.policy)
    numbers = run_steps(loop, 1)[0]
    ours = weights(loop.models.policy)

    agent = agent_of(loop, seen[0], options)
    with torch.no_grad():
        for name, p in policy_parameters(agent.policy.policy):
            p.copy_(start[name])
    np.random.seed(0)  # the order of its rows
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn_like", torch.zeros_like)
        agent.train()
    theirs, logged = weights(agent.policy.policy), agent.logger.name_to_value

    assert numbers["train/step_fraction"] == pytest.approx(fraction)
    assert logged["train/is_line_search_success"] == (fraction > 0)
    assert numbers["train/step_kl"] == pytest.approx(logged["train/kl_divergence_loss"], rel=1e-4, abs=1e-7)
    assert theirs.keys() == ours.keys() == start.keys()
    moved = max(float((theirs[name] - start[name]).abs().max()) for name in start)
    assert (moved > 0) == (fraction > 0)
    error = max(float((ours[name] - theirs[name]).abs().max()) for name in start)
    print(family, f"{error / moved if moved else error:.2g} of the largest change")
    assert error <= TOLERANCE * moved
