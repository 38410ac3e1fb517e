"""Two processes train what one trains: same texts, same numbers, same weights to rounding; and a policy can be wrapped
by torch.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file

from tests.distributed.processes import gathered, read_weights, starts_alone
from tests.marks import slow_but
from tests.net.record import ALGORITHMS, CASES, MODELS
from tests.runs import save_tiny, small_recipe

# SGD: where a gradient is zero but for rounding (the biases of attention's keys), Adam would make a step of the
# rounding.
SETTINGS: dict[str, Any] = {
    "optimizer": {"name": "sgd", "learning_rate": 0.05, "max_grad_norm": 5.0},
    "training": {"iterations": 3, "prompts_per_iteration": 15},
    "rollout": {"max_new_tokens": 6, "completions_per_prompt": 2},
    "kl": {"kl_coef": 0.2, "kl_target": 0.05},
    "reward": {"name": "standardise", "reward": {"name": "increasing_numbers", "min_tokens": 6}},
}
# Of a minibatch of one row the second process has none, inside a mask and a nucleus; three rows of four have no score.
IDLE = "nlpo gpt2 idle"
# Every other algorithm; those of groups with minibatches of whole groups, whose prompts are computed once. Few conjugate
# gradient steps, since each makes rounding larger.
OTHERS: dict[str, dict[str, Any]] = {
    "a2c": {"minibatch_size": 7, "ent_coef": 0.01},
    "trpo": {"minibatch_size": 7, "n_epochs": 2, "cg_steps": 2, "cg_damping": 0.3, "target_kl": 0.05},
    "bandit_ppo": {"minibatch_size": 7, "ent_coef": 0.01, "n_epochs": 2},
    "reinforce": {"minibatch_size": 7, "baseline": "running"},
    "rloo": {"minibatch_size": 8},
    "grpo": {"minibatch_size": 8, "n_epochs": 2, "kl_estimator": "exact"},
    "gspo": {"minibatch_size": 8, "n_epochs": 2},
    "cispo": {"minibatch_size": 8, "n_epochs": 2},
    "expert_iteration": {"minibatch_size": 7},
}
OTHER_CASES = [f"{name} {family} separate" for name in OTHERS for family in ("gpt2", "t5")]
ALL_CASES = [*CASES, IDLE, *OTHER_CASES]
QUICK = ("ppo gpt2 shared", "nlpo gpt2 separate", "nlpo t5 lora", IDLE, "trpo gpt2 separate", "grpo t5 separate")
FEW = """
def few(completions, **columns):
    return [float(len(text.split())) if row % 4 == 0 else None for row, text in enumerate(completions)]
"""


def settings_of(case: str, folder: Path) -> tuple[str, dict[str, Any]]:
    algorithm, family, model = case.split()
    if algorithm in OTHERS:
        options = {"name": algorithm, **OTHERS[algorithm]}
        mask = {"source": "reference", "rule": "top_k", "top_k": 12}
        return family, {**SETTINGS, "algorithm": options, "model": MODELS[model], "mask": mask}
    options = {**ALGORITHMS[algorithm], "minibatch_size": 7, "ent_coef": 0.01, "n_epochs": 2}
    if case != IDLE:
        return family, {**SETTINGS, "algorithm": options, "model": MODELS[model]}
    return family, {
        **SETTINGS,
        "algorithm": options | {"minibatch_size": 1},
        "rollout": SETTINGS["rollout"] | {"top_p": 0.9},
        "reward": {"name": f"{folder / 'few.py'}:few"},
    }


def train_cases(rank: int, folder: Path, label: str) -> None:
    """Three iterations of the cases that are tested; what every process ends with goes to a file."""
    from tests.runs import run_steps, small_loop

    for case in json.loads((folder / "cases.json").read_text()):
        family, settings = settings_of(case, folder)
        loop = small_loop(
            folder, family, **settings, output_dir=str(folder / f"{label}-{rank}" / case.replace(" ", "-"))
        )
        texts: list[list[str]] = []
        credit = loop.algorithm.credit
        loop.algorithm.credit = lambda e, kl_coef, c=credit, t=texts: (t.append(e.rollout.completions), c(e, kl_coef))[
            1
        ]
        lines = run_steps(loop, 3)
        name = f"{label} {rank} {case}".replace(" ", "-")
        save_file(
            {n: p.detach().contiguous() for n, p in loop.models.policy.named_parameters()},
            folder / f"{name}.safetensors",
        )
        plain = [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]
        (folder / f"{name}.json").write_text(
            json.dumps({"texts": texts, "lines": plain, "kl_coef": loop.state.kl_coef})
        )


def two_train_cases(rank: int, folder: Path) -> None:
    train_cases(rank, folder, "two")


def one_trains_cases(folder: Path, cases: list[str]) -> None:
    """What two processes need on disk, and what theirs is compared with."""
    (folder / "cases.json").write_text(json.dumps(cases))
    (folder / "few.py").write_text(FEW)
    for family in ("gpt2", "t5"):
        save_tiny(folder / f"lm-{family}", family, layers=1)
        small_recipe(folder, family)  # writes the prompts before two processes want them
    train_cases(0, folder, "one")


def read(folder: Path, name: str, case: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    path = folder / f"{name}-{case}".replace(" ", "-")
    return json.loads(path.with_name(path.name + ".json").read_text()), read_weights(
        path.with_name(path.name + ".safetensors")
    )


@pytest.mark.parametrize("case", slow_but(ALL_CASES, QUICK))
def test_two_processes_train_what_one_trains(two_processes: Path, case: str) -> None:
    one, weights = read(two_processes, "one-0", case)
    first, first_weights = read(two_processes, "two-0", case)
    second, second_weights = read(two_processes, "two-1", case)
    assert first["texts"] == second["texts"] == one["texts"]
    assert first["kl_coef"] == second["kl_coef"] == pytest.approx(one["kl_coef"], rel=1e-5)
    for ours, theirs in zip(first["lines"], one["lines"], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True), name
    moved = 0.0
    start = _start(two_processes, case)
    for name, value in weights.items():
        assert torch.equal(first_weights[name], second_weights[name]), name
        rounding = 2e-5 if case.startswith("trpo") else 2e-6
        assert (first_weights[name] - value).abs().max() <= rounding * max(1.0, float(value.abs().max())), name
        if name in start:
            moved = max(moved, float((value - start[name]).abs().max()))
    assert moved > 1e-3  # a thousand times what two processes may differ by


def test_a_process_without_rows_was_idle_in_every_step(two_processes: Path) -> None:
    """What the case above is about has happened: steps of a single row."""
    for line in read(two_processes, "two-1", IDLE)[0]["lines"]:
        assert line["rollout/masked_rows"] == 22  # of 30
        assert line["train/updates"] == 2 * 8


def _start(folder: Path, case: str) -> dict[str, torch.Tensor]:
    from tests.runs import small_loop

    family, settings = settings_of(case, folder)
    loop = small_loop(folder, family, **settings, output_dir=str(folder / "start" / case.replace(" ", "-")))
    return {name: p.detach().clone() for name, p in loop.models.policy.named_parameters() if p.requires_grad}


def without_the_sum(rank: int, folder: Path) -> None:
    """A mutation: every process keeps its own gradients."""
    from rl4lms import distributed
    from tests.runs import run_steps, small_loop

    family, settings = settings_of("ppo gpt2 shared", folder)
    with mock.patch.object(distributed, "sum_gradients"):
        loop = small_loop(folder, family, **settings, output_dir=str(folder / f"mutant-{rank}"))
        run_steps(loop, 1)
    weights = torch.cat([p.detach().flatten() for p in loop.models.policy.parameters()])
    ours, theirs = gathered(weights)
    if rank == 0:
        (folder / "without-the-sum").write_text(str(float((ours - theirs).abs().max())))


def test_a_missing_sum_of_gradients_would_be_seen(two_processes: Path) -> None:
    assert float((two_processes / "without-the-sum").read_text()) > 1e-4  # far beyond what the matrix allows


PROMPTS, COMPLETIONS = [[5, 6, 7], [4], [9, 8], [3, 3, 3]], [[5, 6], [7, 8, 9, 10], [3], [8, 7, 6]]


def batch_of(policy: Any, rows: slice) -> tuple[torch.Tensor, ...]:
    from rl4lms.core.padding import pad

    side = policy.family.padding_side
    return (*pad(PROMPTS[rows], policy.tokens.pad, side), *pad(COMPLETIONS[rows], policy.tokens.pad, "right"))


def policy_of(family: str) -> Any:
    from rl4lms.models.loading import special_tokens
    from rl4lms.models.policy import Policy
    from tests.tiny import tiny_lm

    lm = tiny_lm(family)
    policy = Policy(lm, special_tokens(lm, None))
    policy.add_value(None)
    torch.nn.init.normal_(policy.value_head.linear.weight)
    return policy


def loss_of(module: Any, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    out = module(*batch, values=True, loss=lambda tokens, piece: tokens.behaviour.exp().sum())
    return out.loss + (out.values**2).sum()


WRAPPERS = [f"{how} {family}" for how in ("ddp", "fsdp", "fsdp-layers") for family in ("gpt2", "t5")]


def all_wrapped_gradients(rank: int, folder: Path) -> None:
    for case in WRAPPERS:
        problem = ""
        try:
            wrapped_gradients(rank, *case.split())
        except AssertionError as error:
            problem = f"{error or 'gradients differ'}"
        if rank == 0:
            (folder / f"wrapped-{case}").write_text(problem)


def wrapped_gradients(rank: int, how: str, family: str) -> None:
    """Torch's own wrappers around a policy, without anything of ours: the mean of both processes' gradients, at every
    call.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
    from torch.nn.parallel import DistributedDataParallel

    plain, policy = policy_of(family), policy_of(family)
    if how == "ddp":
        module = DistributedDataParallel(policy, find_unused_parameters=True)
    else:
        mesh = init_device_mesh("cpu", (2,))
        if how == "fsdp-layers":
            for layer in (
                policy.lm.transformer.h if family == "gpt2" else [*policy.lm.encoder.block, *policy.lm.decoder.block]
            ):
                fully_shard(layer, mesh=mesh)
        module = fully_shard(policy, mesh=mesh)
        register_fsdp_forward_method(module, "generate")
    halves = [slice(0, 2), slice(2, 4)]
    for _ in range(3):  # the second call is where a wrapper notices that the first was incomplete
        module.zero_grad()
        loss_of(module, batch_of(policy, halves[rank])).backward()
        plain.zero_grad()
        (0.5 * (loss_of(plain, batch_of(plain, halves[0])) + loss_of(plain, batch_of(plain, halves[1])))).backward()
        expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
        largest = max(float(g.abs().max()) for g in expected.values())
        found = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
        assert found.keys() >= expected.keys()
        for name, gradient in expected.items():
            ours = found[name].full_tensor() if hasattr(found[name], "full_tensor") else found[name]
            assert (ours - gradient).abs().max() <= 1e-5 * largest, name


@pytest.mark.parametrize("case", WRAPPERS)
def test_a_policy_in_torchs_wrappers_has_the_right_gradients(two_processes: Path, case: str) -> None:
    assert (two_processes / f"wrapped-{case}").read_text() == ""


@starts_alone
def one_fails(rank: int, folder: Path) -> None:
    """An error of one process alone, in the middle of an iteration."""
    from rl4lms.algorithms.ppo import PPO
    from rl4lms.training.run import run

    def out_of_memory(self: Any, *arguments: Any) -> None:
        raise MemoryError("no room for 12 GB")

    with mock.patch.object(PPO, "credit", out_of_memory) if rank == 1 else contextlib.nullcontext():
        try:
            run(small_recipe(folder, "gpt2", output_dir=str(folder / "doomed")), progress=False)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - told to the test
            (folder / f"ended-{rank}").write_text(f"{type(error).__name__}: {error}")


def test_an_error_in_one_process_ends_all_with_its_message(two_processes: Path) -> None:
    assert (two_processes / "ended-1").read_text() == "MemoryError: no room for 12 GB"
    told = (two_processes / "ended-0").read_text()
    assert (
        told == "ProcessError: the run ends, because another process failed: process 1: MemoryError: no room for 12 GB"
    )
