"""Disks that are full, read-only or gone: one message, exit code 2, and a run that goes on when there is room again."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from rl4lms.config.recipe import Recipe
from rl4lms.errors import StorageError
from rl4lms.runs import checkpoint, storage, tracking
from rl4lms.runs.storage import append_line, replacing, tidy, write_text
from rl4lms.training import result
from rl4lms.training.run import run
from tests.faults.sweep import difference, outcome
from tests.runs import metric_lines, small_recipe

SETTINGS: dict[str, Any] = {
    "training": {"iterations": 4, "prompts_per_iteration": 8},
    "evaluation": {"every": 2, "prompts": 4},
    "checkpoint": {"every": 1, "keep_last": 2},
    "algorithm": {"name": "ppo", "n_epochs": 1},
}


def recipe(folder: Path, output: Path) -> Recipe:
    return small_recipe(folder, output_dir=str(output), **SETTINGS)


def reward(disturb: Callable[[], object] | None = None, nth: int = 0) -> Callable[..., list[float]]:
    """The longest text wins; something happens to the disk in the `nth` call. Calls 1, 4 and 7 are evaluations, the
    others iterations.
    """
    calls = []

    def longest(completions: list[str], **columns: Any) -> list[float]:
        calls.append(len(completions))
        if disturb is not None and len(calls) == nth:
            disturb()
        return [float(len(text)) for text in completions]

    return longest


def check_resumed(settings: Recipe, output: Path, expected: dict[str, Any]) -> None:
    """Nothing that was half written counts, and the run ends like one that was never disturbed."""
    run(settings, reward=reward(), resume=True)
    found = outcome(output)
    assert found == expected, difference(found, expected)


def checkpoints(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the uninterrupted run leaves."""
    folder = tmp_path_factory.mktemp("whole")
    run(recipe(folder, folder / "run"), reward=reward())
    return outcome(folder / "run")


# --- real disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--recursive", str(disk)], check=True)


def fill(disk: Path, left: int) -> None:
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - left)


@pytest.mark.parametrize(
    ("nth", "left", "last"),
    [
        (5, 0, 2),  # the line of the third iteration
        pytest.param(5, 20_000, 2, marks=pytest.mark.slow),  # its checkpoint
        pytest.param(6, 0, 3, marks=pytest.mark.slow),  # the line of the last iteration
        (7, 0, 3),  # the samples of the last evaluation
        (0, 20_000, 4),  # the final save
    ],
)
def test_a_full_disk(
    tmp_path: Path,
    small_disk: Path,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    nth: int,
    left: int,
    last: int,
) -> None:
    """What is written after the `nth` call of the reward meets a disk with so many bytes left."""
    output = small_disk / "run"
    settings = recipe(tmp_path, output)
    card = result.model_card
    with monkeypatch.context() as patch:
        if not nth:
            patch.setattr(result, "model_card", lambda *args: (fill(small_disk, left), card(*args))[1])
        with pytest.raises(StorageError) as caught:
            run(settings, reward=reward(lambda: fill(small_disk, left), nth))
    good = output / "checkpoints" / f"step-{last:06d}"
    assert str(caught.value) == (
        f"{output}: the disk is full; make room, then continue from {good}: rl4lms train {output} --resume (in "
        f"Python: resume=True)"
    )
    assert checkpoints(output)[-1] == good.name
    assert not [path for path in output.rglob(".*") if path.name != ".lock"]
    assert not (output / "model").exists()
    assert [line["step"] for line in metric_lines(output)] == list(range(last + 1 + (nth == 5 and left > 0)))
    (small_disk / "ballast").unlink()
    check_resumed(settings, output, expected)


def test_a_folder_that_becomes_read_only(tmp_path: Path, small_disk: Path, expected: dict[str, Any]) -> None:
    output = small_disk / "run"

    def protect() -> None:
        folder = output / "checkpoints"
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)

    settings = recipe(tmp_path, output)
    with pytest.raises(StorageError) as caught:
        run(settings, reward=reward(protect, 5))
    folder = output / "checkpoints"
    assert str(caught.value) == (
        f"{folder / '.step-000003.writing'}: the file system is read-only; make it writable, "
        f"then continue from {folder / 'step-000002'}: rl4lms train {output} --resume (in Python: resume=True)"
    )
    subprocess.run(["umount", str(folder)], check=True)
    check_resumed(settings, output, expected)


# --- folders that go away


def test_a_run_folder_that_is_deleted(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with pytest.raises(StorageError) as caught:
        run(recipe(tmp_path, output), reward=reward(lambda: shutil.rmtree(output), 5))
    assert (
        str(caught.value)
        == f"{output}: the run folder was deleted, moved or replaced while the run was going on; nothing more was saved"
    )
    assert not output.exists()


def test_a_run_folder_that_is_deleted_during_an_evaluation(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with pytest.raises(StorageError) as caught:
        run(recipe(tmp_path, output), reward=reward(lambda: shutil.rmtree(output), 4))
    assert (
        "a folder of the run was deleted or moved while the run was going on; put it back, then start the run again"
        in str(caught.value)
    )
    assert not output.exists()


def test_a_run_folder_that_is_moved_away_can_be_continued_where_it_is(tmp_path: Path, expected: dict[str, Any]) -> None:
    output, moved = tmp_path / "run", tmp_path / "moved"
    with pytest.raises(StorageError, match="deleted, moved or replaced"):
        run(recipe(tmp_path, output), reward=reward(lambda: output.rename(moved), 5))
    check_resumed(recipe(tmp_path, moved), moved, expected)


def test_a_deleted_samples_folder_is_named_and_comes_back(tmp_path: Path) -> None:
    output = tmp_path / "run"
    settings = recipe(tmp_path, output)
    with pytest.raises(StorageError) as caught:
        run(settings, reward=reward(lambda: shutil.rmtree(output / "samples"), 4))
    assert str(caught.value).startswith(
        f"{output / 'samples'}/.step-000002.jsonl.writing: a folder of the run was deleted or moved"
    )
    assert f"continue from {output / 'checkpoints' / 'step-000001'}" in str(caught.value)
    run(settings, reward=reward(), resume=True)
    assert [path.name for path in sorted((output / "samples").iterdir())] == ["step-000002.jsonl", "step-000004.jsonl"]


def test_a_file_where_the_run_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(StorageError, match=r"run: File exists; see to it, then start the run again"):
        run(recipe(tmp_path, tmp_path / "run"))


# --- errors of the system, whichever library they come through


def raising(error: Exception, nth: int) -> Callable[..., None]:
    """A function that works until its `nth` call."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        calls = []

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            if len(calls) == nth:
                raise error
            return original(*args, **kwargs)

        return call

    return wrap  # type: ignore[return-value]


def rust(number: int) -> SafetensorError:
    return SafetensorError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")


@pytest.mark.parametrize(
    ("owner", "name", "error", "nth", "message", "last"),
    [
        (checkpoint, "save_file", rust(errno.ENOSPC), 5, "the disk is full; make room", 2),
        (checkpoint, "save_file", rust(errno.EDQUOT), 2, "the disk quota is used up; make room", None),
        (storage, "fsync", OSError(errno.EIO, "Input/output error"), 9, "the disk failed; check it", 1),
        (
            tracking,
            "append_line",
            OSError(errno.ENOSPC, "No space left on device"),
            4,
            "the disk is full; make room",
            2,
        ),
        (
            tracking,
            "write_text",
            OSError(errno.EROFS, "Read-only file system"),
            1,
            "the file system is read-only; make it writable",
            None,
        ),
        (result, "save_model", rust(errno.ENOSPC), 1, "the disk is full; make room", 4),
        (result, "write_text", OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full; make room", 4),
    ],
)
def test_every_write_of_a_run_fails_with_the_same_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, Any],
    owner: Any,
    name: str,
    error: Exception,
    nth: int,
    message: str,
    last: int | None,
) -> None:
    output = tmp_path / "run"
    settings = recipe(tmp_path, output)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, raising(error, nth)(getattr(owner, name)))
        with pytest.raises(StorageError) as caught:
            run(settings, reward=reward())
    where = (
        f"from {output / 'checkpoints' / f'step-{last:06d}'}"
        if last is not None
        else "from the start, since no checkpoint was written yet"
    )
    assert (
        str(caught.value)
        == f"{output}: {message}, then continue {where}: rl4lms train {output} --resume (in Python: resume=True)"
    )
    assert caught.value.__cause__ is error
    assert not [path for path in output.rglob(".*") if path.name != ".lock"]
    check_resumed(settings, output, expected)


def test_permissions_are_named_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "run"
    path = output / "config.resolved.yaml"
    monkeypatch.setattr(
        storage.os, "replace", raising(PermissionError(errno.EACCES, "Permission denied", str(path)), 2)(os.replace)
    )
    with pytest.raises(StorageError) as caught:
        run(recipe(tmp_path, output))
    assert (
        str(caught.value)
        == f"{path}: no permission to write there; change the permissions, then start the run again: nothing of it is "
        f"left"
    )


def test_errors_that_are_none_of_the_run_folders_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage.storage_errors(tmp_path, lambda: ""):
        (tmp_path.parent / "no such file").read_text()
    with pytest.raises(OSError, match="Too many open files"), storage.storage_errors(tmp_path, lambda: ""):
        raise OSError(errno.EMFILE, "Too many open files")
    with pytest.raises(ZeroDivisionError), storage.storage_errors(tmp_path, lambda: ""):
        raise ZeroDivisionError


# --- the building blocks


def test_a_line_is_appended_whole_or_not_at_all(small_disk: Path) -> None:
    path = small_disk / "lines"
    append_line(path, "first")
    fill(small_disk, 0)
    with pytest.raises(OSError, match="No space left"):
        append_line(path, "x" * 100_000)  # a page of it has room in the file's last block
    assert path.read_text() == "first\n"


def test_a_text_that_cannot_be_written_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    monkeypatch.setattr(storage.os, "fsync", raising(OSError(errno.EIO, "broken"), 1)(os.fsync))
    with pytest.raises(OSError, match="broken"):
        write_text(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]


@pytest.mark.parametrize("nth", [1, 2])
def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("old")
    monkeypatch.setattr(storage.os, "rename", raising(OSError(errno.EIO, "broken"), nth)(os.rename))
    with pytest.raises(OSError, match="broken"), replacing(folder) as new:
        (new / "file").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (folder / "file").read_text() == "old"


def test_what_a_crash_left_is_tidied(tmp_path: Path) -> None:
    """A new folder that was never renamed goes; an old one comes back unless the new one has taken its place."""
    for name in (".a.writing", ".a.replaced", ".b.writing", ".c.replaced", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "from").write_text(name)
    (tmp_path / ".text.json.writing").write_text("{")
    (tmp_path / ".hidden").write_text("not ours")
    tidy(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c", ".hidden"}
    assert (tmp_path / "a" / "from").read_text() == ".a.replaced"
    assert (tmp_path / "c" / "from").read_text() == "c"


def test_json_of_a_run_is_never_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that a resumed run reads is written beside its place first."""
    written: list[str] = []
    original = os.replace
    monkeypatch.setattr(storage.os, "replace", lambda old, new: (written.append(Path(new).name), original(old, new)))
    run(recipe(tmp_path, tmp_path / "run"), reward=reward())
    assert {"config.resolved.yaml", "env.json", "result.json", "step-000002.jsonl"} <= set(written)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["iterations"] == 4
