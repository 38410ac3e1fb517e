"""A PostgreSQL server for as long as a test needs it, with the programs that are on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_FOLDERS = ("/usr/lib/postgresql", "/opt/homebrew/opt/postgresql/bin")


def _programs() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`, which Debian leaves out of PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(os.path.realpath(found)).parent
    return next((path.parent for folder in _FOLDERS for path in sorted(Path(folder).glob("**/initdb"))), None)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a server that only a socket in a temporary folder leads to, and stop it; gives its URL, without the name
    of a database.
    """
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server on this machine: initdb is not found")
    # It refuses to run as root. Not below tmp_path, which other users may not enter.
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="rl4lms-pg-"))
    if user is not None:
        shutil.chown(folder, user)

    def call(*words: str) -> None:
        ended = subprocess.run(words, user=user, cwd=folder, capture_output=True, text=True)
        log = folder / "log"
        assert ended.returncode == 0, ended.stderr + (log.read_text() if log.exists() else "")

    data = str(folder / "data")
    try:
        call(str(programs / "initdb"), "--pgdata", data, "--username", "test", "--auth", "trust", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        control = [str(programs / "pg_ctl"), "--pgdata", data, "--wait"]
        # its output goes to a file: a server that held our pipe would keep `call` waiting
        call(
            "sh",
            "-c",
            f"exec '{control[0]}' --pgdata '{data}' --wait --log '{folder}/log' -o \"{options}\" start >'{folder}/start'",
        )
        try:
            yield f"postgresql://test@/NAME?host={folder}"
        finally:
            call(*control, "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
