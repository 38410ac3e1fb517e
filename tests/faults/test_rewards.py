"""Rewards that misbehave: what is an error, what is a fault, what is done about a fault, and what stays untouched."""

from __future__ import annotations

import asyncio
import decimal
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.core.sampling import prompt_indices
from rl4lms.errors import ConfigError, DataError, RewardError
from rl4lms.metrics import compute
from rl4lms.rewards import build, guard, score
from rl4lms.rewards.combine import Sum
from rl4lms.training.run import run
from tests.runs import metric_lines, small_loop, small_recipe, weights_hash

MASK = RewardFaultsConfig(exception="mask", non_finite="mask", timeout="mask", timeout_s=0.2)
CONSTANT = RewardFaultsConfig(
    exception="constant", non_finite="constant", timeout="constant", timeout_s=0.2, constant=-3
)
BATCH: dict[str, Any] = {
    "prompts": ["p", "q", "r"],
    "completions": ["one", "two", "three"],
    "completion_ids": [[5], [6, 7], [8]],
    "references": [("x",), (), ("y", "z")],
    "columns": {"facts": [{"a": [1]}, {"a": [2]}, {"a": [3]}], "topic": ["s", "t", "u"]},
}
NAN, INF = float("nan"), float("inf")


def call(reward: Any, faults: RewardFaultsConfig | None = None, **changes: Any) -> Any:
    return score(reward, **BATCH | changes, **({} if faults is None else {"faults": faults}))


def giving(value: Any) -> Any:
    def mine(completions):
        return value

    return mine


# --- bugs: the wrong type or length is an error whatever the recipe says
# ----------------------------------------------------------------

WRONG = {
    "None": (None, "reward 'mine' returned NoneType None; expected a list with one number per completion"),
    "number": (0.5, "reward 'mine' returned float 0.5; expected a list with one number per completion"),
    "text": ("abc", "reward 'mine' returned str 'abc'; expected a list with one number per completion"),
    "dict": ({0: 1}, "reward 'mine' gives one value for a whole set of texts; a reward needs one per text"),
    "set": ({1, 2, 3}, "reward 'mine' returned set; expected a list with one number per completion"),
    "generator": (
        (i for i in range(3)),
        "reward 'mine' returned generator; expected a list with one number per completion",
    ),
    "tensor without rows": (
        torch.tensor(1.0),
        "reward 'mine' returned Tensor; expected a list with one number per completion",
    ),
    "numpy number": (
        np.float64(1),
        "reward 'mine' returned float64 np.float64(1.0); expected a list with one number per completion",
    ),
    "too few": ([1, 2], "reward 'mine' returned 2 values for 3 completions"),
    "too many": (torch.zeros(4), "reward 'mine' returned 4 values for 3 completions"),
    "none at all": ([], "reward 'mine' returned 0 values for 3 completions"),
    "far too many": (np.broadcast_to(0.0, (10**12,)), "reward 'mine' returned 1000000000000 values for 3 completions"),
    "texts": ([1, "2", 3], "reward 'mine': row 2 is str '2'; expected a number (completion 'two')"),
    "array of texts": (
        np.array(["1", "2", "3"]),
        "reward 'mine': row 1 is str '1'; expected a number (completion 'one')",
    ),
    "dicts": ([{}, 1, 2], "reward 'mine': row 1 is dict {}; expected a number (completion 'one')"),
    "decimals": ([decimal.Decimal(1), 1, 2], "reward 'mine': row 1 is Decimal; expected a number (completion 'one')"),
    "complex": ([1, 1j, 2], "reward 'mine': row 2 is complex 1j; expected a number (completion 'two')"),
    "lists and numbers": (
        [[1], 2, 3],
        "reward 'mine': row 2 is int 2 where other rows are lists; return one list per completion, or none",
    ),
    "lists of other lengths": ([[1], [2], [3]], "reward 'mine': row 2 has 1 values for the 2 tokens of its completion"),
    "long rows": (
        np.broadcast_to(0.0, (3, 10**9)),
        "reward 'mine': row 1 has 1000000000 values for the 1 tokens of its completion",
    ),
    "lists in lists": (
        [[[1]], [2, 3], [4]],
        "reward 'mine': row 1, token 1 is list [1]; expected a number (completion 'one')",
    ),
    "None in a row": (
        [[1], [2, None], [4]],
        "reward 'mine': row 2, token 2 is NoneType None; expected a number (completion 'two')",
    ),
    "tensor without data": (
        torch.zeros(3, device="meta"),
        "reward 'mine' returned a Tensor that cannot be read: NotImplementedError: Cannot copy out of meta tensor; no "
        "data!",
    ),
}


@pytest.mark.parametrize("faults", [None, MASK, CONSTANT], ids=["error", "mask", "constant"])
@pytest.mark.parametrize(("value", "message"), WRONG.values(), ids=WRONG)
def test_wrong_types_and_lengths_are_errors_under_every_policy(value, message, faults):
    with pytest.raises(RewardError) as caught:
        call(giving(value), faults)
    assert str(caught.value) == message


def test_numbers_of_every_kind_are_scores():
    assert call(giving([True, 2, np.float32(0.5)])).scores == [1.0, 2.0, 0.5]
    assert call(giving(torch.tensor([1, 2, 3]))).scores == [1.0, 2.0, 3.0]
    assert call(giving((torch.tensor(1.5), None, np.int8(-1)))).scores == [1.5, None, -1.0]


# --- faults: not finite
# -----------------------------------------------------------------------------------------------------------------

NOT_FINITE = {
    "NaN": (NAN, "nan"),
    "infinity": (-INF, "-inf"),
    "NaN in numpy": (np.float32("nan"), "nan"),
    "5,000 digits": (10**5000, "an integer of about 5000 digits, too large for float32"),
    "beyond float32": (1e39, "1e+39, too large for float32"),
}


@pytest.mark.parametrize(("value", "what"), NOT_FINITE.values(), ids=NOT_FINITE)
def test_a_row_that_is_not_finite(value, what):
    told = f"reward 'mine': row 2 is {what}; rewards are finite numbers, or None to leave a row out"
    with pytest.raises(RewardError) as caught:
        call(giving([1, value, 2]))
    assert str(caught.value) == f"{told} (completion 'two')"
    masked = call(giving([1, value, 2]), MASK)
    assert masked.scores == [1.0, None, 2.0]
    assert [fault.record() for fault in masked.faults] == [
        {"kind": "non_finite", "message": told, "row": 2, "completion": "two"}
    ]
    assert call(giving([1, value, 2]), CONSTANT).scores == [1.0, -3.0, 2.0]


def test_a_token_that_is_not_finite_takes_its_row_with_it():
    dense = giving([[1], [2, NAN], [INF]])
    with pytest.raises(RewardError, match=r"^reward 'mine': row 2, token 2 is nan; "):
        call(dense)
    assert call(dense, MASK).scores == [[1.0], None, None]
    output = call(dense, CONSTANT)
    assert output.scores == [[1.0], [0.0, -3.0], [-3.0]]  # the score stands on the last token, where sequence scores go
    assert [(fault.kind, fault.row) for fault in output.faults] == [("non_finite", 1), ("non_finite", 2)]


def test_the_largest_float32_is_finite():
    assert call(giving([float(np.finfo(np.float32).max)] * 3)).scores == [float(np.finfo(np.float32).max)] * 3


# --- faults: exceptions
# -----------------------------------------------------------------------------------------------------------------


def line_of(function: Any, offset: int) -> str:
    return f"{Path(__file__).name}, line {function.__code__.co_firstlineno + offset}"


def test_an_error_of_the_reward_names_it_and_its_line():
    def mine(completions):
        return json.loads("{")

    with pytest.raises(RewardError) as caught:
        call(mine)
    reason = "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    assert str(caught.value) == f"reward 'mine' raised {reason} ({line_of(mine, 1)})"
    assert isinstance(caught.value.__cause__, json.JSONDecodeError)
    masked = call(mine, MASK)
    assert masked.scores == [None, None, None]
    assert [(fault.kind, fault.message, fault.row) for fault in masked.faults] == [
        ("exception", str(caught.value), None)
    ]
    assert call(mine, CONSTANT).scores == [-3.0, -3.0, -3.0]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError


def raising(error: BaseException) -> Any:
    def mine(completions):
        raise error

    return mine


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "CancelledError"),
        (MemoryError(), "MemoryError"),
        (ValueError("a\nb  c"), "ValueError: a b c"),
        (ValueError("x" * 5000), "ValueError: " + "x" * 485 + "..."),
        (Unprintable(), "Unprintable: <exception str() failed>"),
    ],
)
def test_every_kind_of_error_is_one_short_line(error, named):
    reward = raising(error)
    with pytest.raises(RewardError) as caught:
        call(reward)
    assert str(caught.value) == f"reward 'mine' raised {named} ({line_of(reward, 1)})"
    assert call(reward, CONSTANT).scores == [-3.0] * 3


@pytest.mark.parametrize("faults", [MASK, RewardFaultsConfig(exception="mask")], ids=["in a thread", "here"])
def test_ctrl_c_stops_whatever_the_policy(faults):
    with pytest.raises(KeyboardInterrupt):
        call(raising(KeyboardInterrupt()), faults)


def test_missing_columns_are_no_fault():
    with pytest.raises(
        DataError, match=r"^reward 'mine' needs the data column 'question'; there are: completion_ids, completions, fac"
    ):
        call(mine_with_a_column, MASK)


def mine_with_a_column(completions, question):
    raise AssertionError


mine_with_a_column.__name__ = "mine"


def test_rewards_that_cannot_be_called_by_name():
    def mine(completions, /):
        return [0, 0, 0]

    with pytest.raises(
        ConfigError,
        match=r"^reward 'mine': 'completions' is taken by position only, and arguments are passed by name; ",
    ):
        call(mine)
    with pytest.raises(
        ConfigError, match=r"^reward 'max': its parameters cannot be read; wrap it in a Python function$"
    ):
        call(max)


def test_async_rewards_fail_like_others():
    async def mine(completions):
        await asyncio.sleep(0)
        raise LookupError("no answer")

    release = threading.Event()

    async def slow(completions):
        while not release.is_set():
            await asyncio.sleep(0.01)

    async def endless(completions):
        yield 1

    with pytest.raises(RewardError) as caught:
        call(mine)
    assert str(caught.value) == f"reward 'mine' raised LookupError: no answer ({line_of(mine, 2)})"
    assert call(mine, MASK).scores == [None] * 3
    try:
        assert [fault.kind for fault in call(slow, MASK).faults] == ["timeout"]
    finally:
        release.set()
    with pytest.raises(
        RewardError,
        match=r"^reward 'endless' returned async_generator; expected a list with one number per completion$",
    ):
        call(endless, MASK)


# --- faults: time-outs
# ------------------------------------------------------------------------------------------------------------------


def test_a_reward_that_hangs_is_left_behind_and_named_with_the_line_it_hangs_on():
    release = threading.Event()

    def mine(completions):
        release.wait(60)
        return [1, 2, 3]

    told = f"reward 'mine' did not return within 0.2 s (it was at {line_of(mine, 1)})"
    try:
        with pytest.raises(RewardError) as caught:
            call(mine, RewardFaultsConfig(timeout_s=0.2))
        assert str(caught.value) == told
        output = call(mine, MASK)
        assert output.scores == [None] * 3
        assert [(fault.kind, fault.message) for fault in output.faults] == [("timeout", told)]
        assert call(mine, CONSTANT).scores == [-3.0] * 3
        assert call(giving([1, 2, 3]), MASK).scores == [1.0, 2.0, 3.0]  # others go on meanwhile
    finally:
        release.set()


def test_a_reward_that_comes_late_corrupts_nothing():
    release, finished, returned = threading.Event(), threading.Event(), []

    def mine(completions, completion_ids, facts):
        release.wait(60)
        completions[:] = ["late"] * 3
        completion_ids[0].append(99)
        facts[0]["a"].append("late")
        returned.append([9.0, 9.0, 9.0])
        finished.set()
        return returned[0]

    output = call(mine, MASK)
    release.set()
    assert finished.wait(10)
    assert output.scores == [None] * 3
    assert BATCH["completions"] == ["one", "two", "three"]
    assert BATCH["completion_ids"] == [[5], [6, 7], [8]]
    assert BATCH["columns"]["facts"] == [{"a": [1]}, {"a": [2]}, {"a": [3]}]


def test_calls_that_never_come_back_do_not_pile_up(monkeypatch):
    for thread in threading.enumerate():
        if thread.name == guard.GIVEN_UP:  # of the tests above, which have released theirs
            thread.join(10)
    monkeypatch.setattr(guard, "MAX_GIVEN_UP", 2)
    release = threading.Event()

    def mine(completions):
        release.wait(60)

    faults = RewardFaultsConfig(timeout="mask", timeout_s=0.05)
    try:
        for _ in range(2):
            assert call(mine, faults).scores == [None] * 3
        with pytest.raises(RewardError) as caught:
            call(mine, faults)
        assert (
            str(caught.value)
            == "reward 'mine': 2 calls that ran out of time are still running; the reward needs a time-out of its own"
        )
    finally:
        release.set()


def test_a_time_out_of_the_reward_itself_is_an_error_like_any_other():
    def mine(completions):
        raise TimeoutError("no answer")

    output = call(mine, MASK)
    assert [(fault.kind, fault.message) for fault in output.faults] == [
        ("exception", f"reward 'mine' raised TimeoutError: no answer ({line_of(mine, 1)})")
    ]


def test_a_reward_in_time_gives_the_same_scores_with_and_without_a_limit():
    def mine(completions, **columns):
        return [len(text) for text in completions]

    assert call(mine, RewardFaultsConfig(timeout_s=30)) == call(mine)


HANGING = """
import sys, time
from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.rewards import score

def mine(completions):
    while True:
        time.sleep(0.01)  # for ever, also after the program has given up on it

faults = RewardFaultsConfig(timeout="mask", timeout_s=0.3)
for _ in range(3):
    batch = {"prompts": ["p"], "completions": ["c"], "completion_ids": [[1]], "references": [()], "columns": {}}
    output = score(mine, **batch, faults=faults)
    assert output.scores == [None]
print("done")
"""


@pytest.mark.slow
def test_a_stuck_reward_keeps_no_process_alive():
    start = time.monotonic()
    result = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "done" in result.stdout
    assert time.monotonic() - start < 50


# --- inputs
# -----------------------------------------------------------------------------------------------------------------------------


def vandal(prompts, completions, completion_ids, references, facts, topic):
    for texts in (prompts, completions, references, topic):
        texts.reverse()
        texts.clear()
    completion_ids[1].append(99)
    facts[0]["a"].append("changed")
    facts[1].clear()
    return [1.0, 1.0, 1.0]


def witness(prompts, completions, completion_ids, references, facts, topic):
    given = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids, "references": references}
    assert given == {key: BATCH[key] for key in given}
    assert {"facts": facts, "topic": topic} == BATCH["columns"]
    return [2.0, 2.0, 2.0]


def test_what_a_reward_does_to_its_inputs_reaches_nobody_else():
    before = json.dumps(BATCH)
    call(vandal)
    assert json.dumps(BATCH) == before
    both = Sum([{"reward": "increasing_numbers", "key": "a"}, {"reward": "increasing_numbers", "key": "b"}])
    both.inner = (vandal, witness)
    assert call(both).parts == {"a": [1.0] * 3, "b": [2.0] * 3}


def test_what_a_metric_does_to_its_inputs_reaches_nobody_else():
    def mean(completions, facts):
        completions.clear()
        facts[0]["a"].clear()
        return {"x": 1.0}

    before = json.dumps(BATCH)
    compute(mean, **{key: value for key, value in BATCH.items() if key != "completion_ids"})
    assert json.dumps(BATCH) == before


def test_a_column_that_cannot_be_copied_is_named():
    with pytest.raises(
        DataError, match=r"^reward 'mine': a value of 'lock' cannot be copied: TypeError: cannot pickle '_thread\.lock'"
    ):
        call(lock_taker, columns={"lock": [threading.Lock()] * 3})
    assert call(giving([1, 2, 3]), columns={"lock": [threading.Lock()] * 3}).scores == [
        1.0,
        2.0,
        3.0,
    ]  # it does not take the column


def lock_taker(completions, lock):
    raise AssertionError


lock_taker.__name__ = "mine"


def test_a_list_that_the_reward_keeps_and_changes_changes_no_score():
    kept = [[1.0], [2.0, 3.0], [4.0]]
    output = call(giving(kept))
    kept[1][0] = NAN
    kept.clear()
    assert output.scores == [[1.0], [2.0, 3.0], [4.0]]
    flat = [1.0, 2.0, 3.0]
    first = call(giving(flat))
    flat[0] = 7.0
    assert (first.scores, call(giving(flat)).scores) == ([1.0, 2.0, 3.0], [7.0, 2.0, 3.0])


# --- sums
# -------------------------------------------------------------------------------------------------------------------------------


def summed(tmp_path: Path, source: str, **weights: float) -> Sum:
    file = tmp_path / "mine.py"
    file.write_text(source)
    names = [line.split()[1].partition("(")[0] for line in source.splitlines() if line.startswith("def ")]
    return Sum([{"reward": f"{file}:{name}", "key": name, "weight": weights.get(name, 1.0)} for name in names])


PARTS = """
def good(completions):
    return [1.0, 2.0, 3.0]
def bad(completions):
    return [1.0, float("nan"), 1.0]
def broken(completions):
    raise OSError("no connection")
"""


def test_faults_of_a_part_are_those_of_the_part(tmp_path):
    reward = summed(tmp_path, PARTS)
    told = "part 'broken' of the sum: reward 'broken' raised OSError: no connection (mine.py, line 7)"
    with pytest.raises(RewardError) as caught:
        call(reward, RewardFaultsConfig(non_finite="mask"))
    assert str(caught.value) == told
    output = call(reward, RewardFaultsConfig(non_finite="mask", exception="constant", constant=10))
    assert output.scores == [12.0, None, 14.0]
    assert output.parts == {"good": [1.0, 2.0, 3.0], "bad": [1.0, None, 1.0], "broken": [10.0, 10.0, 10.0]}
    assert [(fault.kind, fault.row, fault.message) for fault in output.faults] == [
        (
            "non_finite",
            1,
            "part 'bad' of the sum: reward 'bad': row 2 is nan; rewards are finite numbers, or None to leave a row out",
        ),
        ("exception", None, told),
    ]


def test_a_sum_that_is_not_finite_is_a_fault_of_the_sum(tmp_path):
    source = "def a(completions):\n    return [1e38] * 3\ndef b(completions):\n    return [0, 1e38, 1]\n"
    reward = summed(tmp_path, source, a=1e308, b=-1e308)
    with pytest.raises(RewardError, match=r"^reward 'sum': row 1 is inf; rewards are finite numbers"):
        call(reward)
    output = call(reward, MASK)
    assert output.scores == [None, None, None]  # infinity, infinity less infinity, and so on
    assert {fault.kind for fault in output.faults} == {"non_finite"}
    assert output.parts["b"] == [0.0, 1e38, 1.0]


# --- metrics: no number is made up
# ------------------------------------------------------------------------------------------------------


def test_a_metric_that_fails_is_an_error_with_its_line():
    def mine(completions):
        raise SystemExit(1)

    batch = {key: value for key, value in BATCH.items() if key != "completion_ids"}
    with pytest.raises(DataError) as caught:
        compute(mine, **batch)
    assert str(caught.value) == f"metric 'mine' raised SystemExit: 1 ({line_of(mine, 1)})"
    with pytest.raises(ArithmeticError, match=r"^metric 'mine': x of row 2 is an integer of about 5000 digits$"):
        compute(giving({"x": [1, 10**5000, 2]}), **batch)


# --- the user's file
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def f(completions):\n    return [\n", ":2: SyntaxError: '[' was never closed"),
        ("import json\nimport no_such_package\n", ":2: ModuleNotFoundError: No module named 'no_such_package'"),
        ("import json\n\njson.loads('')\n", ":3: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("raise SystemExit\n", ":1: SystemExit"),
        ("class f:\n    def __init__(self):\n        1 / 0\n", None),
    ],
)
def test_errors_in_the_file_of_the_reward_are_plain(tmp_path, source, problem):
    file = tmp_path / "mine.py"
    file.write_text(source)
    with pytest.raises(ConfigError) as caught:
        build(f"{file}:f")
    constructor = f"reward '{file}:f' raised ZeroDivisionError: division by zero (mine.py, line 3)"
    assert str(caught.value) == (f"reward '{file}:f': {file}{problem}" if problem else constructor)


# --- runs
# -------------------------------------------------------------------------------------------------------------------------------

FLAKY = """
def flaky(prompts, completion_ids):
    key = sum(map(len, prompts)) % 3  # which call fails is a function of its prompts, so that runs can be compared
    if key == 0:
        raise ConnectionError("no answer")
    scores = [sum(ids) / 100 for ids in completion_ids]
    if key == 1:
        scores[3] = float("nan")
    return scores
"""


def flaky_recipe(tmp_path: Path, folder: str = "run", **settings: Any) -> Any:
    file = tmp_path / "flaky.py"
    if not file.exists():
        file.write_text(FLAKY)
    settings = {
        "reward": {"name": f"{file}:flaky"},
        "training": {"iterations": 9, "prompts_per_iteration": 8},
        **settings,
    }
    return small_recipe(tmp_path, output_dir=str(tmp_path / folder), **settings)


def keys_of_calls(tmp_path: Path, iterations: int) -> list[int]:
    """What `flaky` finds in the prompts of each iteration."""
    prompts = [json.loads(line)["prompt"] for line in (tmp_path / "numbers.jsonl").read_text().splitlines()]
    drawn = [prompt_indices(len(prompts), 0, step, 8) for step in range(iterations)]
    return [sum(len(prompts[i]) for i in indices) % 3 for indices in drawn]


def fault_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "faults.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("policy", ["mask", "constant"])
def test_faults_are_counted_and_told_and_the_run_goes_on(tmp_path, policy):
    faults = {"exception": policy, "non_finite": policy}
    run(flaky_recipe(tmp_path, reward_faults=faults))
    lines, keys = metric_lines(tmp_path / "run")[1:], keys_of_calls(tmp_path, 9)
    assert set(keys) == {0, 1, 2}
    assert [line["rollout/reward_exceptions"] for line in lines] == [float(key == 0) for key in keys]
    assert [line["rollout/reward_non_finite"] for line in lines] == [float(key == 1) for key in keys]
    assert [line["rollout/reward_timeouts"] for line in lines] == [0] * 9
    masked = [{0: 8, 1: 1, 2: 0}[key] if policy == "mask" else 0 for key in keys]
    assert [line["rollout/masked_rows"] for line in lines] == masked
    assert [line["rollout/skipped_in_a_row"] > 0 for line in lines] == [rows == 8 for rows in masked]
    told = [line for line in fault_lines(tmp_path / "run") if line["during"] == "rollout"]
    assert [line["step"] for line in told] == [step for step, key in enumerate(keys, 1) if key < 2]
    assert {line["message"] for line in told if line["kind"] == "exception"} == {
        "reward 'flaky' raised ConnectionError: no answer (flaky.py, line 5)"
    }
    assert all(line["completion"] is not None and line["row"] == 4 for line in told if line["kind"] == "non_finite")


def test_a_run_goes_on_without_the_calls_that_are_too_slow(tmp_path):
    file = tmp_path / "flaky.py"
    file.write_text("import time\n" + FLAKY.replace('raise ConnectionError("no answer")', "time.sleep(3)"))
    run(
        flaky_recipe(
            tmp_path, reward_faults={"timeout": "constant", "timeout_s": 0.2, "constant": -1, "non_finite": "mask"}
        )
    )
    lines, keys = metric_lines(tmp_path / "run")[1:], keys_of_calls(tmp_path, 9)
    assert [line["rollout/reward_timeouts"] for line in lines] == [float(key == 0) for key in keys]
    assert {line["rollout/score"] for line, key in zip(lines, keys, strict=True) if key == 0} == {-1.0}
    told = {line["message"] for line in fault_lines(tmp_path / "run") if line["kind"] == "timeout"}
    assert told == {"reward 'flaky' did not return within 0.2 s (it was at flaky.py, line 6)"}


def test_the_best_evaluation_is_one_with_a_score(tmp_path):
    settings = {
        "checkpoint": {"every": 1, "best": "eval/reward"},
        "evaluation": {"every": 1, "prompts": 8, "metrics": []},
    }
    for scores, best in ([NAN, 2.0, NAN, 1.0], {"value": 2.0, "step": 1}), ([NAN] * 4, {}):
        loop = small_loop(tmp_path, **settings, output_dir=str(tmp_path / f"best-{len(best)}"))
        loop.evaluate = lambda step, scores=scores: {"eval/reward": scores[step]}
        loop.run()
        assert loop.state.best == best


def test_a_skipped_iteration_changes_no_weight(tmp_path):
    loop = small_loop(tmp_path, reward_faults={"exception": "mask"})
    loop.reward = raising(ConnectionError("no answer"))
    before = [parameter.clone() for parameter in loop.models.policy.parameters()]
    numbers = loop.step(0)
    assert numbers["train/updates"] == 0
    assert (
        numbers["rollout/masked_rows"],
        numbers["rollout/skipped_in_a_row"],
        numbers["rollout/reward_exceptions"],
    ) == (16, 1, 1)
    assert all(torch.equal(old, new) for old, new in zip(before, loop.models.policy.parameters(), strict=True))
    loop.reward = giving([1.0] * 16)
    assert loop.step(1)["rollout/skipped_in_a_row"] == 0


def test_a_dead_reward_stops_the_run_after_ten_skipped_iterations(tmp_path):
    file = tmp_path / "dead.py"
    file.write_text("def dead(completions):\n    raise ConnectionError('no answer')\n")
    settings = {
        "reward": {"name": f"{file}:dead"},
        "reward_faults": {"exception": "mask"},
        "evaluation": {"every": 0, "metrics": []},
    }
    recipe = small_recipe(
        tmp_path, **settings, training={"iterations": 50, "prompts_per_iteration": 4}, checkpoint={"every": 4}
    )
    with pytest.raises(RewardError) as caught:
        run(recipe)
    last = tmp_path / "run" / "checkpoints" / "step-000009"  # every finished iteration is saved
    assert str(caught.value) == (
        "iteration 10: 10 iterations in a row had no score at all; the last fault: reward 'dead' raised "
        "ConnectionError: no answer "
        "(dead.py, line 2). Mend the reward, and continue with --resume (resume=True); or raise reward_faults.max_skipped "
        f"(last good checkpoint: {last}; continue with: rl4lms train {tmp_path / 'run'} --resume, in Python: "
        "resume=True)"
    )
    assert [line["rollout/skipped_in_a_row"] for line in metric_lines(tmp_path / "run")[1:]] == [
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
    ]
    with pytest.raises(RewardError, match=r"^iteration 10: 10 iterations in a row"):  # the count survives a restart
        run(recipe, resume=True)


def test_a_reward_that_always_returns_none_stops_the_run_too(tmp_path):
    loop = small_loop(tmp_path, reward_faults={"max_skipped": 2})
    loop.reward = giving([None] * 16)
    loop.step(0)
    with pytest.raises(
        RewardError, match=r"^2 iterations in a row had no score at all: the reward returned None for every row\. "
    ):
        loop.step(1)


def test_the_default_stops_at_the_first_fault(tmp_path):
    with pytest.raises(RewardError) as caught:
        run(flaky_recipe(tmp_path))
    assert "reward 'flaky' raised ConnectionError: no answer (flaky.py, line 5)" in str(
        caught.value
    ) or "row 4 is nan" in str(caught.value)
    assert str(caught.value).startswith("reward 'flaky'")  # of the first evaluation
    assert not (tmp_path / "run" / "faults.jsonl").exists()


def test_a_run_that_a_fault_stopped_is_continued_with_another_policy(tmp_path):
    small_recipe(tmp_path)
    lengths = [len(json.loads(line)["prompt"]) for line in (tmp_path / "numbers.jsonl").read_text().splitlines()]
    prompts = next(n for n in range(2, 20) if sum(lengths[:n]) % 3 == 2)  # evaluations that the reward does not fail in
    settings = {"evaluation": {"every": 0, "prompts": prompts, "metrics": []}}
    with pytest.raises(RewardError):
        run(flaky_recipe(tmp_path, **settings))
    before = metric_lines(tmp_path / "run")
    result = run(
        flaky_recipe(tmp_path, **settings, reward_faults={"exception": "mask", "non_finite": "mask"}), resume=True
    )
    assert metric_lines(tmp_path / "run")[: len(before)] == before
    assert json.loads((result.folder / "result.json").read_text())["iterations"] == 9


def test_resuming_with_faults_is_exact(tmp_path):
    faults = {"exception": "mask", "non_finite": "constant", "constant": -1, "max_skipped": 3}
    settings = {
        "reward_faults": faults,
        "evaluation": {"every": 2, "prompts": 8, "metrics": []},
        "checkpoint": {"every": 2},
    }
    run(flaky_recipe(tmp_path, "whole", **settings))
    run(flaky_recipe(tmp_path, "parts", **settings, training={"iterations": 5, "prompts_per_iteration": 8}))
    with (tmp_path / "parts" / "faults.jsonl").open("a") as file:  # of an iteration that was lost
        file.write(
            '{"step": 6, "during": "rollout", "kind": "exception", "message": "lost", "row": null, "completion": '
            'null}\n{"step": 7, "d'
        )
    run(flaky_recipe(tmp_path, "parts", **settings), resume=True)
    # the run of five iterations evaluated after the fifth, which the whole one did not
    faults_of = [fault_lines(tmp_path / folder) for folder in ("whole", "parts")]
    assert faults_of[0] == [line for line in faults_of[1] if (line["step"], line["during"]) != (5, "evaluation")]
    metrics_of = [metric_lines(tmp_path / folder) for folder in ("whole", "parts")]
    training = [
        [{k: v for k, v in line.items() if not k.startswith("eval/")} for line in lines] for lines in metrics_of
    ]
    assert training[0] == training[1]
    assert weights_hash(tmp_path / "whole" / "model") == weights_hash(tmp_path / "parts" / "model")


def test_evaluations_make_no_score_up(tmp_path):
    file = tmp_path / "sometimes.py"
    file.write_text(
        "def sometimes(completions, completion_ids):\n    return [1.0, float('nan')] * (len(completions) // 2)\n"
    )
    faults = {"non_finite": "constant", "constant": -100}
    result = run(small_recipe(tmp_path, reward={"name": f"{file}:sometimes"}, reward_faults=faults))
    reward = json.loads((result.folder / "result.json").read_text())["eval"]["eval/reward"]
    assert (reward["mean"], reward["n"]) == (1.0, 4)  # of eight
    samples = (result.folder / "samples" / "step-000003.jsonl").read_text().splitlines()
    assert [json.loads(line)["reward"] for line in samples] == [1.0, None] * 4
    assert metric_lines(result.folder)[1]["rollout/score"] == (8 * 1 + 8 * -100) / 16
    told = fault_lines(result.folder)
    assert [(line["step"], line["during"]) for line in told] == (
        [(0, "evaluation")] * 4
        + [(1, "rollout")] * 5
        + [(2, "rollout")] * 5
        + [(3, "rollout")] * 5
        + [(3, "evaluation")] * 4
    )


def test_the_record_of_faults_stays_short(tmp_path):
    loop = small_loop(tmp_path, reward_faults={"non_finite": "mask", "max_skipped": 10**6})
    loop.reward = giving([NAN] * 16)
    for step in range(25):
        numbers = loop.step(step)
        assert numbers["rollout/reward_non_finite"] == 16
    told = fault_lines(tmp_path / "run")
    assert len(told) == 100
    assert [line["step"] for line in told] == [step for step in range(1, 21) for _ in range(5)]


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (
            {"timeout": "mask"},
            "reward_faults: timeout: mask has no effect without timeout_s, the seconds that a call may take",
        ),
        (
            {"constant": 1},
            "reward_faults: constant has no effect unless exception, non_finite or timeout is `constant`",
        ),
        ({"timeout_s": 0}, "reward_faults.timeout_s: should be greater than 0, got 0"),
        ({"exception": "ignore"}, "reward_faults.exception: should be 'error', 'mask' or 'constant', got \"ignore\""),
        ({"max_skipped": 0}, "reward_faults.max_skipped: should be greater than or equal to 1, got 0"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, faults, message):
    with pytest.raises(ConfigError) as caught:
        small_recipe(tmp_path, reward_faults=faults)
    assert str(caught.value) == f"<arguments>: {message}"
