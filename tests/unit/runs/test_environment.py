from __future__ import annotations

import shutil
import subprocess

import pytest

from rl4lms.runs import environment


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_the_commit_is_of_the_checkout_that_has_the_library(tmp_path, monkeypatch):
    def git(*arguments):
        settings = ("-c", "user.name=me", "-c", "user.email=me@example.org")
        done = subprocess.run(
            ["git", "-C", tmp_path, *settings, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    here = tmp_path / "venv" / "environment.py"
    here.parent.mkdir()
    here.write_text("x = 1\n")
    monkeypatch.setattr(environment, "__file__", str(here))
    assert environment.library_commit() is None
    git("init", "-q")
    (tmp_path / "own.py").write_text("y = 1\n")
    git("add", "own.py")
    git("commit", "-qm", "somebody's own")
    assert environment.library_commit() is None  # an environment inside of a checkout
    git("add", "venv")
    git("commit", "-qm", "the library")
    assert environment.library_commit() == git("rev-parse", "HEAD")
