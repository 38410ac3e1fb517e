"""A reward that is computed beside the model's work."""

from __future__ import annotations

import functools
from collections.abc import Callable

from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.rewards.call import RewardOutput, score_rollout
from rl4lms.rewards.guard import in_thread
from rl4lms.types import Reward, Rollout


def begin_scoring(reward: Reward, rollout: Rollout, faults: RewardFaultsConfig) -> Callable[[], RewardOutput]:
    """Begin to score a rollout; the result is what `score_rollout` returns or raises, when it is asked for.

    Rewards that say `in_background = True` (metrics that run no model, and servers) run in a thread: torch lets other
    threads work while it computes, so a reward that takes no longer than the log-prob pass costs next to nothing. Any
    other reward is called when its result is asked for, in the thread of the caller, as functions expect that use
    signals or the same accelerator.
    """
    work = functools.partial(score_rollout, reward, rollout, faults)
    return in_thread(work, "rl4lms-reward-background")[1].result if getattr(reward, "in_background", False) else work
