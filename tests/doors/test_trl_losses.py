"""Advantages, losses and gradients of GRPO, GSPO, CISPO and RLOO against TRL's own trainers on the same tensors.

TRL's side is `_generate_and_score_completions` and `_compute_loss` of real trainers, in which only the sampling is
replaced by given completions; this library's the `credit`, `advantages` and `loss` of its algorithms, with its own
log-prob pass over another copy of the weights. What the two do differently on purpose stands in docs/from-trl.md and is
the subject of a test here, or is set to the same value.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.build import build_algorithm
from rl4lms.algorithms.learner import Learner
from rl4lms.config.algorithms import OptimizerConfig
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from rl4lms.plugins.component import Component
from rl4lms.rollout.engine import log_prob_pass
from rl4lms.types import Experience, Rollout, Sample
from tests.tiny import number_tokenizer, tiny_lm

pytestmark = pytest.mark.doors
trl = pytest.importorskip("trl", reason="trl is not installed: make test-doors")
datasets = pytest.importorskip("datasets")

BUDGET, GROUP = 6, 4
#: Two prompts, and completions of each: one token to the whole budget, ended by an EOS (1) or cut.
PROMPTS = ("1 2 3", "4")
COMPLETIONS = [
    [4, 9, 1],
    [1],
    [7, 8, 9, 10, 11, 12],
    [5, 5, 6, 1],
    [20, 21, 1],
    [4, 9, 1],
    [13, 3, 4, 5, 6, 1],
    [22, 1],
]
#: Of the largest gradient, in float32. Seen: 2.5e-6 at most.
TOLERANCE = 1e-5
Stats = dict[str, float]


@dataclass
class Sides:
    """A trainer of TRL's, and what this library trains, with the same weights."""

    trainer: Any
    lm: Any
    policy: Policy
    ref_policy: Policy
    given: list[float | None]
    temperature: float

    def batch(self) -> tuple[dict[str, Any], Rollout]:
        """What TRL generates and scores of two prompts, and the same completions as a rollout of ours."""
        rows = [{"prompt": prompt} for prompt in PROMPTS for _ in range(GROUP)]
        output = self.trainer._generate_and_score_completions(rows)
        completions = output["completion_mask"].bool()
        assert [
            ids[real].tolist() for ids, real in zip(output["completion_ids"], completions, strict=True)
        ] == COMPLETIONS
        blank = [""] * len(rows)
        rollout = Rollout(
            samples=[Sample(id=str(i), prompt=row["prompt"]) for i, row in enumerate(rows)],
            prompt_ids=output["prompt_ids"],
            prompt_mask=output["prompt_mask"].bool(),
            completion_ids=output["completion_ids"],
            completion_mask=completions,
            prompts=blank,
            completions=blank,
            texts=blank,
            terminated=torch.ones(len(rows), dtype=torch.bool),
            group_size=GROUP,
        )
        return output, rollout

    def experience(self, rollout: Rollout) -> Experience:
        """With the log-probs of both policies, and the given rewards on the last tokens."""
        current = log_prob_pass(self.policy, rollout, temperature=self.temperature)
        reference = log_prob_pass(self.ref_policy, rollout)
        assert current.logprobs is not None
        assert current.full_logprobs is not None
        assert reference.full_logprobs is not None
        scores, rows = torch.zeros_like(current.logprobs), torch.arange(len(rollout))
        scores[rows, rollout.completion_mask.sum(-1) - 1] = torch.tensor([s or 0.0 for s in self.given])
        scored = torch.tensor([s is not None for s in self.given])
        e = Experience(rollout, current.logprobs, scores, scored, reference.full_logprobs)
        e.kl = (current.full_logprobs - reference.full_logprobs) * rollout.completion_mask
        return e

    def theirs(self, inputs: dict[str, Any]) -> tuple[float, dict[str, Tensor]]:
        """TRL's loss and gradients."""
        model = self.trainer.model
        model.zero_grad()
        loss = self.trainer._compute_loss(model, inputs)
        loss.backward()
        return float(loss.detach()), {name: p.grad.clone() for name, p in model.named_parameters()}

    def ours(self, algorithm: Algorithm, e: Experience, micro: int | None = None) -> tuple[Stats, dict[str, Tensor]]:
        """Statistics, the loss among them, and gradients of all completions as one minibatch, `micro` rows at a time."""
        learner = Learner(self.policy, OptimizerConfig(micro_batch_size=micro), temperature=self.temperature)
        algorithm.bind(learner)
        stats, _ = learner.accumulate(algorithm, e, e.row_mask.nonzero()[:, 0])
        return stats, {name: p.grad.clone() for name, p in self.lm.named_parameters()}


def sides(folder: Path, which: str, given: list[float | None], family: str = "llama", **options: Any) -> Sides:
    """A real trainer, whose policy has moved away from its reference, and the same two models for this library."""
    tokenizer = number_tokenizer()
    tokenizer.padding_side = "left"
    tiny_lm(family, vocab_size=len(tokenizer)).save_pretrained(folder / "lm")
    options = {"temperature": 1.0, "beta": 0.0, "disable_dropout": True} | options
    trainer = getattr(trl, f"{which}Trainer")(
        model=str(folder / "lm"),
        reward_funcs=lambda completions, **columns: given[: len(completions)],
        args=getattr(trl, f"{which}Config")(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=2 * GROUP,
            num_generations=GROUP,
            max_completion_length=BUDGET,
            report_to="none",
            use_cpu=True,
            bf16=False,
            seed=3,
            **options,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS]),
        processing_class=tokenizer,
    )
    trainer._generate_single_turn = lambda *args, **kwargs: (COMPLETIONS, None) if which == "GRPO" else COMPLETIONS
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # what its loop sets
    ref_lm, lm = (tiny_lm(family, vocab_size=len(tokenizer)).eval() for _ in range(2))
    with torch.no_grad():
        for i, p in enumerate(trainer.model.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    lm.load_state_dict(trainer.model.state_dict())
    policy, ref_policy = (Policy(one, special_tokens(one, tokenizer)) for one in (lm, ref_lm))
    return Sides(trainer, lm, policy, ref_policy, given, options["temperature"])


def algorithm_of(name: str, **options: Any) -> Algorithm:
    return build_algorithm(Component(name=name, **options), GROUP)


def credited(algorithm: Algorithm, e: Experience, kl_coef: float = 0.0) -> Tensor:
    """The advantage (B,) of each completion."""
    algorithm.credit(e, kl_coef)
    algorithm.advantages(e)
    assert e.advantages is not None
    return e.advantages[:, 0]


def difference(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> float:
    """The largest difference of gradients, as a part of the largest gradient."""
    assert theirs.keys() == ours.keys()
    largest = max(float(g.abs().max()) for g in theirs.values())
    assert largest > 1e-3
    found = max(float((theirs[name] - ours[name]).abs().max()) for name in theirs) / largest
    print(f"gradients differ by {found:.2g} of the largest")
    return found


REWARDS: list[float | None] = [0.0, 1.0, 3.0, 2.0, -1.0, 5.0, 0.5, 0.5]
#: By what they are called: options of GRPOConfig, and the algorithm that docs/from-trl.md names for them.
LOSSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grpo": ({"loss_type": "grpo"}, {"name": "grpo"}),
    "clip-higher": (
        {"loss_type": "grpo", "epsilon": 0.1, "epsilon_high": 0.28},
        {"name": "grpo", "clip_range": 0.1, "clip_range_high": 0.28},
    ),
    "delta": ({"loss_type": "grpo", "delta": 1.5}, {"name": "grpo", "clip_dual": 1.5}),
    "bnpo": ({"loss_type": "bnpo"}, {"name": "grpo", "length_norm": "token"}),
    "dapo": (
        {"loss_type": "dapo", "epsilon_high": 0.28},
        {"name": "grpo", "length_norm": "token", "clip_range_high": 0.28},
    ),
    "dr_grpo": ({"loss_type": "dr_grpo"}, {"name": "grpo", "length_norm": "constant", "norm_length": BUDGET}),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.03, "epsilon_high": 0.05},
        {"name": "gspo", "clip_range": 0.03, "clip_range_high": 0.05},
    ),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.2}, {"name": "cispo", "clip_range_high": 0.2}),
}


@pytest.mark.parametrize(("beta", "temperature"), [(0.0, 0.8), (0.3, 1.0)], ids=["no KL", "KL"])
@pytest.mark.parametrize("case", LOSSES)
def test_losses_and_gradients_of_grpo(tmp_path: Path, case: str, beta: float, temperature: float) -> None:
    """With old and reference log-probs far enough away for ratios to be clipped, and not all of them."""
    settings, options = LOSSES[case]
    settings = settings | {"beta": beta, "temperature": temperature, "use_bias_correction_kl": False}
    both = sides(tmp_path, "GRPO", REWARDS, **settings)
    output, rollout = both.batch()
    e = both.experience(rollout)
    random = torch.Generator().manual_seed(1)
    e.logprobs = (e.logprobs + 0.3 * torch.randn(e.logprobs.shape, generator=random)) * e.mask
    assert e.ref_logprobs is not None
    e.ref_logprobs = (e.ref_logprobs + 0.3 * torch.randn(e.logprobs.shape, generator=random)) * e.mask
    advantages = torch.randn(len(rollout), generator=random)
    inputs = output | {"advantages": advantages, "old_per_token_logps": e.logprobs}
    if beta:
        inputs["ref_per_token_logps"] = e.ref_logprobs
    loss, gradients = both.theirs(inputs)
    algorithm = algorithm_of(**options)
    algorithm.credit(e, beta)
    e.advantages = advantages[:, None] * e.mask
    for micro in (None, 3):
        stats, mine = both.ours(algorithm, e, micro)
        assert stats["loss"] == pytest.approx(loss, rel=1e-5, abs=1e-6)
        assert 0 < stats["clip_fraction"] < 1
        assert difference(gradients, mine) <= TOLERANCE


@pytest.mark.parametrize("missing", [None, 2], ids=["all scored", "one without a reward"])
@pytest.mark.parametrize("scale", ["group", "none", "batch"])
def test_advantages_of_grpo(tmp_path: Path, scale: str, missing: int | None) -> None:
    """Of rewards that are large, so that the 1e-4 that TRL adds to a deviation is nothing, and whose mean is the same
    for both prompts, so that it is no matter whether the deviation of the batch is that of centred ones.
    """
    given: list[float | None] = [1e4, 3e4, 2e4, 2e4, 5e4, -1e4, 2e4, 2e4]
    if missing is not None:
        given[missing] = None  # the mean of the others is what it was
    both = sides(tmp_path, "GRPO", given, scale_rewards=scale)
    output, rollout = both.batch()
    ours = credited(algorithm_of("grpo", scale=scale), both.experience(rollout))
    assert ours.numpy() == pytest.approx(output["advantages"].numpy(), rel=1e-5, abs=1e-5)
    assert ours.abs().max() > 0.5
    assert missing is None or ours[missing] == 0


def test_small_deviations_are_not_shrunk_here(tmp_path: Path) -> None:
    """TRL adds 1e-4 to a deviation, which is 0.8e-4 here."""
    both = sides(tmp_path, "GRPO", [1e-4, 3e-4, 2e-4, 2e-4, 0.7, 0.7, 0.7, 0.7])
    output, rollout = both.batch()
    ours, theirs = credited(algorithm_of("grpo"), both.experience(rollout)), output["advantages"]
    assert float(ours[:GROUP].std()) == pytest.approx(1.0, abs=1e-4)
    assert float(theirs[:GROUP].std()) == pytest.approx(0.45, abs=0.01)
    assert not ours[GROUP:].any()


def test_the_deviation_of_a_batch_is_that_of_centred_rewards_here(tmp_path: Path) -> None:
    """In TRL it is that of the rewards, with what the prompts differ by."""
    both = sides(tmp_path, "GRPO", [1e4, 3e4, 2e4, 2e4, 9e4, 7e4, 8e4, 8e4], scale_rewards="batch")
    output, rollout = both.batch()
    ours = credited(algorithm_of("grpo", scale="batch"), both.experience(rollout))
    assert float(ours.std()) == pytest.approx(1.0, abs=1e-4)
    assert float(output["advantages"].std()) == pytest.approx(0.23, abs=0.01)


def test_a_first_step_of_grpo_with_its_default_kl(tmp_path: Path) -> None:
    """Advantages, log-probs and KL are each library's own. The KL term that TRL weighs with the ratio, its default, has
    the gradient of k2 where the ratio is 1.
    """
    both = sides(tmp_path, "GRPO", [1e4 * (r or 0.0) for r in REWARDS], beta=0.5, loss_type="dapo")
    assert both.trainer.args.use_bias_correction_kl
    output, rollout = both.batch()
    _, gradients = both.theirs(output)
    e, found = both.experience(rollout), {}
    for estimator in ("k2", "k3"):
        algorithm = algorithm_of("grpo", length_norm="token", kl_estimator=estimator)
        credited(algorithm, e, 0.5)
        found[estimator] = difference(gradients, both.ours(algorithm, e)[1])
    assert found["k2"] <= TOLERANCE
    assert found["k3"] > 0.01


def test_the_kl_is_at_temperature_1_here(tmp_path: Path) -> None:
    """In TRL both log-probs are divided by the temperature."""
    both = sides(tmp_path, "GRPO", REWARDS, beta=0.5, temperature=0.8)
    output, rollout = both.batch()
    out = log_prob_pass(both.ref_policy, rollout, temperature=0.8)
    assert out.logprobs is not None
    assert out.full_logprobs is not None
    theirs = output["ref_per_token_logps"] * rollout.completion_mask
    assert (out.logprobs - theirs).abs().max() < 1e-5
    assert (out.full_logprobs - theirs).abs().max() > 0.1


@pytest.mark.parametrize("beta", [0.0, 0.3], ids=["no KL", "KL in the return"])
def test_a_first_step_of_rloo(tmp_path: Path, beta: float) -> None:
    """The advantages, and the gradient at a ratio of 1, where a clipped surrogate is the policy gradient."""
    both = sides(tmp_path, "RLOO", REWARDS, beta=beta)
    output, rollout = both.batch()
    e, algorithm = both.experience(rollout), algorithm_of("rloo")
    assert credited(algorithm, e, beta).numpy() == pytest.approx(output["advantages"].numpy(), rel=1e-5, abs=1e-5)
    assert difference(both.theirs(output)[1], both.ours(algorithm, e)[1]) <= TOLERANCE


@pytest.mark.parametrize("which", ["GRPO", "RLOO"])
def test_a_completion_without_a_reward_counts_in_means_there(tmp_path: Path, which: str) -> None:
    """Its advantage is 0 in both; what a sum is divided by has it, or its tokens, in TRL alone."""
    given, missing = [None if r is None else 1e4 * r for r in REWARDS], 2
    given[missing] = None
    both = sides(tmp_path, which, given, **({"loss_type": "dapo"} if which == "GRPO" else {}))
    output, rollout = both.batch()
    algorithm = algorithm_of("grpo", length_norm="token") if which == "GRPO" else algorithm_of("rloo")
    e = both.experience(rollout)
    assert credited(algorithm, e).numpy() == pytest.approx(output["advantages"].numpy(), rel=1e-5, abs=1e-5)
    lengths = [len(ids) if which == "GRPO" else 1 for ids in COMPLETIONS]
    share = 1 - lengths[missing] / sum(lengths)
    mine = {name: g * share for name, g in both.ours(algorithm, e)[1].items()}
    assert difference(both.theirs(output)[1], mine) <= TOLERANCE


def test_a_padded_prompt_has_its_own_positions_here(tmp_path: Path) -> None:
    """TRL gives no position ids to the model, so that padding moves the positions that GPT-2 has learnt; rotary ones, of
    all other tests here, do not notice.
    """
    both = sides(tmp_path, "GRPO", REWARDS, family="gpt2")
    output, rollout = both.batch()
    ids, mask = (torch.cat([output[f"prompt_{x}"], output[f"completion_{x}"]], 1) for x in ("ids", "mask"))
    with torch.no_grad():
        theirs, *_ = both.trainer._get_per_token_logps_and_entropies(both.trainer.model, ids, mask, BUDGET)
        for row, completion in enumerate(COMPLETIONS):
            prompt = rollout.prompt_ids[row][rollout.prompt_mask[row]]
            alone = both.lm(torch.cat([prompt, torch.tensor(completion)])[None]).logits[0].log_softmax(-1)
            wanted = alone[len(prompt) - 1 : -1].gather(-1, torch.tensor(completion)[:, None])[:, 0]
            ours = both.experience(rollout).logprobs[row, : len(completion)]
            assert (ours - wanted).abs().max() < 1e-4
            padded = len(prompt) < rollout.prompt_ids.shape[1]
            assert ((theirs[row, : len(completion)] - wanted).abs().max() > 0.1) == padded
