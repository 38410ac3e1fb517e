"""`python -m rl4lms.grue.with_parent PARENT ARGUMENT...`: this Python interpreter with the arguments, in a process that
is killed when its parent ends, however that ends.

A worker of Ray that is killed leaves what it started behind; it would go on writing beside the worker that replaces it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of Linux, <sys/prctl.h>; it holds after `exec`


def main(parent: str, *arguments: str) -> None:
    """Become the command.

    Args:
        parent: id of the process that this one must not outlive.
        arguments: of this Python interpreter.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):  # it ended before it could be waited for
        sys.exit(f"process {parent}, which started this one, has ended")
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
