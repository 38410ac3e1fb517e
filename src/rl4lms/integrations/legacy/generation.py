"""`generation_kwargs` of the original, which transformers 4 read, as sampling settings of this library."""

from __future__ import annotations

from typing import Any

from rl4lms.integrations.legacy.old_file import Section

Settings = dict[str, Any]

#: What transformers 4 does where nothing is said.
TOP_K = 50
_NEUTRAL: dict[str, tuple[tuple[Any, ...], str]] = {
    "repetition_penalty": ((1.0, 1), "{name: repetition_penalty} among the rewards"),
    "no_repeat_ngram_size": ((0,), "{name: repetition_penalty} among the rewards"),
    "num_return_sequences": ((1,), "completions_per_prompt in rollout or evaluation.generation"),
    "num_beam_groups": ((1,), "beams search alone"),
    "early_stopping": ((False,), "beams search to their end"),
    "typical_p": ((1.0, 1), "top_p or top_k"),
    "max_length": ((), "max_new_tokens"),
    "min_new_tokens": ((), "min_length, which the original counts in new tokens"),
    "bad_words_ids": ((), "nothing of the kind is there"),
    "forced_bos_token_id": ((), "the model's own generation_config"),
    "decoder_start_token_id": ((), "the model's own config"),
    "eos_token_id": ((), "the model's own generation_config"),
    "pad_token_id": ((), "the tokenizer's"),
    "use_cache": ((True, False), "true or false"),
}
_KNOWN = ("do_sample", "top_k", "top_p", "temperature", "min_length", "max_new_tokens", "num_beams", "length_penalty")


def rollout(kwargs: Section, horizon: int) -> Settings:
    """Return how rollouts are sampled.

    Args:
        kwargs: `alg.policy.args.generation_kwargs`.
        horizon: `env.args.max_episode_length`.
    """
    if not kwargs.flag("do_sample", False):
        kwargs.refuse("do_sample", "rollouts must sample: write do_sample: True")
    if kwargs.number("num_beams", 1, ge=1, whole=True) > 1:
        kwargs.refuse("num_beams", "rollouts must sample, and beams do not: write num_beams: 1")
    kwargs.unneeded("length_penalty")
    found = _sampling(kwargs, horizon)
    if (longest := found["max_new_tokens"]) != horizon:
        shorter = min(longest, horizon)
        what = f"{longest}, and env.args.max_episode_length is {horizon}: the environment would not end where texts do"
        kwargs.fault("max_new_tokens", f"is {what}", f"the shorter, {shorter}")
        found["max_new_tokens"] = shorter
    kwargs.end(_KNOWN)
    return found


def evaluation(kwargs: Section, longest: int) -> Settings:
    """Return how evaluations decode.

    Args:
        kwargs: `generation_kwargs` of the evaluation.
        longest: completion where nothing is said.
    """
    beams, samples = kwargs.number("num_beams", 1, ge=1, whole=True), kwargs.flag("do_sample", False)
    found = _sampling(kwargs, longest)
    if beams > 1 and samples:
        kwargs.fault("do_sample", f"samples inside of {beams} beams", "beam search decides, nothing is sampled")
    if beams > 1 or not samples:
        found |= {"temperature": 1.0 if beams > 1 else 0.0, "top_k": 0, "top_p": 1.0}
    penalty = kwargs.number("length_penalty", 1.0) if beams > 1 else 1.0
    kwargs.unneeded(*(() if beams > 1 else ("length_penalty",)))
    kwargs.end(_KNOWN)
    return found | {"num_beams": beams, "length_penalty": penalty}


def as_rollout(settings: Settings) -> Settings:
    """Return the decoding of an evaluation that has none of its own."""
    return settings | {"num_beams": 1, "length_penalty": 1.0}


def _sampling(kwargs: Section, longest: int) -> Settings:
    kwargs.neutral(_NEUTRAL)
    found: Settings = {"max_new_tokens": kwargs.number("max_new_tokens", None, ge=1, whole=True)}
    if found["max_new_tokens"] is None:
        kwargs.fault("max_new_tokens", "is missing: transformers would stop at 20 tokens in all", f"{longest}")
        found["max_new_tokens"] = longest
    found["min_new_tokens"] = kwargs.number("min_length", 0, ge=0, whole=True)
    if found["min_new_tokens"] > found["max_new_tokens"]:
        most = found["max_new_tokens"]
        kwargs.fault("min_length", f"is above the longest text, {most} tokens", f"{most}")
        found["min_new_tokens"] = most
    found["temperature"] = float(kwargs.number("temperature", 1.0, gt=0))
    found["top_k"] = kwargs.number("top_k", TOP_K, ge=0, whole=True)
    if "top_k" not in kwargs and kwargs.values.get("do_sample"):
        kwargs.decide("top_k", f"top_k is not named: {TOP_K}, which transformers took")
    found["top_p"] = float(kwargs.number("top_p", 1.0, gt=0, le=1))
    return found
