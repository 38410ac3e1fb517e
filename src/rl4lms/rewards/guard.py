"""Runs a reward, which is anybody's code: its errors get a name and a place, and its time a limit."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from rl4lms.errors import RewardError, Rl4lmsError
from rl4lms.plugins import calling

Value = TypeVar("Value")

# Threads of calls that were given up on have this name. Python cannot end them; with more of them alive something is
# badly wrong.
GIVEN_UP = "rl4lms-reward-given-up"
MAX_GIVEN_UP = 64


class RewardRaised(RewardError):
    """The reward raised an error."""


class RewardTimedOut(RewardError):
    """The reward did not return in time."""


def call(owner: str, reward: Callable[..., Any], arguments: Mapping[str, Any], timeout_s: float | None = None) -> Any:
    """Return what `reward(**arguments)` returns; an `async` reward is run to its end.

    With `timeout_s` the reward runs in a thread of its own. One that is too slow is left to itself: what it returns
    later is dropped, and it does not keep the process from ending. Errors of this library and Ctrl-C pass as they
    are.

    Raises:
        RewardRaised: the reward raised an error, or called `sys.exit`.
        RewardTimedOut: the time is over.
        RewardError: too many calls that were given up on are still running.
    """
    work = functools.partial(_run, reward, arguments)
    try:
        return work() if timeout_s is None else _in_time(owner, reward, work, timeout_s)
    except (Rl4lmsError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit and asyncio's CancelledError would end the program without a word
        raise RewardRaised(f"{owner} raised {calling.what_was_raised(reward, error)}") from error


def _run(reward: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    returned = reward(**arguments)
    return wait(returned) if inspect.isawaitable(returned) else returned


def _in_time(owner: str, reward: Any, work: Callable[[], Any], seconds: float) -> Any:
    if sum(thread.name == GIVEN_UP for thread in threading.enumerate()) >= MAX_GIVEN_UP:
        raise RewardError(
            f"{owner}: {MAX_GIVEN_UP} calls that ran out of time are still running; the reward needs a time-out of "
            f"its own"
        )
    thread, future = in_thread(work, "rl4lms-reward")
    concurrent.futures.wait([future], seconds)  # and not result(seconds): a reward may raise TimeoutError itself
    if future.done():
        return future.result()
    thread.name = GIVEN_UP
    frame = sys._current_frames().get(thread.ident or 0)
    place = calling.place_in(reward, traceback.extract_stack(frame)) if frame is not None else ""
    raise RewardTimedOut(f"{owner} did not return within {seconds:g} s{f' (it was at {place})' if place else ''}")


def in_thread(work: Callable[[], Value], name: str) -> tuple[threading.Thread, Future[Value]]:
    """Begin to work in a thread; the future has what `work` returns or raises.

    The thread is a daemon, which those of an executor are not: a reward that hangs must not keep an interrupted
    process alive.
    """
    future: Future[Value] = Future()

    def target() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)
        else:
            future.set_result(value)

    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread, future


def wait(awaitable: Awaitable[Any]) -> Any:
    """Run an async reward to its end, also from inside a running event loop (a notebook has one)."""

    async def result() -> Any:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(result())
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(result())).result()
