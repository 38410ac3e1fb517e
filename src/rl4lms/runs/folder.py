"""The run folder: who may use it, what is written into a fresh one, and how to go on with it when a run ends early."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from rl4lms.config import dump_recipe
from rl4lms.config.recipe import Recipe
from rl4lms.errors import CheckpointError, ConfigError, Rl4lmsError, StorageError
from rl4lms.runs.checkpoint import Checkpoints, steps_in
from rl4lms.runs.environment import environment
from rl4lms.runs.layout import CONFIG_FILE, is_run
from rl4lms.runs.lock import RunLock
from rl4lms.runs.storage import storage_errors, tidy, write_text

# A run that failed before its first evaluation left nothing to lose.
_NOTHING_TO_LOSE = {CONFIG_FILE, "env.json", "samples", "evaluations", "checkpoints", "faults.jsonl", "given"}


@contextlib.contextmanager
def open_folder(folder: Path, recipe: Recipe, resume: bool) -> Iterator[RunLock]:
    """Hold the run folder while a run goes on. A fresh one gets the recipe and the record of the environment.

    A folder that was made for a run which failed before its first evaluation goes again: a mistake in a recipe leaves
    nothing behind.

    Raises:
        CheckpointError: another process trains in it, or there is nothing to resume.
        ConfigError: it holds another run.
        StorageError: it cannot be written to, now or later.
    """
    if resume:
        refuse_nothing_to_resume(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]

    def own_errors() -> contextlib.AbstractContextManager[None]:
        return storage_errors(folder, lambda: how_to_go_on(folder))

    with contextlib.ExitStack() as held:
        with own_errors():
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(RunLock(folder))
            if not resume and something_to_lose(folder):
                raise ConfigError(
                    f"{folder}: the run folder is not empty; add --resume (in Python: resume=True) to continue it, or "
                    "name another output_dir"
                )
            tidy(folder)
            if not resume:
                write_text(folder / "env.json", json.dumps(environment(), indent=1) + "\n")
                write_config(folder, recipe)
        try:
            with own_errors():  # which asks whether the folder is still there, so it goes after that
                yield lock
        except StorageError:
            raise
        except (Rl4lmsError, OSError):
            if folder in made and not something_to_lose(folder):
                shutil.rmtree(folder, ignore_errors=True)
                _remove_empty(made[1:])
            raise


def refuse_nothing_to_resume(folder: Path) -> None:
    """Refuse a folder that holds no run.

    Raises:
        CheckpointError: it does not.
    """
    if not is_run(folder):
        raise CheckpointError(f"{folder}: no run to resume there ({CONFIG_FILE} is missing)")


def something_to_lose(folder: Path) -> bool:
    """Return whether a folder holds more than what a run leaves that failed before its first evaluation."""
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return not present <= _NOTHING_TO_LOSE or bool(steps_in(folder / "checkpoints"))


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders from the inside out, up to the first with something in it."""
    with contextlib.suppress(OSError):
        for path in folders:
            path.rmdir()


def write_config(folder: Path, recipe: Recipe) -> None:
    """Write the resolved recipe, which makes the folder one that can be resumed."""
    write_text(folder / CONFIG_FILE, dump_recipe(recipe))


def last_good(folder: Path) -> Path | None:
    """Return the newest checkpoint that can be resumed from, if any: this is asked while another error is told."""
    try:
        return _newest(folder)
    except (CheckpointError, OSError):
        return None  # of another format, or on a disk that fails


def _newest(folder: Path) -> Path | None:
    checkpoints = Checkpoints(folder / "checkpoints", 1, {})
    step, _ = checkpoints.latest()
    return None if step is None else checkpoints.path(step)


def unreadable(folder: Path) -> bool:
    """Return whether a run has a checkpoint that may be good, and cannot be read now or by this version."""
    try:
        _newest(folder)
    except (CheckpointError, OSError):
        return True
    return False


def how_to_go_on(folder: Path) -> str:
    """Return what to do after a run ended early, as the end of a sentence."""
    if not is_run(folder):
        return "start the run again: nothing of it is left"
    last = last_good(folder)
    where = f"from {last}" if last is not None else "from the start, since no checkpoint was written yet"
    if last is None and unreadable(folder):
        where = "as soon as its checkpoints can be read"
    return f"continue {where}: {resume_command(folder)} (in Python: resume=True)"


def resume_command(folder: Path) -> str:
    """Return what to type to continue a run."""
    return f"rl4lms train {shlex.quote(str(folder))} --resume"
