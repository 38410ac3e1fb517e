"""Runs a reward, which is anybody's code: its errors get a name and a place, its time and its prints a limit."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from rl4lms.errors import RewardError, Rl4lmsError
from rl4lms.plugins import calling
from rl4lms.rewards import printing

# Threads of calls that were given up on and are still running. Python cannot end them; with more of them something is badly wrong.
MAX_STUCK = 64
_stuck: list[threading.Thread] = []


class RewardRaised(RewardError):
    """The reward raised an error."""


class RewardTimedOut(RewardError):
    """The reward did not return in time."""


def call(owner: str, reward: Callable[..., Any], arguments: Mapping[str, Any], timeout_s: float | None = None) -> Any:
    """What `reward(**arguments)` returns; an `async` reward is run to its end.

    With `timeout_s` the reward runs in a thread of its own. One that is too slow is left to itself: what it returns later is dropped, and
    it does not keep the process from ending. Errors of this library and Ctrl-C pass as they are.

    Raises:
        RewardRaised: the reward raised an error, or called `sys.exit`.
        RewardTimedOut: the time is over.
        RewardError: too many calls that were given up on are still running.
    """
    work = functools.partial(_run, reward, arguments)
    try:
        with printing.limited(owner) as budget:
            if timeout_s is None:
                return work()
            return _in_time(owner, reward, work, timeout_s, budget)
    except (Rl4lmsError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit and asyncio's CancelledError would end the program without a word
        raise RewardRaised(f"{owner} raised {calling.what_was_raised(reward, error)}") from error
    finally:
        if not _still_running():
            printing.restore()


def _run(reward: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    returned = reward(**arguments)
    return wait(returned) if inspect.isawaitable(returned) else returned


class Outcome:
    """What a call in another thread returned or raised."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None

    def __enter__(self) -> Outcome:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self.error = error
        return True  # it is raised where the call is waited for


def _in_time(owner: str, reward: Any, work: Callable[[], Any], seconds: float, budget: printing.Budget) -> Any:
    if len(_still_running()) >= MAX_STUCK:
        raise RewardError(f"{owner}: {MAX_STUCK} calls that ran out of time are still running; the reward needs a time-out of its own")
    outcome = Outcome()

    def target() -> None:
        with outcome:
            outcome.value = work()

    context = contextvars.copy_context()  # carries the limit on prints into the thread
    thread = threading.Thread(target=context.run, args=(target,), name="rl4lms-reward", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        frame = sys._current_frames().get(thread.ident or 0)
        place = calling.place_in(reward, traceback.extract_stack(frame)) if frame is not None else ""
        budget.close()
        _stuck.append(thread)
        raise RewardTimedOut(f"{owner} did not return within {seconds:g} s{f' (it was at {place})' if place else ''}")
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def _still_running() -> list[threading.Thread]:
    _stuck[:] = [thread for thread in _stuck if thread.is_alive()]
    return _stuck


def wait(awaitable: Awaitable[Any]) -> Any:
    """Runs an async reward to its end, also from inside a running event loop (a notebook has one)."""

    async def result() -> Any:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(result())
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(result())).result()
