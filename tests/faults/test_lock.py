"""One process per run folder."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from rl4lms.errors import CheckpointError, StorageError
from rl4lms.runs import lock as lock_module
from rl4lms.runs.lock import RunLock
from rl4lms.training.run import run
from tests.faults.sweep import Nursery, Victim, outcome
from tests.runs import small_recipe

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@forks
@pytest.mark.slow
def test_a_second_process_is_refused_and_the_first_is_named(nursery: Nursery, tmp_path: Path) -> None:
    victim = Victim("causal PPO shared", tmp_path / "victim", nursery)
    assert nursery.run("train", victim.recipe, plan=[("reward", 4, "SIGKILL")]).killed
    assert (victim.run / ".lock").is_file()  # what is left of the killed process locks nobody out
    with RunLock(victim.run):
        end = nursery.run("train", victim.run, "--resume")
        fresh = nursery.run("train", victim.recipe)
    message = (
        f"error: {victim.run}: process {os.getpid()} on {socket.gethostname()} is training in this run folder; "
        f"wait for it, or stop it\n"
    )
    assert (end.code, end.out, end.err) == (2, "", message)
    assert (fresh.code, fresh.out, fresh.err) == (2, "", message)
    assert nursery.run("train", victim.run, "--resume").code == 0
    assert outcome(victim.run) == victim.expected
    assert not (victim.run / ".lock").exists()


def test_a_second_run_of_the_same_process_is_refused(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    (tmp_path / "run").mkdir()
    with (
        RunLock(tmp_path / "run"),
        pytest.raises(CheckpointError, match=f"process {os.getpid()} on .* is training in this run folder"),
    ):
        run(recipe)
    assert run(recipe).metrics["eval/reward"] >= 0


def test_a_holder_that_has_not_written_its_name_yet(tmp_path: Path) -> None:
    with RunLock(tmp_path) as held:
        held.path.write_text("")
        with pytest.raises(CheckpointError, match=r"another process is training"), RunLock(tmp_path):
            pass


@forks
def test_a_forked_worker_does_not_keep_the_lock_of_a_parent_that_died(tmp_path: Path) -> None:
    with RunLock(tmp_path) as held:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b"1")
            time.sleep(60)
            os._exit(0)
        try:
            os.read(reading, 1)
            assert held._descriptor is not None
            os.close(held._descriptor)  # what the system does when a process dies
            held._descriptor = None
            with RunLock(tmp_path):
                assert json.loads((tmp_path / ".lock").read_text()) == {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                }
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)


def test_a_lock_file_that_its_holder_removes_meanwhile_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = lock_module._try_lock, []

    def removed_just_now(descriptor: int) -> None:
        original(descriptor)
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / ".lock").unlink()

    monkeypatch.setattr(lock_module, "_try_lock", removed_just_now)
    with RunLock(tmp_path), pytest.raises(CheckpointError, match=f"process {os.getpid()}"), RunLock(tmp_path):
        pass
    assert len(calls) == 2  # the third attempt was refused


def test_a_file_system_without_locks_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock_module, "_try_lock", missing)
    with caplog.at_level(logging.WARNING), RunLock(tmp_path):
        pass
    assert caplog.messages == [
        f"{tmp_path / '.lock'}: no file locks here (No locks available); let no second process train in this folder",
    ]


def test_a_lock_whose_holder_cannot_write_its_name_is_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lock = RunLock(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(lock_module.os, "write", full)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), lock:
            pytest.fail("nothing may begin")
    assert lock._descriptor is None
    with RunLock(tmp_path):  # of the same process, which a leaked descriptor would keep out
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_a_file_system_that_numbers_files_anew_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    monkeypatch.setattr(lock_module, "_same", lambda known, path: bool(tries.append(path)))
    with RunLock(tmp_path):
        assert tries == [tmp_path / ".lock"] * 10


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_deleted_or_replaced_is_noticed(tmp_path: Path, replaced: bool) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with RunLock(folder) as held:
        held.check()
        folder.rename(tmp_path / "elsewhere")
        if replaced:
            folder.mkdir()
        with pytest.raises(
            StorageError, match=r"run: the run folder was deleted, moved or replaced while the run was going on"
        ):
            held.check()
        if replaced:  # another run's lock stays
            (folder / ".lock").write_text("theirs")
    assert (folder / ".lock").exists() == replaced
    shutil.rmtree(tmp_path / "elsewhere")


def test_whoever_comes_second_leaves_the_folder_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found no folder, and would have made it."""
    folder = tmp_path / "runs" / "one"

    class Taken:
        def __init__(self, folder: Path) -> None:
            (folder / "config.resolved.yaml").write_text("of the first")

        def __enter__(self) -> None:
            raise CheckpointError("another process is training in this run folder")

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr("rl4lms.runs.folder.RunLock", Taken)
    with pytest.raises(CheckpointError, match="another process"):
        run(small_recipe(tmp_path, output_dir=str(folder)))
    assert (folder / "config.resolved.yaml").read_text() == "of the first"
