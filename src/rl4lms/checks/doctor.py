"""Checks of a recipe before training: one iteration on a throwaway copy, with a verdict, a figure and likely causes for
each check.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError, DataError, ModelError, Rl4lmsError
from rl4lms.rewards.call import score_rollout
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.runs.display import Display
from rl4lms.supervised.assets import with_assets
from rl4lms.tasks import task_of
from rl4lms.training.loop import Loop
from rl4lms.training.run import assemble, check_trains
from rl4lms.types import Rollout, Sample

Status = Literal["ok", "warn", "fail"]

_PROMPTS_READ = 1000
_SHOWN = 400  # characters of a rendered conversation


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check.

    Attributes:
        name: what was checked.
        status: `fail` where training would be wrong or pointless, `warn` where it may be.
        figure: what was measured.
        why: likely causes and what to do, where something is off.
    """

    name: str
    status: Status
    figure: str
    why: str = ""


def examine(recipe: Recipe, folder: Path, *, rows: int = 32, display: Display | None = None) -> Iterator[Verdict]:
    """Run the checks, in the order in which they depend on each other; stop where nothing further can be checked.

    Args:
        recipe: what to check. The warm start is left out: its model is checked before it.
        folder: an empty folder for scratch files.
        rows: prompts of the iteration.
        display: shows the building of assets, and the decoding.
    """
    try:
        check_trains(recipe)
    except ConfigError as error:
        yield Verdict("recipe", "fail", "nothing to train", str(error))
        return
    except ModelError as error:
        yield Verdict("set-up", "fail", type(error).__name__, str(error))
        return
    if recipe.algorithm is None:
        yield from _data(recipe, None)
        yield Verdict(
            "reinforcement learning", "ok", "none: the recipe has no algorithm, so the other checks do not apply"
        )
        return
    small = _shrunk(recipe, rows)
    try:
        loop = assemble(with_assets(small, task_of(small), None if display is None else display.report), folder)
    except Rl4lmsError as error:
        yield Verdict("set-up", "fail", type(error).__name__, str(error))
        return
    config = loop.models.policy.lm.config
    parameters = sum(p.numel() for p in loop.models.policy.lm.parameters())
    yield Verdict(
        "model", "ok", f"{type(loop.models.policy.lm).__name__}, {parameters:,} parameters, {loop.models.policy.device}"
    )
    # `build_models` refuses models that fail it
    yield Verdict("padding", "ok", "log-probs of padded rows equal the model's own forward")
    yield _window(recipe, getattr(config, "max_position_embeddings", None), config.is_encoder_decoder)
    yield from _data(recipe, loop)
    samples, rule, decoded = _samples(loop, rows), loop.masking.rule if loop.masking else None, 0

    def show(completions: int) -> None:
        nonlocal decoded
        decoded += completions
        if display is not None:
            display.report("decoding", decoded, len(samples))

    rollout = loop.engine.rollout(samples, small.rollout, stream="train", step=0, mask_rule=rule, progress=show)
    yield _eos(small, loop, rollout)
    yield from _reward(loop, rollout)
    yield from _iteration(recipe, loop)
    yield _evaluation(loop)


def _shrunk(recipe: Recipe, rows: int) -> Recipe:
    training = recipe.training.model_copy(
        update={"prompts_per_iteration": rows, "iterations": max(1, recipe.training.iterations)}
    )
    evaluation = recipe.evaluation.model_copy(update={"prompts": min(rows, recipe.evaluation.prompts)})
    tracking = recipe.tracking.model_copy(update={"report_to": [], "progress": False})
    update = {
        "training": training,
        "evaluation": evaluation,
        "tracking": tracking,
        "supervised": None,
        "push_to_hub": None,
    }
    return recipe.model_copy(update=update)


def _samples(loop: Loop, rows: int) -> Sequence[Sample]:
    return [loop.samples[i % len(loop.samples)] for i in range(rows)]


def _window(recipe: Recipe, window: int | None, is_encoder_decoder: bool) -> Verdict:
    longest = max(recipe.rollout.max_new_tokens, recipe.decoding.max_new_tokens)
    needed = longest if is_encoder_decoder else recipe.prompt.max_tokens + longest
    if window is None:
        return Verdict("window", "ok", f"{needed} positions needed, the model has no limit")
    return Verdict("window", "ok", f"{needed} of {window} positions needed")


def _data(recipe: Recipe, loop: Loop | None) -> Iterator[Verdict]:
    samples = task_of(recipe).samples("train")
    yield Verdict("prompts", "ok", f"{len(samples):,} to train on")
    if loop is None:
        return
    some = samples[:_PROMPTS_READ]
    encoder = PromptEncoder(loop.models.tokenizer, loop.models.policy.tokens, recipe.prompt)
    try:
        encoder.check(some)
        longest = max(len(row) for row in encoder(some))
    except (ConfigError, DataError, ModelError) as error:
        yield Verdict("prompt settings", "fail", type(error).__name__, str(error))
        return
    if chats := [sample for sample in some if sample.messages]:
        shown = encoder.rendered(chats[0])
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN // 2] + " ... " + shown[-_SHOWN // 2 :]
        yield Verdict("conversations", "ok", f"{len(chats)} of {len(some)} prompts; the first is read as {shown!r}")
    truncated = encoder.truncated(some)
    share = truncated / len(some)
    figure = f"{truncated} of {len(some)} cut; longest {longest} of {recipe.prompt.max_tokens} tokens"
    if share > 0.05:
        side = recipe.prompt.truncation_side
        why = (
            f"The {side} end of {share:.0%} of the prompts is lost. "
            "Raise prompt.max_tokens, or cut the other end with prompt.truncation_side."
        )
        yield Verdict("prompt length", "warn", figure, why)
    else:
        yield Verdict("prompt length", "ok", figure)


@torch.no_grad()
def _eos(recipe: Recipe, loop: Loop, rollout: Rollout) -> Verdict:
    policy, share = loop.models.policy, float(rollout.terminated.float().mean())
    if not policy.tokens.eos:
        why = (
            "The model has no end-of-sequence token, so every completion runs to max_new_tokens. "
            "Set eos_token_id in its generation_config.json."
        )
        return Verdict("end of sequence", "warn", "no EOS token", why)
    with policy.running():
        batch = (rollout.prompt_ids, rollout.prompt_mask, rollout.completion_ids, rollout.completion_mask)
        hidden = policy.family.hidden(*batch)
        pieces = [
            policy.family.head(piece).float().softmax(-1)[:, list(policy.tokens.eos)].sum(-1)
            for piece in hidden.split(256)
        ]
    probability = torch.cat(pieces)
    figure = (
        f"{share:.0%} of completions end; P(EOS) per token {float(probability.mean()):.3g}, at most "
        f"{float(probability.max()):.3g}"
    )
    if recipe.rollout.min_new_tokens == recipe.rollout.max_new_tokens:
        return Verdict("end of sequence", "ok", figure + " (banned by min_new_tokens)")
    if share == 0 and float(probability.max()) < 0.01:
        why = (
            "Completions never end by themselves: the model was not trained to end such texts, or its EOS id is not "
            "the one it learned. "
            "The reward sees texts that are cut off; a warm start (supervised:) teaches EOS."
        )
        return Verdict("end of sequence", "warn", figure, why)
    return Verdict("end of sequence", "ok", figure)


def _reward(loop: Loop, rollout: Rollout) -> Iterator[Verdict]:
    start = time.perf_counter()
    try:
        output = score_rollout(loop.reward, rollout)
    except Rl4lmsError as error:
        yield Verdict("reward", "fail", type(error).__name__, str(error))
        return
    seconds = time.perf_counter() - start
    totals = [value for value in output.totals() if value is not None]
    missing = len(rollout) - len(totals)
    if not totals:
        yield Verdict(
            "reward",
            "fail",
            "None for every completion",
            "There is nothing to learn from: the reward leaves every row out.",
        )
        return
    spread = statistics.pstdev(totals)
    figure = f"mean {statistics.fmean(totals):.3g}, sd {spread:.3g}, {min(totals):.3g} to {max(totals):.3g}"
    if missing:
        figure += f", None for {missing} of {len(rollout)}"
    if spread == 0:
        why = (
            "Every completion gets the same reward, so there is nothing to learn from. Look at the texts, or at "
            "what the reward reads."
        )
        yield Verdict("reward", "fail", figure, why)
    else:
        yield Verdict("reward", "ok", figure)
    yield Verdict("reward time", "ok", f"{1000 * seconds / len(rollout):.3g} ms per completion")


def _iteration(recipe: Recipe, loop: Loop) -> Iterator[Verdict]:
    start = time.perf_counter()
    try:
        numbers = loop.step(0)
    except Rl4lmsError as error:
        # sampler and pass that disagree, a first ratio that is not 1, NaN: the message says which, and why
        yield Verdict("one iteration", "fail", type(error).__name__, str(error))
        return
    seconds = time.perf_counter() - start
    if "rollout/kl_per_token" in numbers:
        kl = abs(numbers["rollout/kl_per_token"])
        why = (
            "Before training, policy and reference are the same model. They differ where dropout is on, or it is "
            "not deterministic."
        )
        disagreement = loop.models.policy.disagreement(kl, kl)
        yield Verdict(
            "KL at step 0", "fail" if disagreement else "ok", f"{kl:.2g} nats per token", why if disagreement else ""
        )
    # The iteration stops where it is not
    yield Verdict("sampler = pass", "ok", f"{numbers['rollout/sampler_error']:.2g} nats at most")
    if "train/first_ratio_error" in numbers:
        yield Verdict("first ratio = 1", "ok", f"differs by {numbers['train/first_ratio_error']:.2g}")
    yield from _learning_rate(recipe, numbers)
    yield from _mask(recipe, numbers, loop.models.policy.tokens.vocab_size)
    rows = recipe.training.prompts_per_iteration * recipe.rollout.completions_per_prompt
    here = loop.recipe.training.prompts_per_iteration * recipe.rollout.completions_per_prompt
    each = seconds * rows / here
    yield Verdict(
        "time",
        "ok",
        f"about {each:.2g} s per iteration, {_duration(each * recipe.training.iterations)} in all, evaluations not "
        f"counted",
    )


def _learning_rate(recipe: Recipe, numbers: dict[str, float]) -> Iterator[Verdict]:
    if "train/clip_fraction" not in numbers:
        return
    clipped, moved = numbers["train/clip_fraction"], numbers["train/approx_kl"]
    figure = f"{recipe.optimizer.learning_rate:g}: {clipped:.1%} of ratios clipped, approx. KL {moved:.2g}"
    if clipped > 0.3:
        why = (
            "The first update already moves far. Lower optimizer.learning_rate or algorithm.n_epochs, or set "
            "algorithm.target_kl."
        )
        yield Verdict("learning rate", "warn", figure, why)
    elif moved < 1e-7:
        why = "The first update hardly moves the policy: expect many iterations, or raise optimizer.learning_rate."
        yield Verdict("learning rate", "warn", figure, why)
    else:
        yield Verdict("learning rate", "ok", figure)


def _mask(recipe: Recipe, numbers: dict[str, float], vocab_size: int) -> Iterator[Verdict]:
    if "train/mask_size" not in numbers:
        return
    size, removed = numbers["train/mask_size"], numbers["rollout/removed_mass"]
    assert recipe.algorithm is not None
    keep, top_p = recipe.algorithm.options["min_tokens_to_keep"], recipe.algorithm.options["mask_top_p"]
    figure = f"{size:.3g} of {vocab_size} tokens on average; {removed:.2%} of the probability removed"
    if keep > vocab_size / 10:
        why = (
            f"min_tokens_to_keep {keep} is more than a tenth of the vocabulary, so the mask hardly bites. Lower it; "
            f"1 is the default."
        )
        yield Verdict("mask", "warn", figure, why)
    elif removed < 1e-3 and top_p < 1:
        why = (
            "The mask removes next to nothing: NLPO will behave like PPO. Lower algorithm.mask_top_p or "
            "algorithm.min_tokens_to_keep."
        )
        yield Verdict("mask", "warn", figure, why)
    else:
        yield Verdict("mask", "ok", figure)


def _evaluation(loop: Loop) -> Verdict:
    start = time.perf_counter()
    try:
        numbers = loop.evaluate(0)
    except Rl4lmsError as error:
        return Verdict("evaluation", "fail", type(error).__name__, str(error))
    seconds = time.perf_counter() - start
    return Verdict(
        "evaluation",
        "ok",
        f"{len(numbers)} numbers, {1000 * seconds / loop.recipe.evaluation.prompts:.3g} ms per prompt",
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
