"""Scores from a server over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx2

from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.errors import ConfigError, DataError, RewardError
from rl4lms.plugins.options import Option
from rl4lms.rewards import guard
from rl4lms.rewards.call import GIVEN, RewardOutput, Scores, call_plainly, checked
from rl4lms.rewards.faults import STRICT, Fault, Kind, replacement

# Answers that may be another one next time: too busy, too early, or broken behind the address. Any other error is a
# mistake.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_LONGEST_WAIT_S = 60.0


class HttpReward:
    """Asks a server for scores.

    A request is a POST of `{"prompts": [...], "completions": [...], ...}`, one list per column with at most
    `batch_size` rows; the answer is `{"scores": [...]}` with one number per row, or null for a row that is to be left
    out. Rows that are equal in every column are sent once, and not again while their score is in the cache.

    A request that fails in a way that may pass (no connection, no answer in time, an overloaded server) is tried again,
    after a wait that doubles each time or that the server names (`Retry-After`). When it fails for good, its rows have
    no score: the run stops, or goes on without these rows, as `reward_faults.exception` says; `constant` leaves them
    out, too, because the state of a network says nothing about a text. An answer that is no score, or an error such as
    404, stops the run whatever the recipe says: it will not pass. With `reward_faults.timeout_s` the whole call has
    that time, and what is not answered then follows `reward_faults.timeout`.

    Messages show the url without user, password and query. The scores used most recently are kept.

    Attributes:
        in_background: True: the reward waits for a server and may run beside the model's work.

    Raises:
        ConfigError: the url is none, an environment variable is not set, or a header cannot be sent.
    """

    in_background = True

    def __init__(
        self,
        url: Annotated[str, Option("http:// or https://; $NAME is read from the environment", pattern=r"^https?://")],
        columns: Annotated[
            tuple[str, ...],
            Option("what is sent: any of prompts, full_prompts, completions, texts, references, data columns"),
        ] = (
            "prompts",
            "completions",
        ),
        batch_size: Annotated[int, Option("rows of one request", ge=1)] = 32,
        concurrency: Annotated[int, Option("requests at the same time", ge=1)] = 4,
        timeout_s: Annotated[
            float, Option("seconds for one request, from the first byte sent to the last received", gt=0)
        ] = 30.0,
        retries: Annotated[
            int, Option("further tries after a failure that may pass: no answer, 408, 425, 429, 5xx", ge=0)
        ] = 3,
        backoff_s: Annotated[float, Option("wait before the first retry; doubles with each", ge=0)] = 0.5,
        cache_size: Annotated[int, Option("scores that are kept, by a hash of what was sent; 0: none", ge=0)] = 100_000,
        headers: Annotated[
            dict[str, str],
            Option("such as Authorization; $NAME is read from the environment, so no secret is in the recipe"),
        ] = {},  # noqa: B006 - only read
    ) -> None:
        self._url, self._shown = _checked_url(url)
        self._columns, self._batch_size, self._concurrency = tuple(columns), batch_size, concurrency
        self._timeout_s, self._retries, self._backoff_s, self._cache_size = timeout_s, retries, backoff_s, cache_size
        self._headers = {name: _checked_header(name, value) for name, value in headers.items()}
        self._cache: OrderedDict[str, float] = OrderedDict()

    def __call__(self, **batch: Any) -> Scores:
        return call_plainly(self, batch)

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments as in `rl4lms.rewards.score`.

        Raises:
            DataError: a column to be sent is not there, or is no JSON.
            RewardError: the answer is no list of scores, the server refuses the request, or it fails and `faults` says
                `error`.
        """
        faults: RewardFaultsConfig = batch.get("faults", STRICT)
        completions = batch["completions"]
        given = {name: batch[name] for name in GIVEN if name in batch} | dict(batch["columns"])
        rows = self._rows(given, len(completions))
        keys = [hashlib.sha256(row.encode()).hexdigest() for row in rows]
        known: dict[str, float | None] = {key: self._cache[key] for key in keys if key in self._cache}
        unknown = list({key: row for key, row in zip(keys, rows, strict=True) if key not in known}.items())
        requests = [unknown[i : i + self._batch_size] for i in range(0, len(unknown), self._batch_size)]
        answers = (
            self._answers([[json.loads(row) for _, row in request] for request in requests], faults.timeout_s)
            if requests
            else []
        )
        found: list[Fault] = []
        failed: set[str] = set()
        for request, answer in zip(requests, answers, strict=True):
            if answer.failure is None:
                known |= zip((key for key, _ in request), answer.scores, strict=True)
                continue
            failed |= {key for key, _ in request}
            found.append(Fault(answer.kind, f"reward 'http': {len(request)} rows have no score: {answer.failure}"))
            # Raises where that is an error; nothing stands in for an answer that did not come
            replacement(faults, found[-1])
        lengths = [len(ids) for ids in batch["completion_ids"]]
        output = checked("reward 'http'", [known.get(key) for key in keys], lengths, completions, faults)
        self._remember(keys, known, failed)
        numbers = {
            "requests": float(sum(answer.tries for answer in answers)),
            "retries": float(sum(answer.tries - 1 for answer in answers)),
            "failed_requests": float(len(found)),
            "cached_rows": float(sum(key not in dict(unknown) for key in keys)),
        }
        return RewardOutput(output.scores, False, faults=(*found, *output.faults), numbers=numbers)

    def _rows(self, given: Mapping[str, Sequence[Any]], n: int) -> list[str]:
        """Return what is sent about each row, as JSON."""
        for name in self._columns:
            if name not in given:
                raise DataError(
                    f"reward 'http' sends the column {name!r}, which the data does not have; there are: "
                    f"{', '.join(sorted(given))}"
                )
        try:
            return [json.dumps([given[name][i] for name in self._columns]) for i in range(n)]
        except (TypeError, ValueError) as error:
            raise DataError(
                f"reward 'http': the columns {', '.join(self._columns)} cannot be sent as JSON: {error}"
            ) from error

    def _remember(self, keys: Sequence[str], known: Mapping[str, float | None], failed: set[str]) -> None:
        for key in keys:
            value = None if key in failed else known[key]
            if value is not None and math.isfinite(value):
                self._cache[key] = value
                self._cache.move_to_end(key)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)

    def _answers(self, requests: Sequence[list[list[Any]]], seconds: float | None) -> list[_Answer]:
        try:
            return guard.wait(self._ask_all(requests, seconds))
        except (RewardError, KeyboardInterrupt):
            raise
        except Exception as error:  # of the client
            raise RewardError(f"reward 'http': {self._shown}: {type(error).__name__}: {error}") from error

    async def _ask_all(self, requests: Sequence[list[list[Any]]], seconds: float | None) -> list[_Answer]:
        at_once = asyncio.Semaphore(self._concurrency)
        async with httpx2.AsyncClient(headers=self._headers, timeout=None) as client:
            tasks = [asyncio.create_task(self._ask(client, at_once, rows)) for rows in requests]
            done, late = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            failed = [task for task in done if task.exception() is not None]
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if failed:
                failed[0].result()
            over = _Answer(
                failure=f"no time was left: the whole call may take {seconds} s (reward_faults.timeout_s)",
                kind="timeout",
            )
            return [task.result() if task in done else over for task in tasks]

    async def _ask(self, client: httpx2.AsyncClient, at_once: asyncio.Semaphore, rows: list[list[Any]]) -> _Answer:
        """Try one request until there is an answer, or no try is left."""
        body = json.dumps({name: [row[place] for row in rows] for place, name in enumerate(self._columns)}).encode(
            "ascii"
        )
        failure, wait = "", 0.0
        for number in range(1 + self._retries):
            if number:
                await asyncio.sleep(min(_LONGEST_WAIT_S, max(wait, self._backoff_s * 2 ** (number - 1))))
            async with at_once:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        response = await client.post(
                            self._url, content=body, headers={"Content-Type": "application/json"}
                        )
                except TimeoutError:
                    failure, wait = f"no answer from {self._shown} within {self._timeout_s:g} s", 0.0
                    continue
                except (httpx2.HTTPError, OSError) as error:
                    failure, wait = f"{self._shown}: {type(error).__name__}{f': {error}' if str(error) else ''}", 0.0
                    continue
            if response.status_code not in _PASSING:
                return _Answer(self._read(response, len(rows)), number + 1)
            failure, wait = (
                f"{self._shown} answered {response.status_code} {response.reason_phrase}",
                _seconds(response),
            )
        return _Answer([], 1 + self._retries, f"{failure}, in {1 + self._retries} tries")

    def _read(self, response: httpx2.Response, rows: int) -> list[float | None]:
        """Read the scores out of an answer.

        Raises:
            RewardError: this is no answer with one score per row.
        """
        shown = " ".join(response.text[:200].split())
        if response.status_code != 200:
            raise RewardError(
                f"reward 'http': {self._shown} answered {response.status_code} {response.reason_phrase}: {shown}"
            )
        try:
            answer = response.json()
        except ValueError as error:
            raise RewardError(f"reward 'http': the answer of {self._shown} is no JSON: {shown}") from error
        scores = answer.get("scores") if isinstance(answer, dict) else answer
        if not isinstance(scores, list):
            raise RewardError(
                f"reward 'http': {self._shown} should answer {{\"scores\": [...]}}, and answered: {shown}"
            )
        if len(scores) != rows:
            raise RewardError(f"reward 'http': {self._shown} answered {len(scores)} scores for {rows} rows")
        wrong = next((score for score in scores if score is not None and not isinstance(score, int | float)), None)
        if wrong is not None:
            raise RewardError(
                f"reward 'http': {self._shown} answered {json.dumps(wrong)[:80]} where a number or null should be"
            )
        return scores


@dataclass(frozen=True, slots=True)
class _Answer:
    """Scores of one request, or why there are none."""

    scores: list[float | None] = field(default_factory=list)
    tries: int = 1
    failure: str | None = None
    kind: Kind = "exception"


def _seconds(response: httpx2.Response) -> float:
    """Return how long the server asks to wait; 0 where it does not say so in seconds."""
    text = response.headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0


def _checked_url(url: str) -> tuple[str, str]:
    """Return the address, and how messages show it: without what may be secret."""
    try:
        parsed = httpx2.URL(_from_environment("url", url))
    except httpx2.InvalidURL as error:
        raise ConfigError(f"reward 'http', option 'url': this is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError("reward 'http', option 'url': write http://HOST:PORT/PATH or https://...")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise ConfigError(f"reward 'http', option 'url': ports go from 1 to 65535, got {parsed.port}")
    return str(parsed), str(parsed.copy_with(userinfo=b"", query=None))


def _checked_header(name: str, value: str) -> str:
    """Return the value of a header; it may be secret, so messages show none of it."""
    content = _from_environment(f"header {name!r}", value).strip()
    if not content.isascii() or not content.isprintable() or not re.fullmatch(r"[!#$%&'*+.^_`|~\w-]+", name, re.ASCII):
        raise ConfigError(
            f"reward 'http', header {name!r}: names and values of headers are printable ASCII on one line"
        )
    return content


def _from_environment(where: str, text: str) -> str:
    def content(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"reward 'http', {where}: the environment variable {match[1]} is not set")
        return os.environ[match[1]]

    return re.sub(r"\$([A-Za-z_]\w*)", content, text)
