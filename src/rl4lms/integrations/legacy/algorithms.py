"""Algorithms and policies of the original by id, as blocks of a recipe, with the original's defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rl4lms.errors import did_you_mean, plural, shown
from rl4lms.integrations.legacy.old_file import Section
from rl4lms.plugins import registry

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Option:
    """One argument of an algorithm that is a number or a flag, under another name or the same.

    Attributes:
        name: of the option here.
        original: what the original does where nothing is said.
        differs: whether the option's default here is another one.
        ge, gt, le: bounds.
        whole: whether it is a whole number.
    """

    name: str
    original: Any
    differs: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    whole: bool = False


_ACTOR_CRITIC = {
    "gamma": Option("gamma", 0.99, differs=True, gt=0, le=1),
    "gae_lambda": Option("gae_lambda", 0.95, ge=0, le=1),
    "normalize_advantage": Option("whiten_advantages", True),
    "ent_coef": Option("ent_coef", 0.0, ge=0),
    "vf_coef": Option("vf_coef", 0.5, ge=0),
}
_PPO = {
    **_ACTOR_CRITIC,
    "n_epochs": Option("n_epochs", 10, differs=True, ge=1, whole=True),
    "clip_range": Option("clip_range", 0.2, gt=0),
    "clip_range_vf": Option("clip_range_vf", None, gt=0),
    "target_kl": Option("target_kl", None, gt=0),
}
OPTIONS: dict[str, Mapping[str, Option]] = {
    "ppo": _PPO,
    "nlpo": _PPO,
    "a2c": {
        **_ACTOR_CRITIC,
        "gae_lambda": Option("gae_lambda", 1.0, ge=0, le=1),
        "normalize_advantage": Option("whiten_advantages", False, differs=True),
    },
    # Its learning rate and minibatches are those of the value function, there and here.
    "trpo": {
        "gamma": _ACTOR_CRITIC["gamma"],
        "gae_lambda": _ACTOR_CRITIC["gae_lambda"],
        "normalize_advantage": _ACTOR_CRITIC["normalize_advantage"],
        "target_kl": Option("target_kl", 0.01, gt=0),
        "cg_max_steps": Option("cg_steps", 15, differs=True, ge=1, whole=True),
        "cg_damping": Option("cg_damping", 0.1, ge=0),
        "line_search_shrinking_factor": Option("line_search_shrink", 0.8, gt=0),
        "line_search_max_iter": Option("line_search_steps", 10, ge=1, whole=True),
        "n_critic_updates": Option("n_epochs", 10, ge=1, whole=True),
        "sub_sampling_factor": Option("fisher_every", 1, ge=1, whole=True),
    },
}
#: Of each algorithm: learning rate, n_steps, batch_size (None: the whole rollout is one batch).
_SIZES: dict[str, tuple[float, int, int | None]] = {
    "ppo": (3e-4, 2048, 64),
    "nlpo": (3e-4, 2048, 64),
    "a2c": (7e-4, 5, None),
    "trpo": (1e-3, 2048, 128),
}
#: The defaults of `minibatch_size` here.
_MINIBATCHES = {"ppo": 16, "nlpo": 16, "a2c": 64, "trpo": 64}


def ours(name: str) -> Tree:
    """Return those defaults of an algorithm's options here that the original has as well, and of its minibatch."""
    same = {option.name: option.original for option in OPTIONS[name].values() if not option.differs}
    return same | {"minibatch_size": _MINIBATCHES[name]}


def name_of(alg: Section) -> str:
    """Return the algorithm; what the file calls supervised in any way is `supervised`."""
    name: str = alg.text("id")
    if "supervised" in name:
        return "supervised"
    if name and name not in OPTIONS:
        alg.refuse("id", f"no algorithm {shown(name)} in the original; {did_you_mean(name, [*OPTIONS, 'supervised'])}")
    elif name and name not in registry.algorithms:
        alg.refuse("id", f"{name}: this version has no algorithm {name} (rl4lms ls algorithms)")
    return name if name in OPTIONS else "ppo"


def settings(name: str, alg: Section, env: Section, horizon: int) -> tuple[Tree, str]:
    """Return the blocks that `alg.args` and the size of the rollout amount to, and how that size was computed.

    Args:
        name: of the algorithm.
        alg: the block `alg`.
        env: the block `env`.
        horizon: the longest completion, in tokens; the original counts rollouts and minibatches in tokens.
    """
    args, (rate, steps, batch) = alg.section("args", None), _SIZES[name]
    n_envs, n_steps = env.number("n_envs", 1, ge=1, whole=True), args.number("n_steps", steps, ge=1, whole=True)
    prompts = max(1, math.ceil(n_steps * n_envs / horizon))
    algorithm: Tree = {"name": name}
    for key, option in OPTIONS[name].items():
        algorithm[option.name] = _value(args, key, option)
    if batch is not None:
        batch = args.number("batch_size", batch, ge=1, whole=True)
        algorithm["minibatch_size"] = size = max(1, math.ceil(batch / horizon))
        args.decide(
            "batch_size", f"minibatch_size: {batch} tokens / {horizon}, rounded up: {plural(size, 'completion')}"
        )
    else:  # one optimiser step
        if "batch_size" in args:
            args.refuse("batch_size", f"the original's {name} has none: an iteration is one batch; leave it out")
        algorithm["minibatch_size"] = max(prompts, _MINIBATCHES[name])
    optimizer: Tree = {"learning_rate": args.number("learning_rate", rate, gt=0)}
    optimizer["max_grad_norm"] = args.number("max_grad_norm", 0.5, gt=0)
    if name == "a2c" and args.flag("use_rms_prop", True):
        optimizer |= {"name": "rmsprop", "eps": args.number("rms_prop_eps", 1e-5, gt=0)}
    elif name == "a2c":
        args.unneeded("rms_prop_eps")
    new: Tree = {"algorithm": algorithm, "optimizer": optimizer}
    new["training"] = {"prompts_per_iteration": prompts}
    new |= _run(args)
    args.end((*OPTIONS[name], "learning_rate", "n_steps", "batch_size", "max_grad_norm", "seed", "device"))
    rounded = "" if n_steps * n_envs % horizon == 0 else ", rounded up"
    told = f"{plural(prompts, 'prompt')}: n_steps {n_steps} x n_envs {n_envs} / max_episode_length {horizon}{rounded}"
    return new, told


def _value(args: Section, key: str, option: Option) -> Any:
    if isinstance(option.original, bool):
        return args.flag(key, option.original)
    return args.number(key, option.original, ge=option.ge, gt=option.gt, le=option.le, whole=option.whole)


def _run(args: Section) -> Tree:
    """Return what is said of the run as a whole: seed, device, TensorBoard."""
    new: Tree = {}
    seed = args.number("seed", None, ge=0, whole=True)
    if seed is None:
        args.decide("seed", "no seed is named, and the original drew another one each time: 0; or --seeds 0,1,2")
    else:
        new["seed"] = seed
    device = args.text("device", "auto")
    if device not in ("auto", "cpu", "cuda", "mps"):
        args.refuse("device", f"{shown(device)}: auto, cpu, cuda or mps; which GPU says CUDA_VISIBLE_DEVICES")
    elif device != "auto":
        new["device"] = device
    if args.text("tensorboard_log", None) is not None:
        args.decide("tensorboard_log", "TensorBoard's files are in the run folder, under tensorboard/")
        new["tracking"] = {"report_to": ["tensorboard"]}
    args.neutral(
        {
            "use_sde": ((False,), "state-dependent exploration is for continuous actions"),
            "sde_sample_freq": ((-1,), "state-dependent exploration is for continuous actions"),
            "verbose": ((0, 1, 2), "0, 1 or 2"),
        }
    )
    return new


def policy(name: str, section: Section, rmsprop: bool) -> tuple[Tree, Section, bool]:
    """Return what `alg.policy` amounts to, its arguments, and whether the model is an encoder-decoder."""
    ids = [f"{mask}{kind}_lm_actor_critic_policy" for mask in ("", "maskable_") for kind in ("causal", "seq2seq")]
    kind, args = section.text("id"), section.section("args")
    if kind and kind not in ids:
        section.refuse("id", f"no policy {shown(kind)} in the original; {did_you_mean(kind, ids)}")
    section.end()
    new: Tree = {"model": {"path": args.text("model_name")}}
    new["optimizer"] = {"weight_decay": args.number("weight_decay", 1e-6, ge=0)}
    new["optimizer"] |= _optimizer(args.section("optimizer_kwargs", None), rmsprop)
    if name == "nlpo":
        new["algorithm"] = _mask(args)
    elif kind.startswith("maskable_"):
        section.refuse("id", f"{kind} is for nlpo; with {name} write {kind.removeprefix('maskable_')}")
    args.flag("apply_model_parallel", True)
    args.unneeded("apply_model_parallel")
    args.neutral(
        {
            "use_sde": ((False,), "state-dependent exploration is for continuous actions"),
            "state_dict": ((), "weights come from a folder: alg.policy.args.model_name"),
            "optimizer_class": (("AdamW",), "optimizer.name of a recipe: adamw, rmsprop or sgd"),
        }
    )
    return new, args, "seq2seq" in kind


def _optimizer(args: Section, rmsprop: bool) -> Tree:
    """Return `optimizer_kwargs`. The original puts arguments of its own in their place where A2C has RMSprop, and gives
    every group of parameters the policy's `weight_decay`.
    """
    args.unneeded("weight_decay", *(("eps",) if rmsprop else ()))
    new: Tree = {} if rmsprop or "eps" not in args else {"eps": args.number("eps", None, ge=0)}
    args.neutral({"lr": ((), "alg.args.learning_rate sets it"), "betas": ((), "optimizer.betas of a recipe sets them")})
    args.end(("weight_decay", "eps"))
    return new


def _mask(args: Section) -> Tree:
    """Return NLPO's mask; what was another thing in the original is said once."""
    kind = args.text("mask_type", "learned_top_k")
    if kind == "learned_top_k":
        args.refuse("mask_type", "learned_top_k (the original's default): the mask here is a top-p: learned_top_p")
    elif kind == "topk":
        args.refuse("mask_type", "topk cuts the policy itself: write alg.id: ppo with generation_kwargs.top_k")
    elif kind != "learned_top_p":
        args.refuse("mask_type", f"{shown(kind)}: write learned_top_p")
    top_p = args.number("top_mask", gt=0)
    if top_p > 1 and kind == "learned_top_p":
        args.refuse("top_mask", f"must be at most 1 as a probability, got {top_p:g}")
    fewest = args.number("min_tokens_to_keep", 100, ge=1, whole=True)
    every = args.number("target_update_iterations", 1000, ge=1, whole=True)
    args.decide(
        "target_update_iterations",
        f"mask_update_every: {every}. In the original the mask never changed and log-probs were not renormalised "
        "inside it; both are as published here, so its numbers will not come out",
    )
    if fewest >= 100:
        args.decide(
            "min_tokens_to_keep",
            f"min_tokens_to_keep: {fewest} tokens stay whatever top_mask says; with 1 the mask bites",
        )
    return {"mask_top_p": top_p, "min_tokens_to_keep": fewest, "mask_update_every": every}
