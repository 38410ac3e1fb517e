"""What the loop promises beyond learning: placing, masking out, stopping, precision, schedules, trackers."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from rl4lms.algorithms.optimizer import Schedule
from rl4lms.algorithms.ppo import PPO
from rl4lms.config.algorithms import OptimizerConfig
from rl4lms.core.sampling import prompt_indices
from rl4lms.errors import CheckpointError, ConfigError, DataError, ModelError, NonFiniteError, RewardError
from rl4lms.rewards.call import RewardOutput, place_scores
from rl4lms.rollout.engine import LocalEngine
from rl4lms.training.run import run
from rl4lms.types import Sample
from tests.runs import run_steps, small_loop, small_recipe


def test_sequence_scores_stand_on_the_last_real_token_and_dense_ones_in_place() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    scores, rows = place_scores(RewardOutput([2.0, None, -1.0], dense=False, parts={}), mask)
    assert scores.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, -1]]
    assert rows.tolist() == [True, False, True]
    scores, rows = place_scores(RewardOutput([[1.0, 2.0], None, [3.0, 4.0, 5.0]], dense=True, parts={}), mask)
    assert scores.tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]]
    assert rows.tolist() == [True, False, True]


def test_rows_without_a_reward_take_part_in_nothing(tmp_path: Path) -> None:
    """No mean, no whitening, no advantage; and what those rows said changes nothing: other tokens there give the same
    weights.
    """

    def half(completions: list[str], **columns: Any) -> list[float | None]:
        return [None if i % 2 else float(len(text)) for i, text in enumerate(completions)]

    masked = small_loop(tmp_path, algorithm={"name": "ppo", "n_epochs": 1, "minibatch_size": 64})
    masked.reward = half
    seen = []
    update = masked.algorithm.update
    masked.algorithm.update = lambda e, step: seen.append(e) or update(e, step)  # type: ignore[method-assign,func-returns-value]
    numbers = masked.step(0)
    e = seen[0]
    assert numbers["rollout/masked_rows"] == 8
    assert not e.advantages[~e.row_mask].any()
    assert e.advantages[e.mask].mean().abs() < 1e-5
    assert numbers["rollout/score"] == pytest.approx(float(e.scores.sum(-1)[e.row_mask].mean()))
    assert numbers["rollout/kl_per_token"] == pytest.approx(float(e.kl[e.mask].mean()), abs=1e-7)
    other = small_loop(
        tmp_path, algorithm={"name": "ppo", "n_epochs": 1, "minibatch_size": 64}, output_dir=str(tmp_path / "other")
    )
    e.rollout.completion_ids[~e.row_mask] = 5
    e.logprobs[~e.row_mask] = 0.0
    other.algorithm.advantages(e)  # where its value function starts, too
    other.algorithm.update(e, 0)
    for (name, ours), theirs in zip(
        masked.models.policy.named_parameters(), other.models.policy.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_every_reward_none_is_not_an_update(tmp_path: Path) -> None:
    loop = small_loop(tmp_path)
    loop.reward = lambda completions, **columns: [None] * len(completions)
    before = [p.clone() for p in loop.models.policy.parameters()]
    assert loop.step(0)["train/updates"] == 0
    assert all(torch.equal(a, b) for a, b in zip(before, loop.models.policy.parameters(), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_in_a_reward_stops_the_run(tmp_path: Path, value: float) -> None:
    loop = small_loop(tmp_path)
    loop.reward = lambda completions, **columns: [value] * len(completions)
    with pytest.raises(RewardError, match=rf"^iteration 1: .*row 1 is {value}.*no checkpoint was written yet"):
        loop.run()


def test_nan_in_a_gradient_stops_before_the_optimiser_step_and_names_the_last_checkpoint(tmp_path: Path) -> None:
    loop = small_loop(tmp_path, training={"iterations": 4, "prompts_per_iteration": 8})
    accumulate = loop.algorithm.learner.accumulate

    def poison(objective: Any, experience: Any, minibatch: torch.Tensor) -> Any:
        stats = accumulate(objective, experience, minibatch)
        if loop.state.step == 2:
            next(loop.models.policy.parameters()).grad[0] = math.nan
        return stats

    loop.algorithm.learner.accumulate = poison  # type: ignore[method-assign]
    with pytest.raises(
        NonFiniteError, match=r"iteration 3: .* the gradient norm nan; .*last good checkpoint: .*step-000002"
    ):
        loop.run()
    assert all(torch.isfinite(p).all() for p in loop.models.policy.parameters())


def test_target_kl_stops_the_update_before_a_step(tmp_path: Path) -> None:
    loop = small_loop(
        tmp_path, algorithm={"name": "ppo", "target_kl": 1e-4, "minibatch_size": 4}, optimizer={"learning_rate": 1e-2}
    )
    numbers = loop.step(0)
    assert numbers["train/early_stop"] == 1
    assert 0 < numbers["train/updates"] < 16


def test_adaptive_kl_follows_the_kl_per_token(tmp_path: Path) -> None:
    """A7: the mean over every generated token, not per sequence; the clip is not reached in the second step."""
    loop = small_loop(tmp_path, kl={"kl_coef": 0.2, "kl_target": 10.0})
    first = run_steps(loop, 2)[1]["rollout/kl_per_token"]
    loop = small_loop(tmp_path, kl={"kl_coef": 0.2, "kl_target": first * 1.1}, output_dir=str(tmp_path / "second"))
    numbers = run_steps(loop, 3)
    kl = numbers[1]["rollout/kl_per_token"]
    assert numbers[1]["rollout/kl_coef"] == pytest.approx(0.2 * 0.98)  # KL was 0 at first
    assert kl == pytest.approx(first, rel=0.05)
    expected = numbers[1]["rollout/kl_coef"] * (1 + 0.1 * (kl / (first * 1.1) - 1))
    assert numbers[2]["rollout/kl_coef"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("precision", [{"autocast": "bfloat16"}, {"dtype": "bfloat16", "lora": {"r": 4}}])
@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
def test_lower_precision_trains(tmp_path: Path, family: str, precision: dict[str, str]) -> None:
    options = {"name": "nlpo", "mask_top_p": 0.9, "mask_update_every": 1}
    loop = small_loop(tmp_path, family, model=precision, algorithm=options, optimizer={"learning_rate": 1e-3})
    before = {name: p.detach().clone() for name, p in loop.models.policy.named_parameters()}
    for numbers in run_steps(loop, 2):
        assert all(math.isfinite(value) for value in numbers.values())
        assert numbers["rollout/sampler_error"] < 0.5
        assert numbers["train/updates"] == 4
    assert loop.models.policy.value_head.linear.weight.dtype == torch.float32
    trained = {name: p for name, p in loop.models.policy.named_parameters() if p.requires_grad}
    assert all(p.dtype == torch.float32 for p in trained.values())
    changed = sum(int((before[name] != p).sum()) for name, p in trained.items())
    assert changed > 0.3 * sum(p.numel() for p in trained.values())


def test_schedules_are_those_of_transformers_shifted_by_one_where_there_is_a_warm_up() -> None:
    for name, warmup in [
        ("constant", 0),
        ("linear", 0),
        ("cosine", 0),
        *product(("constant_with_warmup", "linear", "cosine"), (1, 3, 9)),
    ]:
        optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 2.0, "base_lr": 2.0}], lr=2.0)
        config = OptimizerConfig(learning_rate=2.0, lr_scheduler_type=name, warmup_iterations=warmup)  # type: ignore[arg-type]
        rates = [Schedule(optimizer, config, 7).set(step) for step in range(7)]
        shift = int(warmup > 0)  # the first iteration already learns
        theirs = get_scheduler(name, torch.optim.SGD([torch.zeros(1)], lr=2.0), warmup, 7 + shift).lr_lambdas[0]
        assert rates == [2 * theirs(step + shift) for step in range(7)], name
        assert rates[0] > 0


def test_every_prompt_is_seen_once_per_epoch() -> None:
    seen = [i for step in range(5) for i in prompt_indices(20, 0, step, 8)]
    assert sorted(seen[:20]) == sorted(seen[20:]) == list(range(20))
    assert seen[:20] != seen[20:] != list(range(20))
    assert prompt_indices(20, 1, 0, 8) != prompt_indices(20, 0, 0, 8)


def test_tensorboard_on_request(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run(small_recipe(tmp_path, tracking={"report_to": ["tensorboard"], "progress": False}))
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        (
            "gpt2",
            {"prompt": {"max_tokens": 90}},
            r"prompt and completion can need 96 positions, but the model has 80; lower prompt",
        ),
        ("roberta", {"prompt": {"max_tokens": 74}}, r"can need 80 positions, but the model has 79"),
        ("bart", {"prompt": {"max_tokens": 90}}, r"the prompt can need 90 positions, but the model has 80"),
        ("bert2bert", {"prompt": {"max_tokens": 90}}, r"the prompt can need 90 positions, but the model has 80"),
        (
            "bart",
            {"rollout": {"max_new_tokens": 80}},
            r"the completion can need 80 positions, but the model has 79; lower max_new_tokens",
        ),
    ],
)
def test_a_window_that_is_too_small_is_named(
    tmp_path: Path, family: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        small_loop(tmp_path, family, **settings)


def test_relative_positions_have_no_window(tmp_path: Path) -> None:
    small_loop(tmp_path, "t5", prompt={"max_tokens": 500})


def test_decoding_in_a_mask_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.generation\.mask: ppo has no mask"):
        small_loop(tmp_path, evaluation={"generation": {"mask": True}})


def test_evaluation_decodes_as_the_rollout_unless_it_says_otherwise(tmp_path: Path) -> None:
    recipe = small_recipe(
        tmp_path, rollout={"max_new_tokens": 6, "top_k": 5}, evaluation={"generation": {"temperature": 0.5}}
    )
    assert recipe.evaluation.generation is not None
    assert (recipe.evaluation.generation.max_new_tokens, recipe.evaluation.generation.top_k) == (6, 5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_spares_prefix_and_suffix(tmp_path: Path, side: str) -> None:
    loop = small_loop(tmp_path, prompt={"max_tokens": 4, "truncation_side": side, "prefix": "7 ", "suffix": " 9"})
    ids = loop.engine.encoder([Sample("a", "1 2 3 4 5"), Sample("b", "6")])
    kept = ["4", "5"] if side == "left" else ["1", "2"]
    assert loop.models.tokenizer.convert_ids_to_tokens(ids[0]) == ["7", *kept, "9"]
    assert loop.models.tokenizer.convert_ids_to_tokens(ids[1]) == ["7", "6", "9"]
    with pytest.raises(DataError, match="no room"):
        small_loop(tmp_path, prompt={"max_tokens": 1, "prefix": "7 ", "suffix": " 9"}).engine.encoder(
            [Sample("a", "1 2")]
        )


def test_unknown_best_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no evaluation key 'eval/nothing'; there are: eval/"):
        run(small_recipe(tmp_path, checkpoint={"best": "eval/nothing"}))


def test_truncated_prompts_are_counted(tmp_path: Path) -> None:
    loop = small_loop(tmp_path, prompt={"max_tokens": 1}, rollout={"completions_per_prompt": 2})
    for step, numbers in enumerate(run_steps(loop, 2)):  # per iteration: a resumed run logs the same
        expected = sum(len(loop.samples[i].prompt.split()) > 1 for i in prompt_indices(len(loop.samples), 0, step, 16))
        assert numbers["rollout/truncated_prompts"] == expected > 0


@pytest.mark.parametrize("precision", [{}, {"autocast": "bfloat16"}])
@pytest.mark.parametrize("where", ["train", "evaluation"])
def test_a_sampler_that_disagrees_with_the_pass_stops_the_run(
    tmp_path: Path, precision: dict[str, str], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = small_loop(tmp_path, model=precision)
    rollout = LocalEngine.rollout

    def elsewhere(*args: Any, **options: Any) -> Any:
        found = rollout(*args, **options)
        if options["stream"] == where:
            assert found.sampled is not None
            found.sampled = found.sampled._replace(
                logprobs=found.sampled.logprobs - 0.05
            )  # as from a cache that is one position off
        return found

    monkeypatch.setattr(LocalEngine, "rollout", elsewhere)
    before = [p.clone() for p in loop.models.policy.parameters()]
    when = "iteration 1: " if where == "train" else "^"
    with pytest.raises(
        ModelError, match=rf"{when}the log-probs of the sampler and of the log-prob pass differ by .* 0\.0"
    ):
        loop.run()
    assert all(torch.equal(a, b) for a, b in zip(before, loop.models.policy.parameters(), strict=True))


def test_a_last_minibatch_of_one_row_joins_the_one_before(tmp_path: Path) -> None:
    loop = small_loop(
        tmp_path, training={"prompts_per_iteration": 9}, algorithm={"name": "ppo", "minibatch_size": 4, "n_epochs": 2}
    )
    learner, samples = loop.algorithm.learner, loop.samples
    rollout = loop.engine.rollout(samples[:9], loop.recipe.rollout, stream="train", step=0)
    sizes = [len(rows) for rows in learner._minibatches(loop.algorithm, rollout, torch.arange(9), 0)]
    assert sizes == [4, 5, 4, 5]
    assert [len(rows) for rows in learner._minibatches(loop.algorithm, rollout, torch.arange(1), 0)] == [1, 1]
    assert loop.step(0)["train/updates"] == 4


def test_statistics_are_averaged_over_the_minibatches_that_they_belong_to(tmp_path: Path) -> None:
    """An update that stopped early has a minibatch without a gradient norm."""
    norms = []
    loop = small_loop(
        tmp_path, algorithm={"name": "ppo", "target_kl": 1e-4, "minibatch_size": 4}, optimizer={"learning_rate": 1e-2}
    )
    take = loop.algorithm.learner._optimizer_step
    loop.algorithm.learner._optimizer_step = lambda *args: norms.append(take(*args)) or norms[-1]  # type: ignore[method-assign]
    numbers = loop.step(0)
    assert numbers["train/early_stop"] == 1
    assert numbers["train/grad_norm"] == pytest.approx(sum(norms) / len(norms))


@pytest.mark.parametrize("name", ["adamw", "rmsprop", "sgd"])
def test_the_optimiser_is_chosen_by_name_and_groups_are_labelled(tmp_path: Path, name: str) -> None:
    loop = small_loop(tmp_path, optimizer={"name": name, "learning_rate": 1e-2, "value_learning_rate": 5e-2})
    optimizer = loop.algorithm.learner.optimizer
    assert type(optimizer).__name__.lower() == name
    assert {(group["name"], group["base_lr"]) for group in optimizer.param_groups} == {
        ("policy", 1e-2),
        ("value", 5e-2),
    }
    before = [p.clone() for p in loop.models.policy.parameters()]
    loop.step(0)
    assert any(not torch.equal(a, b) for a, b in zip(before, loop.models.policy.parameters(), strict=True))


def test_options_of_another_optimiser_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"momentum has no effect with optimizer\.name: adamw; it belongs to rmsprop and sgd"
    ):
        small_recipe(tmp_path, optimizer={"momentum": 0.9})


class _Odd(PPO):
    """Mistakes that people make in an algorithm of their own."""

    mistake = ""

    def advantages(self, experience: Any) -> None:
        super().advantages(experience)
        made = experience.advantages
        experience.advantages = {
            "shape": made.sum(-1),
            "nothing": None,
            "list": made.tolist(),
            "whole numbers": made.long(),
            "nan": made.where(experience.rollout.completion_ids < 0, torch.nan),
        }.get(self.mistake, made)
        if self.mistake == "no returns":
            experience.returns = None

    def loss(self, new: Any, old: Any) -> Any:
        loss, stats = super().loss(new, old)
        return {"scalar": loss, "tokens": (new.behaviour, stats)}.get(self.mistake, (loss, {**stats, "plain": 0.5}))

    def state_dict(self) -> dict[str, Any]:
        return {"mean": torch.zeros(2)} if self.mistake == "state" else {}


_MUST = r"algorithm '_Odd': advantages\(\) must set experience\."
_TENSOR = r"to a tensor, torch\.float32 of shape \(16, \d\);"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("shape", rf"{_MUST}advantages {_TENSOR} got torch\.float32 of shape \(16,\)"),
        ("nothing", rf"{_MUST}advantages {_TENSOR} got NoneType"),
        ("list", rf"{_MUST}advantages {_TENSOR} got list"),
        ("whole numbers", rf"{_MUST}advantages {_TENSOR} got torch\.int64 of shape \(16, \d\)"),
        ("no returns", rf"{_MUST}returns {_TENSOR} got NoneType"),
        ("nan", r"algorithm '_Odd': advantages\(\) set experience\.advantages to NaN or infinity, first in row 1; no "),
        ("scalar", r"algorithm '_Odd': loss must return a scalar tensor and a mapping"),
        ("tokens", r"algorithm '_Odd': loss must return a scalar tensor and a mapping"),
        ("state", r"algorithm '_Odd': state_dict\(\)\['mean'\] is no JSON value"),
    ],
)
def test_mistakes_in_an_algorithm_have_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, message: str
) -> None:
    loop = small_loop(tmp_path)
    odd = _Odd()
    odd.bind(loop.algorithm.learner)
    odd.mistake = mistake
    loop.algorithm = loop.state.algorithm = odd
    with pytest.raises((ConfigError, CheckpointError, NonFiniteError), match=message):
        loop.run()


def test_a_plain_number_is_a_statistic(tmp_path: Path) -> None:
    loop = small_loop(tmp_path)
    odd = _Odd(n_epochs=1)
    odd.bind(loop.algorithm.learner)
    loop.algorithm = odd
    assert loop.step(0)["train/plain"] > 0


def test_one_text_is_no_tuple_of_references() -> None:
    with pytest.raises(DataError, match=r"references are a tuple of texts, got one text; write \(text,\)"):
        Sample("1", "a b", "c d")  # type: ignore[arg-type]
