"""Ctrl-C, SIGTERM and SIGHUP: the iteration is finished and saved, and how to continue is said. A second one ends the
run at once.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rl4lms
from rl4lms.errors import Interrupted
from rl4lms.runs.signals import StopSignals
from rl4lms.training.run import run
from tests.faults.sweep import Nursery, Victim, outcome
from tests.marks import slow_but
from tests.runs import metric_lines, small_recipe

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Victim:
    """Six iterations with an evaluation and a checkpoint at every second one."""
    return Victim("causal PPO shared", tmp_path_factory.mktemp("signals") / "victim", nursery)


@pytest.fixture
def victim(built: Victim) -> Iterator[Victim]:
    """No run of it is there, neither before nor after a test."""
    yield built
    built.remove()


def interrupted(nursery: Nursery, victim: Victim, *plan: tuple[str, int, str]) -> list[str]:
    """Trains until a signal ends the run; what was printed on standard error."""
    end = nursery.run("train", victim.recipe, "--quiet", plan=plan)
    assert end.code == 0, end.err
    assert end.out == ""
    assert "Traceback" not in end.err
    return [line for line in end.err.strip().splitlines() if line and not line.startswith("health: ")]


def continued(nursery: Nursery, victim: Victim, command: str) -> None:
    """Runs what the message says, and compares what it leads to with the uninterrupted run."""
    end = nursery.run(*shlex.split(command)[1:])
    assert end.code == 0, end.err
    assert outcome(victim.run) == victim.expected


@pytest.mark.parametrize("name", slow_but(["SIGINT", "SIGTERM", "SIGHUP"], ["SIGINT", "SIGTERM"]))
def test_the_iteration_is_finished_and_saved(nursery: Nursery, victim: Victim, name: str) -> None:
    lines = interrupted(nursery, victim, ("reward", 3, name))
    saved = victim.run / "checkpoints" / "step-000003"
    assert lines == [
        f"{name}: this iteration is finished first; a second signal stops at once",
        f"stopped by {name} after iteration 3 of 6; saved in {saved}; continue with:",
        f"  rl4lms train {victim.run} --resume",
    ]
    assert saved.is_dir()
    assert [line["step"] for line in metric_lines(victim.run)] == [0, 1, 2, 3]
    assert not (victim.run / ".lock").exists()
    continued(nursery, victim, lines[-1])


def test_a_second_ctrl_c_stops_at_once(nursery: Nursery, victim: Victim) -> None:
    end = nursery.run(
        "train", victim.recipe, "--quiet", plan=[("reward", 3, "SIGTERM"), ("update: one optimiser step", 10, "SIGINT")]
    )
    assert end.code == 130
    command, last = f"rl4lms train {victim.run} --resume", victim.run / "checkpoints" / "step-000002"
    assert end.err.splitlines()[-1] == f"stopped at once; continue from {last}: {command} (in Python: resume=True)"
    assert [line["step"] for line in metric_lines(victim.run)] == [0, 1, 2]
    continued(nursery, victim, command)


@pytest.mark.slow
def test_a_second_ctrl_c_before_the_first_checkpoint(nursery: Nursery, victim: Victim) -> None:
    end = nursery.run(
        "train", victim.recipe, "--quiet", plan=[("reward", 1, "SIGTERM"), ("update: one optimiser step", 1, "SIGINT")]
    )
    command = f"rl4lms train {victim.run} --resume"
    told = (
        f"stopped at once; continue from the start, since no checkpoint was written yet: {command} (in Python: "
        f"resume=True)"
    )
    assert (end.code, end.err.splitlines()[-1]) == (130, told)
    continued(nursery, victim, command)


@pytest.mark.slow
def test_a_second_sigterm_is_as_deadly_as_ever(nursery: Nursery, victim: Victim) -> None:
    end = nursery.run(
        "train", victim.recipe, "--quiet", plan=[("reward", 3, "SIGINT"), ("checkpoint: policy written", 2, "SIGTERM")]
    )
    assert end.code == -signal.SIGTERM
    continued(nursery, victim, f"rl4lms train {victim.run} --resume")


def test_an_evaluation_ends_at_once_and_is_made_anew(nursery: Nursery, victim: Victim) -> None:
    lines = interrupted(nursery, victim, ("evaluation: decoded", 2, "SIGTERM"))
    saved = victim.run / "checkpoints" / "step-000002"
    assert lines == [
        f"stopped by SIGTERM during the evaluation after iteration 2 of 6; saved in {saved}; continue with:",
        f"  rl4lms train {victim.run} --resume",
    ]
    assert [line["step"] for line in metric_lines(victim.run)] == [
        0,
        1,
    ]  # the line of iteration 2 waits for its evaluation
    continued(nursery, victim, lines[-1])


@pytest.mark.slow
def test_an_evaluation_that_is_due_after_the_signal_is_not_begun(nursery: Nursery, victim: Victim) -> None:
    lines = interrupted(nursery, victim, ("reward", 6, "SIGINT"))  # the last iteration
    assert lines[1].startswith("stopped by SIGINT during the evaluation after iteration 6 of 6; saved in ")
    assert len(metric_lines(victim.run)) == 6
    continued(nursery, victim, lines[-1])


@pytest.mark.slow
def test_an_interrupted_evaluation_may_be_interrupted_again_and_the_run_killed(
    nursery: Nursery, victim: Victim
) -> None:
    """The checkpoint that waits for its evaluation is written over while it is the only one."""
    interrupted(nursery, victim, ("evaluation: decoded", 2, "SIGTERM"))
    end = nursery.run("train", victim.run, "--resume", plan=[("evaluation: decoded", 1, "SIGTERM")])
    assert "during the evaluation after iteration 2 of 6" in end.err
    for point in (".step-000002.replaced: renamed", "checkpoint: after the rename"):
        assert nursery.run("train", victim.run, "--resume", plan=[(point, 1, "SIGKILL")]).killed
    continued(nursery, victim, f"rl4lms train {victim.run} --resume")


@pytest.mark.slow
def test_before_the_first_iteration_nothing_is_lost(nursery: Nursery, victim: Victim) -> None:
    lines = interrupted(nursery, victim, ("evaluation: decoded", 1, "SIGINT"))
    assert lines == [
        "stopped by SIGINT during the evaluation; no checkpoint was written yet, so it will start over; continue with:",
        f"  rl4lms train {victim.run} --resume",
    ]
    continued(nursery, victim, lines[-1])


@pytest.mark.slow
def test_the_final_save_is_finished(nursery: Nursery, victim: Victim) -> None:
    lines = interrupted(nursery, victim, ("model: files written", 1, "SIGTERM"))
    assert lines == [
        "SIGTERM: the end is finished first; a second signal stops at once",
        f"SIGTERM arrived at the end; the run is finished, and its model is in {victim.run / 'model'}",
    ]
    assert outcome(victim.run) == victim.expected


@pytest.mark.slow
def test_a_warm_start_is_lost_whole(nursery: Nursery, tmp_path: Path) -> None:
    victim = Victim("warm start, causal PPO separate", tmp_path / "victim", nursery)
    for point, nth in (("warm start: one step", 5), ("supervised: before the rename", 1)):
        victim.remove()
        lines = interrupted(nursery, victim, (point, nth, "SIGINT"))
        assert lines[0].startswith(
            "stopped by SIGINT during the warm start; no checkpoint was written yet, so it will start over"
        )
        names = {path.name for path in victim.run.iterdir()}
        assert names - {"supervised.jsonl"} == {"config.resolved.yaml", "env.json"}
    continued(nursery, victim, lines[-1])


@pytest.mark.slow
def test_assets_are_built_whole_or_not_at_all(nursery: Nursery, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ("train", "imdb-mini-ppo", f"output_dir={folder}", "--quiet")
    end = nursery.run(*words, plan=[("warm start: one step", 3, "SIGINT")])  # assets are trained by the same trainer
    assert end.code == 0
    assert end.err.splitlines() == [
        "stopped by SIGINT during the building of assets; no checkpoint was written yet, so it will start over; "
        "continue with:",
        f"  rl4lms train {folder} --resume",
    ]
    assert list(nursery.cache.iterdir()) == []


# --- in Python


def noisy_reward(calls: list[int], nth: int) -> Any:
    def reward(completions: list[str], **columns: Any) -> list[float]:
        calls.append(len(calls))
        if len(calls) == nth:
            signal.raise_signal(signal.SIGINT)
        return [float(len(text)) for text in completions]

    return reward


def test_python_gets_an_exception_that_stops_a_loop_over_seeds_and_says_how_to_go_on(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    calls: list[int] = []
    recipe = small_recipe(tmp_path)
    with pytest.raises(Interrupted) as caught:
        run(recipe, reward=noisy_reward(calls, 3))  # the first call is the evaluation's
    assert isinstance(caught.value, KeyboardInterrupt)
    assert not isinstance(caught.value, Exception)  # a loop over runs that catches errors does not go on
    assert caught.value.folder == tmp_path / "run"
    saved = tmp_path / "run" / "checkpoints" / "step-000002"
    assert str(caught.value) == f"stopped by SIGINT after iteration 2 of 3; saved in {saved}; continue with resume=True"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    result = run(recipe, reward=noisy_reward(calls, 0), resume=True)
    assert json.loads((result.folder / "result.json").read_text())["iterations"] == 3


def test_handlers_go_back_after_an_error_too(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def fails(completions: list[str], **columns: Any) -> list[float]:
        assert signal.getsignal(signal.SIGTERM) != before
        raise RuntimeError

    with pytest.raises(rl4lms.errors.RewardError):
        run(small_recipe(tmp_path), reward=fails)
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_no_handler_is_touched() -> None:
    seen = []

    def work() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_same_signal_within_a_second_is_no_second_one(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Launchers send SIGTERM to the process and to its group."""
    now = 100.0
    monkeypatch.setattr("rl4lms.runs.signals.time.monotonic", lambda: now)
    with StopSignals() as stop, stop.during("the counting", at_once=False):
        signal.raise_signal(signal.SIGINT)
        now = 100.9
        signal.raise_signal(signal.SIGINT)
        assert stop.received == "SIGINT"
        now = 101.1
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(signal.SIGINT)
    assert type(caught.value) is KeyboardInterrupt
    assert capfd.readouterr().err.count("a second signal stops at once") == 1


def test_an_ignored_signal_stays_ignored() -> None:
    """As `nohup` asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.received is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_between_two_stretches_ends_the_next_one_that_may_be_ended(capfd: pytest.CaptureFixture[str]) -> None:
    with StopSignals() as stop:
        with stop.during("the counting", at_once=False):
            signal.raise_signal(signal.SIGINT)
        assert stop.received == "SIGINT"
        with pytest.raises(Interrupted), stop.during("the sleeping", at_once=True):
            pytest.fail("this must not begin")
        assert stop.doing == "the sleeping"
    assert capfd.readouterr().err == "\nSIGINT: the counting is finished first; a second signal stops at once\n"
