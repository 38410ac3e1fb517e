"""Every key that a run logs, with its unit and what it says. `docs/log-keys.md` is made of this table.

A name in angle brackets stands for names that the recipe decides: parts of a reward, metrics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogKey:
    """One key, or a family of keys."""

    key: str
    unit: str
    meaning: str

    def covers(self, key: str) -> bool:
        """Tell whether a logged key is this one, or one of the family."""
        return re.fullmatch(re.sub(r"<\w+>", ".+", re.escape(self.key)), key) is not None

    @property
    def is_family(self) -> bool:
        """Whether a part of the key is a placeholder."""
        return "<" in self.key


# In the order of the documentation: a key that several lines cover is described by the first.
LOG_KEYS = (
    LogKey(
        "rollout/score",
        "score",
        "Mean over completions of what the reward said, without the KL term; scores of single tokens are added up.",
    ),
    LogKey(
        "rollout/score_std",
        "score",
        "Standard deviation of the same over completions; 0 where the reward tells none of them from another.",
    ),
    LogKey(
        "rollout/unique_completions",
        "share",
        "Different texts among the completions of an iteration, divided by how many there are.",
    ),
    LogKey("rollout/score/requests", "requests", "Requests that the reward `http` made, those tried again included."),
    LogKey("rollout/score/retries", "requests", "Of these, the ones that were tried again."),
    LogKey("rollout/score/failed_requests", "requests", "Requests of the reward `http` that failed for good."),
    LogKey("rollout/score/cached_rows", "completions", "Completions whose score the reward `http` knew already."),
    LogKey(
        "rollout/score/<part>",
        "score",
        "Mean of one part of a composed reward, before its weight; `<part>/requests` and its kin are of a part `http`.",
    ),
    LogKey(
        "rollout/reward",
        "score",
        "Mean over completions of what is trained on: the score minus `kl_coef` times the KL of its tokens.",
    ),
    LogKey("rollout/kl_coef", "score per nat", "Weight of the KL term in this iteration."),
    LogKey(
        "rollout/kl_per_token",
        "nats per token",
        "Mean over tokens of log-prob of the policy minus log-prob of the reference, both by the full softmax at "
        "temperature 1: an estimate of the KL divergence that may be negative, and what `kl.kl_target` steers.",
    ),
    LogKey(
        "rollout/kl_k3_per_token",
        "nats per token",
        "The k3 estimate of the same divergence: never negative, and less noisy while the policies are close.",
    ),
    LogKey("rollout/kl_per_sequence", "nats", "`kl_per_token` added up over a completion, mean over completions."),
    LogKey(
        "rollout/kl_behaviour_per_token",
        "nats per token",
        "Mean over tokens of the log-prob that the token was drawn with (temperature, top-k, top-p and mask included) "
        "minus the reference's full softmax: it has the effect of truncation, which `kl_per_token` does not see.",
    ),
    LogKey(
        "rollout/entropy",
        "nats per token",
        "Mean entropy of the distributions that tokens were drawn from: after temperature, inside the token mask.",
    ),
    LogKey(
        "rollout/removed_mass",
        "share",
        "Probability that top-k, top-p, the minimum length and a mask take away from the tempered softmax, mean "
        "over tokens; 0 without truncation.",
    ),
    LogKey("rollout/completion_tokens", "tokens", "Mean length of a completion, its EOS included."),
    LogKey(
        "rollout/terminated",
        "share",
        "Completions that ended with an EOS or a stop string; the others were cut by `max_new_tokens`.",
    ),
    LogKey(
        "rollout/sampler_error",
        "nats",
        "Largest difference between the sampler's log-prob of a token and the pass's: rounding, or the run stops.",
    ),
    LogKey(
        "rollout/truncated_prompts",
        "prompts",
        "Prompts of this iteration that were longer than `prompt.max_tokens`.",
    ),
    LogKey("rollout/masked_rows", "completions", "Completions without a score, which nothing is learned from."),
    LogKey(
        "rollout/skipped_in_a_row",
        "iterations",
        "Iterations up to this one, without a break, that had no score at all.",
    ),
    LogKey("rollout/reward_exceptions", "calls", "Calls of the reward that raised an error, and did not stop the run."),
    LogKey("rollout/reward_timeouts", "calls", "Calls of the reward that took longer than `reward_faults.timeout_s`."),
    LogKey("rollout/reward_non_finite", "completions", "Completions whose score was not finite."),
    LogKey(
        "train/loss",
        "1",
        "What is minimised: the policy loss, plus `vf_coef` times the value loss, minus `ent_coef` times the entropy.",
    ),
    LogKey("train/policy_loss", "1", "The clipped surrogate of the advantages, negated."),
    LogKey("train/value_loss", "score²", "Mean squared error of the value function, before `vf_coef`."),
    LogKey("train/entropy", "nats per token", "Entropy of the policy during the update; only with an `ent_coef`."),
    LogKey(
        "train/approx_kl",
        "nats per token",
        "The k3 estimate of the divergence of the policy from the one that sampled; what `target_kl` is compared with.",
    ),
    LogKey("train/clip_fraction", "share", "Tokens whose probability changed by more than `clip_range`, as a ratio."),
    LogKey("train/kl_in_loss", "nats", "Of GRPO and its kin: the KL term in the loss, per token, without coefficient."),
    LogKey("train/step_kl", "nats", "Of TRPO: the KL of the step, exact over the vocabulary, per token; 0: no step."),
    LogKey("train/step_fraction", "share", "Of TRPO: which part of the longest step was taken; 0: none."),
    LogKey("train/kept_completions", "share", "Of expert iteration: completions that were learned."),
    LogKey("train/grad_norm", "1", "Norm of the gradient before it is cut to `max_grad_norm`."),
    LogKey(
        "train/explained_variance",
        "share",
        "Variance of the returns that the values of the rollout explain: 1 is perfect, 0 no better than their mean.",
    ),
    LogKey("train/updates", "steps", "Optimiser steps of this iteration."),
    LogKey("train/early_stop", "0 or 1", "Whether `target_kl` ended the update before its last minibatch."),
    LogKey(
        "train/first_ratio_error",
        "1",
        "Largest distance of a ratio of new to old probabilities from 1 before any step: rounding, or the run stops.",
    ),
    LogKey("train/learning_rate", "1", "Learning rate of the policy in this iteration."),
    LogKey("train/health_warnings", "warnings", "Thresholds of [health](health.md) that are crossed now."),
    LogKey("train/mask_size", "tokens", "In a mask: mean number of tokens that it and the other truncation allow."),
    LogKey("train/mask_size_median", "tokens", "In a mask: the median of the same."),
    LogKey(
        "train/mask_refreshed",
        "0 or 1",
        "In a lagged mask: whether the masking policy became a copy of the policy after this update.",
    ),
    LogKey("time/rollout_s", "seconds", "Sampling the completions."),
    LogKey(
        "time/pass_s",
        "seconds",
        "Log-probs, entropy and values of the completions under the policy and the reference.",
    ),
    LogKey(
        "time/reward_s",
        "seconds",
        "Waiting for the reward after the pass; one that runs beside the pass may be done by then.",
    ),
    LogKey("time/update_s", "seconds", "The update."),
    LogKey("time/iteration_s", "seconds", "The four together: without evaluations and files."),
    LogKey(
        "time/tokens_per_s",
        "tokens per second",
        "Completion tokens of this iteration, divided by the time of the whole iteration.",
    ),
    LogKey("eval/reward", "score", "Mean score of the training reward on the evaluation's completions."),
    LogKey("eval/reward/<part>", "score", "Mean of one part of a composed reward, before its weight."),
    LogKey("eval/kl_per_token", "nats per token", "As `rollout/kl_per_token`."),
    LogKey("eval/kl_k3_per_token", "nats per token", "As `rollout/kl_k3_per_token`."),
    LogKey("eval/kl_per_sequence", "nats", "As `rollout/kl_per_sequence`."),
    LogKey(
        "eval/kl_behaviour_per_token",
        "nats per token",
        "As `rollout/kl_behaviour_per_token`, for the evaluation's decoding.",
    ),
    LogKey("eval/kl_behaviour_per_sequence", "nats", "The same added up over a completion, mean over completions."),
    LogKey("eval/entropy", "nats per token", "As `rollout/entropy`."),
    LogKey("eval/completion_tokens", "tokens", "As `rollout/completion_tokens`."),
    LogKey("eval/terminated", "share", "As `rollout/terminated`."),
    LogKey(
        "eval/masked/<key>",
        "as `eval/<key>`",
        "The same evaluation inside the mask, with `evaluation.generation.mask`.",
    ),
    LogKey(
        "eval/<metric>",
        "the metric's",
        "Mean of one key of a metric of `evaluation.metrics`; see the [metrics](metrics.md).",
    ),
)


def describe(key: str) -> LogKey | None:
    """Find the line that describes a logged key; None if there is none."""
    return next((line for line in LOG_KEYS if line.covers(key)), None)


def below_zero(values: Mapping[str, float | None]) -> str:
    """Return what is said of estimates of a KL below 0, by key with or without prefix; empty where there is none."""
    found = [
        key
        for key, value in values.items()
        if key.rpartition("/")[2].startswith("kl_") and value is not None and value < 0
    ]
    if not found:
        return ""
    return f"{', '.join(found)}: an unbiased estimate from samples, which can be below 0 where the KL is near it"
