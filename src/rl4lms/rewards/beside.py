"""A reward that is computed beside the model's work."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import cast

from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.rewards import guard, printing
from rl4lms.rewards.call import RewardOutput, score_rollout
from rl4lms.types import Reward, Rollout


def begin(reward: Reward, rollout: Rollout, faults: RewardFaultsConfig) -> Callable[[], RewardOutput]:
    """Begins to score a rollout; the result is what `score_rollout` returns or raises, when it is asked for.

    Rewards that say `beside = True` (metrics that run no model, and servers) run in a thread: torch lets other threads work while it
    computes, so a reward that takes no longer than the log-prob pass costs next to nothing. Any other reward is called when its result is
    asked for, in the thread of the caller, as functions expect that use signals or the same accelerator.
    """
    work = functools.partial(score_rollout, reward, rollout, faults)
    return in_thread(work) if getattr(reward, "beside", False) else work


def in_thread(work: Callable[[], RewardOutput]) -> Callable[[], RewardOutput]:
    """Begins to work in a thread; the function that is returned waits, and returns or raises what `work` does."""
    outcome = guard.Outcome()

    def target() -> None:
        with outcome:
            outcome.value = work()

    printing.install()  # here, since threads exchange no streams
    # a daemon: a reward that hangs must not keep an interrupted process alive
    thread = threading.Thread(target=target, name="rl4lms-reward-beside", daemon=True)
    thread.start()

    def result() -> RewardOutput:
        thread.join()
        printing.restore()
        if outcome.error is not None:
            raise outcome.error
        return cast(RewardOutput, outcome.value)

    return result
