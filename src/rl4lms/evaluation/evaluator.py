"""Evaluation: decode a split, score it with every metric, measure the distance from the reference policy."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from rl4lms import distributed
from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.config.recipe import Recipe
from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.core.kl import k3
from rl4lms.errors import DataError
from rl4lms.metrics import compute_all
from rl4lms.models.build import Models
from rl4lms.models.generate import MaskRule
from rl4lms.models.policy import Policy
from rl4lms.models.text_nll import TextNll
from rl4lms.rewards.call import score_rollout
from rl4lms.rewards.composite import give_tokenizer
from rl4lms.rewards.faults import STRICT, Fault, for_evaluation
from rl4lms.rollout.engine import LocalEngine, log_prob_pass, sampler_error
from rl4lms.stats import mean_stderr
from rl4lms.tasks import samples_of
from rl4lms.types import Metric, MetricResult, Reward, Rollout, Sample, Task

# Evaluation draws do not depend on the training step: every evaluation of a run uses the same random numbers, so that
# differences between two of them come from the policy.
_EVALUATION_STEP = 0


@dataclass(slots=True, repr=False)
class EvalResult:
    """One evaluation.

    Attributes:
        results: by key, without the `eval/` prefix.
        samples: one record per completion: id, prompt (as far as it was seen, and `full_prompt` where it was cut; of a
            conversation its last message, and all of them as `messages`), completion, text (both as one), references,
            and per-sample values.
        faults: what went wrong in the reward; those rows are left out of its mean, and its `n` says how many remain.
        absent: metrics that were asked for and could not be computed, with what to do about it.
        prompts, available: how many prompts were evaluated, of how many.
    """

    results: dict[str, MetricResult]
    samples: list[dict[str, Any]] = field(default_factory=list)
    faults: tuple[Fault, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    prompts: int = 0
    available: int = 0

    @property
    def metrics(self) -> dict[str, float]:
        """Means by key."""
        return self.numbers("")

    def __repr__(self) -> str:
        told = ", ".join(f"{key} {result.mean:.4g}" for key, result in self.results.items())
        return f"EvalResult({self.prompts} prompts: {told})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(key)}</td><td>{r.mean:.4g}</td><td>{'' if r.stderr is None else f'± {r.stderr:.2g}'}</td>"
            f"<td>{r.n}</td></tr>"
            for key, r in self.results.items()
        )
        absent = "".join(f"<p>absent: {escape(name)}: {escape(why)}</p>" for name, why in self.absent.items())
        return f"<table><tr><th>metric</th><th>mean</th><th>error</th><th>n</th></tr>{rows}</table>{absent}"

    def numbers(self, prefix: str = "eval/") -> dict[str, float]:
        """Means by log key."""
        return {prefix + key: result.mean for key, result in self.results.items()}


@dataclass(slots=True)
class Evaluator:
    """What stays the same over the evaluations of a run.

    Attributes:
        engine: samples the policy.
        ref_policy: for the KL.
        samples: the prompts.
        settings: decoding.
        metrics: each called with prompts, completions, their texts, references and the other columns.
        reward: the training reward, reported as `reward` (and its parts); None where there is none.
        reward_faults: what to do when the reward fails. A row is left out where training would make its score up. A
            metric that fails always stops the evaluation.
        absent: metrics that lack an optional part, with what to do about it; reported with every result.
        available: how many prompts `samples` were drawn from.
    """

    engine: LocalEngine
    ref_policy: Policy
    samples: Sequence[Sample]
    settings: EvalGenerationConfig
    metrics: Sequence[Metric]
    reward: Reward | None = None
    reward_faults: RewardFaultsConfig = STRICT
    absent: Mapping[str, str] = field(default_factory=dict)
    available: int = 0

    def __call__(
        self, mask_rule: MaskRule | None = None, progress: Callable[[int, int], None] | None = None
    ) -> EvalResult:
        """Decode and score every prompt; with `mask_rule` inside that mask.

        With several processes the first measures the texts, and the others get means alone, without values and samples.
        The KL is that of the distribution that was sampled: full softmax at temperature 1 in `kl_per_token`, with
        truncation and mask in `kl_behaviour_per_token`.
        """
        rollout = self._decode(mask_rule, progress)
        policy_numbers = self._policy_numbers(rollout)
        found: list[EvalResult] = []

        def work() -> list[Any]:
            found.append(self._measured(rollout, policy_numbers))
            return [(r.key, r.mean, r.stderr, r.n) for r in found[0].results.values()]

        told = distributed.from_main(work)
        return found[0] if found else EvalResult({key: MetricResult(key, *numbers) for key, *numbers in told})

    def _measured(self, rollout: Rollout, policy_numbers: Mapping[str, MetricResult]) -> EvalResult:
        columns = rollout.columns()
        results: dict[str, MetricResult] = {}
        faults: tuple[Fault, ...] = ()
        if self.reward is not None:
            output = score_rollout(self.reward, rollout, for_evaluation(self.reward_faults), training=False)
            faults = output.faults
            results["reward"] = _summarise("reward", output.totals())
            for name, part in output.parts.items():
                results[f"reward/{name}"] = _summarise(f"reward/{name}", part)
        policy = self.engine.policy
        nll = TextNll(policy, self.engine.tokenizer, encode_prompts=self._prompt_ids)
        chats = {"conversations": rollout.conversations} if any(rollout.conversations) else {}
        results |= {result.key: result for result in compute_all(self.metrics, nll_of_texts=nll, **columns, **chats)}
        results |= policy_numbers
        n = self.settings.completions_per_prompt
        of_prompts = {key: by_prompt(result, n) for key, result in results.items()}
        available = max(self.available, len(self.samples))
        return EvalResult(of_prompts, _records(rollout, results), faults, self.absent, len(self.samples), available)

    def _prompt_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return token ids of prompts that a metric names by their texts; a conversation by its last message."""
        known: dict[str, Sample] = {}
        for sample in self.samples:
            if known.setdefault(sample.prompt, sample).messages != sample.messages:
                raise DataError(
                    f"evaluation: two conversations end with {sample.prompt[:60]!r}, and a metric that measures the "
                    "policy (reference_perplexity) cannot tell them apart; leave it out of evaluation.metrics"
                )
        if any(sample.messages for sample in self.samples) and (unknown := set(prompts) - known.keys()):
            raise DataError(
                f"evaluation: a metric asks for the nats of a text after {min(unknown)[:60]!r}, which no conversation "
                "ends with; a metric names prompts by `full_prompts`"
            )
        return self.engine.encoder([known.get(prompt) or Sample(prompt, prompt) for prompt in prompts])

    def _decode(self, mask_rule: MaskRule | None, progress: Callable[[int, int], None] | None) -> Rollout:
        s, done = self.settings, 0
        total = len(self.samples) * s.completions_per_prompt

        def decoded(completions: int) -> None:
            nonlocal done
            done += completions
            if progress is not None:
                progress(done, total)

        return self.engine.rollout(
            self.samples,
            s,
            stream="evaluation",
            step=_EVALUATION_STEP,
            completions_per_prompt=s.completions_per_prompt,
            mask_rule=mask_rule,
            progress=decoded,
        )

    def _policy_numbers(self, rollout: Rollout) -> dict[str, MetricResult]:
        temperature = self.settings.temperature or 1.0
        here = log_prob_pass(self.engine.policy, rollout, temperature=temperature)
        there = log_prob_pass(self.ref_policy, rollout, masked=False, entropy=False)
        assert (
            here.full_logprobs is not None
            and here.logprobs is not None
            and here.entropy is not None
            and there.full_logprobs is not None
        )
        if self.settings.num_beams == 1:  # beams have no log-probs of their own
            sampler_error(self.engine.policy, rollout, here)
        mask = rollout.completion_mask
        lengths = mask.sum(-1)
        kl = (here.full_logprobs - there.full_logprobs) * mask
        behaviour = (here.logprobs - there.full_logprobs) * mask
        numbers = {
            "kl_per_token": distributed.mean(kl, mask),
            "kl_k3_per_token": distributed.mean(k3(kl), mask),
            "kl_behaviour_per_token": distributed.mean(behaviour, mask),
            "entropy": distributed.mean(here.entropy, mask),
        }
        results = {key: MetricResult(key, value, None, int(mask.sum())) for key, value in numbers.items()}
        results["kl_per_sequence"] = _summarise("kl_per_sequence", kl.sum(-1).tolist())
        results["kl_behaviour_per_sequence"] = _summarise("kl_behaviour_per_sequence", behaviour.sum(-1).tolist())
        results["completion_tokens"] = _summarise("completion_tokens", lengths.tolist())
        results["terminated"] = _summarise("terminated", rollout.terminated.tolist())
        return results


def build_evaluator(
    recipe: Recipe,
    task: Task,
    models: Models,
    reward: Reward | None,
    metrics: tuple[Sequence[Metric], Mapping[str, str]],
    split: str | None = None,
) -> Evaluator:
    """Build the evaluator of the recipe's split, or another.

    Args:
        recipe: says how many prompts, how to decode, and what to do when the reward fails.
        task: has the prompts.
        models: the policy, its reference, and the tokenizer that rewards and metrics are given where they ask for one.
        reward: reported beside the metrics; None where there is none.
        metrics: those that can be computed, and what those lack that cannot; see `build.metrics_of`.
        split: the recipe's where None.

    Raises:
        DataError: the split has no prompts.
    """
    there = samples_of(task, split or recipe.evaluation.split)  # type: ignore[arg-type]
    samples = drawn(there, recipe.evaluation.prompts, recipe.evaluation.prompt_seed)
    engine = LocalEngine.create(models.policy, models.tokenizer, recipe.prompt, recipe.seed)
    give_tokenizer([*metrics[0], reward], engine.decoder)
    decoding, faults = recipe.decoding, recipe.reward_faults
    return Evaluator(engine, models.ref_policy, samples, decoding, metrics[0], reward, faults, metrics[1], len(there))


def drawn(samples: Sequence[Sample], most: int, seed: int) -> Sequence[Sample]:
    """Return all samples, or as many as asked for, drawn by the seed alone and in their order.

    The first ones of a file would not do: files come sorted, by a label or a length.
    """
    if len(samples) <= most:
        return samples
    return [samples[i] for i in sorted(random.Random(seed).sample(range(len(samples)), most))]


def _summarise(key: str, values: Sequence[float | None]) -> MetricResult:
    kept = [v for v in values if v is not None]
    shown = tuple(math.nan if v is None else float(v) for v in values)
    return MetricResult(key, *_mean_stderr(kept), len(kept), shown)


def _mean_stderr(values: Sequence[float]) -> tuple[float, float | None]:
    """As `stats` has it, and also of no values, and of those that are not finite, as a KL may be."""
    if values and all(map(math.isfinite, values)):
        return mean_stderr(values)
    return sum(values) / len(values) if values else math.nan, None


def by_prompt(result: MetricResult, completions_per_prompt: int) -> MetricResult:
    """Return the result with its error over prompts: several completions of one prompt are not independent."""
    if completions_per_prompt == 1 or result.values is None or len(result.values) % completions_per_prompt:
        return result
    groups = [
        result.values[i : i + completions_per_prompt] for i in range(0, len(result.values), completions_per_prompt)
    ]
    means = [sum(kept) / len(kept) for group in groups if (kept := [v for v in group if v == v])]
    return replace(result, stderr=_mean_stderr(means)[1], n=len(means))


def _records(rollout: Rollout, results: Mapping[str, MetricResult]) -> list[dict[str, Any]]:
    per_sample = {key: r.values for key, r in results.items() if r.values is not None and len(r.values) == len(rollout)}
    records: list[dict[str, Any]] = []
    for i, (sample, seen) in enumerate(zip(rollout.samples, rollout.prompts, strict=True)):
        whole: dict[str, Any] = {} if seen == sample.prompt else {"full_prompt": sample.prompt}
        whole |= {"messages": list(rollout.conversations[i])} if any(rollout.conversations) else {}
        texts = {"prompt": seen, **whole, "completion": rollout.completions[i], "text": rollout.texts[i]}
        values = {key: values[i] if values[i] == values[i] else None for key, values in per_sample.items()}
        records.append({"id": sample.id, **texts, "references": list(sample.references), **values})
    return records
