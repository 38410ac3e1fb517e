"""A MariaDB server for as long as a test needs it, with the programs that are on this machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a server that only a socket in a temporary folder leads to, and stop it; gives its URL, without the name
    of a database.
    """
    install, start = shutil.which("mariadb-install-db"), shutil.which("mariadbd")
    if install is None or start is None:
        pytest.skip("no MariaDB server on this machine: mariadbd is not found")
    pytest.importorskip("pymysql")
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="rl4lms-my-"))
    if user is not None:
        shutil.chown(folder, user)
    socket, data = folder / "socket", f"--datadir={folder / 'data'}"
    plain = ("--no-defaults", data)
    try:
        owner = user or getpass.getuser()
        made = [install, *plain, "--auth-root-authentication-method=normal", f"--user={owner}"]
        subprocess.run(made, cwd=folder, check=True, capture_output=True)
        quick = ("--skip-networking", "--innodb-flush-log-at-trx-commit=0", f"--pid-file={folder / 'pid'}")
        with (folder / "log").open("w") as log:
            server = subprocess.Popen([start, *plain, f"--socket={socket}", *quick], user=user, cwd=folder, stderr=log)
        try:
            until = time.monotonic() + 60
            while not socket.exists():
                ended = server.poll() is not None or time.monotonic() > until
                assert not ended, (folder / "log").read_text()
                time.sleep(0.1)
            yield f"mariadb+pymysql://root@/NAME?unix_socket={socket}"
        finally:
            server.terminate()
            server.wait(60)
    finally:
        shutil.rmtree(folder)
