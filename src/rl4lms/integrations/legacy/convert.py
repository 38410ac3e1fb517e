"""A YAML file of the original RL4LMs (0.2.2) as the settings of a recipe, and what was noticed on the way."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rl4lms.config.reader import read_file
from rl4lms.config.recipe import Recipe
from rl4lms.config.resolve import merge_defaults, run_name
from rl4lms.errors import ConfigError
from rl4lms.integrations.legacy import algorithms, generation, metrics, pools, rewards
from rl4lms.integrations.legacy.old_file import Note, Notes, Section, refuse_all

Tree = dict[str, Any]

#: The blocks of an old file. A recipe has none of these keys, and an old file none of a recipe's.
OLD_KEYS = ("tokenizer", "reward_fn", "datapool", "env", "alg", "train_evaluation")
_NEEDED = ("datapool", "alg")  # what every old file has


@dataclass(frozen=True, slots=True)
class Conversion:
    """What an old file amounts to.

    Attributes:
        path: of the old file.
        settings: nested settings of a recipe, all that the old file or the original's defaults decide.
        notes: faults, decisions, and what is left to the user.
        rollouts: how many prompts a rollout has, and how that was computed; empty for a supervised file.
    """

    path: str
    settings: Tree
    notes: Notes
    rollouts: str


def is_original(path: str | os.PathLike[str]) -> bool:
    """Return whether a YAML file is one of the original; a file that cannot be read is none.

    Raises:
        ConfigError: it has blocks of the original beside keys of a recipe.
    """
    try:
        tree, where = read_file(path)
    except ConfigError:
        return False  # whoever reads it as a recipe says what is wrong with it
    if not any(key in tree for key in _NEEDED):
        return False
    theirs, ours = ([key for key in tree if key in keys] for keys in (OLD_KEYS, Recipe.model_fields))
    if ours:
        raise ConfigError(
            f"{where[ours[0],]}: {ours[0]}: is a key of recipes, and {theirs[0]} ({where[theirs[0],]}) one of the "
            "original RL4LMs; a file has the one kind or the other"
        )
    return True


def convert(path: str | os.PathLike[str], strict: bool = False) -> Conversion:
    """Read a file of the original as the settings of a recipe.

    Args:
        path: the file.
        strict: refuse a file with faults instead of repairing them.

    Raises:
        ConfigError: the file is not strict YAML, or something in it cannot be converted: one line for each such thing,
            `file:line: key: reason`.
    """
    tree, where = read_file(path)
    notes = Notes()
    root = Section(tree, (), where, notes)
    alg = root.section("alg")
    name = algorithms.name_of(alg)
    read = _supervised if name == "supervised" else _on_policy
    settings, rollouts = read(name, root, alg)
    alg.end()
    root.end()
    pool = str(settings.get("task", {}).get("name"))
    if pool not in pools.SEVERAL_REFERENCES:
        notes.decided[:] = [note for note in notes.decided if note.text != metrics.FIRST_REFERENCE]
    notes.decided[:] = _once(notes.decided)
    for told in (notes.faults, notes.decided, notes.to_do):
        told.sort(key=lambda note: int(note.place.rpartition(":")[2]))
    if strict:
        notes.refused += [f"{note.place}: {note.key}: {note.text} (--strict)" for note in notes.faults]
    if notes.refused:
        refuse_all(notes)
    return Conversion(os.fspath(path), {"name": run_name(path) or "run", **settings}, notes, rollouts)


def _on_policy(name: str, root: Section, alg: Section) -> tuple[Tree, str]:
    """Return the settings of a file with rollouts, and what is said of their size."""
    env = root.section("env")
    args = env.section("args")
    horizon = args.number("max_episode_length", ge=1, whole=True)
    new, told = algorithms.settings(name, alg, env, horizon)
    rmsprop = new["optimizer"].get("name") == "rmsprop"
    of_policy, policy, seq2seq = algorithms.policy(name, alg.section("policy"), rmsprop)
    new = merge_defaults(of_policy, new)
    tokenizer = root.section("tokenizer")
    tokenizer.unneeded("truncation_side", "max_length")  # env.args.prompt_truncation_side and max_prompt_length count
    new["model"] |= _tokenizer(tokenizer, new["model"]["path"])
    new |= _task(root)
    new["prompt"] |= _prompt(args, policy, new["prompt"])
    new["reward"] = rewards.reward(root.section("reward_fn"))
    new["rollout"] = generation.rollout(policy.section("generation_kwargs", None), horizon)
    policy.end()
    _environment(args, seq2seq)
    env.end()
    new["kl"] = _kl(alg.section("kl_div"))
    last = root.section("train_evaluation")
    new["training"]["iterations"] = last.number("n_iters", ge=0, whole=True)
    new["evaluation"] = _evaluation(last, new["rollout"], root)
    new["evaluation"]["every"] = last.number("eval_every", ge=1, whole=True)
    new["checkpoint"] = {"every": last.number("save_every", 20, ge=1, whole=True)}
    last.end()
    return new, told


def _supervised(name: str, root: Section, alg: Section) -> tuple[Tree, str]:
    """Return the settings of a supervised file: the warm start alone."""
    tokenizer = root.section("tokenizer")
    new: Tree = {"model": {"path": alg.text("model_name")}, "algorithm": None, "reward": None}
    alg.text("model_type", choices=("causal", "seq2seq"))
    alg.unneeded("model_type")
    longest, side = (
        tokenizer.number("max_length", 512, ge=1, whole=True),
        tokenizer.text("truncation_side", "left", _SIDES),
    )
    if "max_length" not in tokenizer:
        tokenizer.decide("", "tokenizer.max_length is not named: 512 tokens; the original took the tokenizer's limit")
    new["model"] |= _tokenizer(tokenizer, new["model"]["path"])
    new |= _task(root)
    new["prompt"] |= {"max_tokens": longest, "truncation_side": side}
    new["supervised"] = _training_arguments(alg.section("training_args"), new)
    last, kwargs = root.section("train_evaluation"), alg.section("generation_kwargs")
    kwargs.neutral({"post_processing_fn": ((), "texts are scored as they are written")})
    if "post_processing_fn" not in kwargs:
        kwargs.fault("post_processing_fn", "is missing, and the original fails without it", "none, as null says")
    decoding = generation.evaluation(kwargs, 48)
    new["evaluation"] = {"metrics": metrics.metrics(last), "generation": decoding | _batch(last), "every": 0}
    _check_language(root, last)
    for key in ("reward_fn", "env"):
        if key in root:
            root.refuse(key, "has no effect with alg.id supervised; leave it out")
    last.unneeded("n_iters", "eval_every", "save_every")
    last.end()
    return new, ""


def _training_arguments(args: Section, new: Tree) -> Tree:
    """Return the warm start, with the defaults of transformers' `TrainingArguments`."""
    found: Tree = {
        "epochs": args.number("num_train_epochs", 3, gt=0),
        "batch_size": args.number("per_device_train_batch_size", 8, ge=1, whole=True),
        "learning_rate": args.number("learning_rate", 5e-5, gt=0),
        "lr_scheduler_type": args.text("lr_scheduler_type", "linear", _SCHEDULES),
        "weight_decay": args.number("weight_decay", 0.0, ge=0),
        "warmup_steps": args.number("warmup_steps", 0, ge=0, whole=True),
        "gradient_accumulation_steps": args.number("gradient_accumulation_steps", 1, ge=1, whole=True),
    }
    steps = args.number("max_steps", -1, whole=True)
    found |= {"max_steps": steps} if steps > 0 else {}
    args.unneeded("logging_steps", "save_total_limit", "save_steps", "save_strategy", "overwrite_output_dir")
    if "logging_steps" in args:
        args.decide(
            "logging_steps", "evaluated before and after training; the original also evaluated at every log line"
        )
    args.neutral(
        {
            "fp16": ((False,), "model.autocast: float16 of a recipe"),
            "bf16": ((False,), "model.autocast: bfloat16 of a recipe"),
            "warmup_ratio": ((0.0, 0), "warmup_steps"),
            "seed": ((), "the original overwrites it; --seeds, or seed of a recipe"),
            "output_dir": ((), "the original overwrites it; --output"),
        }
    )
    args.end(("num_train_epochs", "per_device_train_batch_size", "learning_rate", "lr_scheduler_type", "weight_decay"))
    return found


_SIDES = ("left", "right")
_SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt")


def _tokenizer(section: Section, model: str) -> Tree:
    """Return the tokenizer, where it is not the model's own name."""
    name = section.text("model_name")
    for key in ("padding_side", "truncation_side"):
        section.text(key, "left", _SIDES)
    section.flag("pad_token_as_eos_token", True)
    section.unneeded("padding_side", "pad_token_as_eos_token")
    section.end(("model_name",))
    return {} if name == model else {"tokenizer": name}


def _task(root: Section) -> Tree:
    found = pools.datapool(root.section("datapool"))
    return {"task": found["task"], "prompt": {"prefix": found.get("prefix", ""), "suffix": found.get("suffix", "")}}


def _prompt(env: Section, policy: Section, affixes: Mapping[str, str]) -> Tree:
    """Return length and truncation of prompts, which the original has twice: for rollouts, and for evaluations."""
    longest = env.number("max_prompt_length", ge=1, whole=True)
    side, other = (section.text("prompt_truncation_side", "left", _SIDES) for section in (env, policy))
    if side != other:
        env.fault(
            "prompt_truncation_side",
            f"is {side} in env.args and {other} in alg.policy.args: evaluations cut the other end of long prompts",
            f"{side} in both",
        )
    elif side == "left" and affixes["prefix"]:
        env.fault(
            "max_prompt_length",
            f"is {longest} with prompt_truncation_side left: long prompts lose the instruction in front of them",
            "the instruction is prompt.prefix, which is never cut",
        )
    return {"max_tokens": longest, "truncation_side": side}


def _environment(args: Section, seq2seq: bool) -> None:
    """Check what an environment is told and a rollout has no setting for."""
    ends = args.flag("terminate_on_eos", None)
    if ends is None:
        args.fault("terminate_on_eos", "is missing, which is False in the original", "texts end at their EOS")
    elif not ends:
        args.refuse("terminate_on_eos", "only True: a completion ends at its EOS")
    start = args.number("context_start_token", None, ge=0, whole=True)
    if start is not None and not seq2seq:
        what = f"is {start} with a causal model, whose texts would begin with that token"
        args.fault("context_start_token", what, "none: a completion continues its prompt")
    elif start is not None:
        args.unneeded("context_start_token")  # the model's own configuration has it
    args.neutral({"priority_scale": ((0.0, 0), "every prompt is drawn as often as any other")})
    args.end(("max_prompt_length", "max_episode_length", "prompt_truncation_side"))


def _kl(section: Section) -> Tree:
    """Return the KL term; the adaptive controller is the same one."""
    found: Tree = {"kl_coef": section.number("coeff", ge=0), "kl_target": section.number("target_kl", None, gt=0)}
    if found["kl_coef"] == 0 and found["kl_target"] is not None:
        section.decide("target_kl", "left out: the controller multiplies coeff, which is 0")
        found["kl_target"] = None
    section.neutral({"norm_reward": ((False,), "{name: standardise, reward: ...} standardises what the reward says")})
    section.end(("coeff", "target_kl"))
    return found


def _evaluation(last: Section, rollout: Tree, root: Section) -> Tree:
    """Return metrics and decoding of evaluations; decoding that is not named is that of rollouts."""
    kwargs = last.section("generation_kwargs", None)
    longest = rollout["max_new_tokens"]
    decoding = generation.evaluation(kwargs, longest) if kwargs.values else generation.as_rollout(rollout)
    _check_language(root, last)
    return {"metrics": metrics.metrics(last), "generation": decoding | _batch(last)}


def _batch(last: Section) -> Tree:
    size = last.number("eval_batch_size", ge=1, whole=True)
    last.decide("", "evaluated: 128 validation prompts (evaluation.prompts); the original took all, and those of test")
    return {"batch_size": size}


def _check_language(root: Section, last: Section) -> None:
    """Notice a BERTScore for English on references in German."""
    pool = root.section("datapool").values.get("id")
    for section in last.sections("metrics"):
        language = section.section("args", None).values.get("language", "en")
        if pool in pools.GERMAN and section.values.get("id") == "bert_score" and language == "en":
            section.fault("args", "language is en, and the references are German", "kept; write language: de")


def _once(notes: list[Note]) -> list[Note]:
    """Return the notes without those that say what an earlier one said."""
    seen: dict[str, Note] = {}
    for note in notes:
        seen.setdefault(note.text, note)
    return list(seen.values())
