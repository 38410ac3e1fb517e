"""Rewards of the original by id, as rewards of this library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl4lms.errors import did_you_mean, shown
from rl4lms.integrations.legacy import metrics
from rl4lms.integrations.legacy.metrics import INTENTS, Component, named
from rl4lms.integrations.legacy.old_file import Section

_ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def _plainly(name: str, **options: Any) -> Callable[[Section], Component]:
    return lambda args: {"name": name, **options}


def _shaped(args: Section, reward: Component, *weighted: tuple[Component, float]) -> Component:
    """Return a reward, or its sum with others and with what `shaping_fn` names; the original gave that no arguments."""
    parts = [{"reward": reward}] if not weighted else [{"reward": one, "weight": weight} for one, weight in weighted]
    shaping = args.text("shaping_fn", None)
    if shaping is None:
        return reward if not weighted else {"name": "sum", "parts": parts}
    if shaping not in _SHAPING:
        args.refuse(
            "shaping_fn", f"{shown(shaping)} cannot be made without arguments; {did_you_mean(shaping, _SHAPING)}"
        )
        return reward
    return {"name": "sum", "parts": [*parts, {"reward": dict(_SHAPING[shaping])}]}


def _meteor(args: Section) -> Component:
    return _shaped(args, {"name": "meteor"})


def _rouge(args: Section) -> Component:
    reward = metrics.rouge(args) | {"key": args.text("rouge_type", choices=_ROUGE)}
    return _shaped(args, reward)


def _rouge_combined(args: Section) -> Component:
    args.decide("", metrics.FIRST_REFERENCE)
    return _shaped(args, {"name": "rouge_combined"})


def _spider(args: Section) -> Component:
    weights = {"spice": args.number("spice_coeff"), "cider": args.number("cider_coeff")}
    parts = [({"name": name}, weight) for name, weight in weights.items() if weight]
    if not parts:
        args.refuse("spice_coeff", "both weights are 0, so nothing would be rewarded")
        return {"name": "spice"}
    return _shaped(args, parts[0][0], *parts)


def _intents(args: Section) -> Component:
    intent: Component = {"name": "intent_accuracy", "model": INTENTS}
    weights = (args.number("intent_coeff", 1.0), args.number("auto_coeff", 1.0))
    if not args.flag("shape", True):
        return intent
    args.decide("auto_coeff", "METEOR is that of the text; the original added the mean over texts before it")
    return _shaped(args, intent, (intent, weights[0]), ({"name": "meteor"}, weights[1]))


def _preference(args: Section) -> Component:
    size = args.text("model_type")
    model = f"commongen-prefs-{size}"
    reward: Component = {"name": "preference", "model": model, "form": "good_bad", "include_prompt": False}
    if "device" in args:
        device = args.text("device")
        reward["device"] = device.partition(":")[0]
        if ":" in device:
            args.decide("device", f"{device}: the device that CUDA_VISIBLE_DEVICES shows first")
    if "batch_size" in args:
        reward["batch_size"] = args.number("batch_size", ge=1, whole=True)
    args.to_do(
        "model_type",
        f"make an HF folder {model} of the checkpoint t5-{size}~commongen_prefs.pt, or name a preference model",
    )
    weight = args.number("concept_penalty_coeff", 0.0, ge=0)
    if weight:
        penalty = {"name": "concept_penalty", "weight": weight}
        reward = {"name": "product", "parts": [{"reward": reward}, {"reward": penalty}]}
    meteor = args.number("meteor_coeff", 0.0)
    return _shaped(args, reward, (reward, 1.0), ({"name": "meteor"}, meteor)) if meteor else reward


REWARDS: dict[str, Callable[[Section], Component]] = {
    "increasing_numbers": metrics.increasing_numbers,
    "sentences_with_dates": _plainly("dates"),
    "learned_reward": metrics.classifier,
    "meteor": _meteor,
    "rouge": _rouge,
    "rouge_combined": _rouge_combined,
    "bert_score": metrics.bert_score,
    "bleu": _plainly("bleu", smoothing="none"),
    "bleurt": lambda args: metrics.bleurt(args, "checkpoint"),
    "spider": _spider,
    "common_gen_repeat_penalty": _plainly("commongen_penalty"),
    "common_gen_repeat_penalty_batched": _plainly("commongen_penalty"),
    "parent": _plainly("parent"),
    "sacre_bleu": metrics.sacrebleu,
    "rouge_l_max": metrics.rouge_l_max,
    "ter": _plainly("ter"),
    "chrf": _plainly("chrf"),
    "intent_accuracy": _intents,
    "common_gen_preference_model": _preference,
}
# Those that the original can make without arguments.
_SHAPING: dict[str, Component] = {
    "common_gen_repeat_penalty": {"name": "commongen_penalty"},
    "common_gen_repeat_penalty_batched": {"name": "commongen_penalty"},
    "sentences_with_dates": {"name": "dates"},
    "meteor": {"name": "meteor"},
    "bert_score": {"name": "bert_score"},
    "bleu": {"name": "bleu", "smoothing": "none"},
    "parent": {"name": "parent"},
    "ter": {"name": "ter"},
    "chrf": {"name": "chrf"},
}


def reward(section: Section) -> Component:
    """Return the reward of an old file; the arguments of a class of the user's go to it as they are."""
    return named(section, "reward", REWARDS)
