"""One setting of the C library's memory allocator that large tensors on the CPU profit from."""

from __future__ import annotations

import ctypes
import sys

# glibc's <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LIMIT = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next tensor, for the whole process; return whether that was possible.

    By default blocks above 32 MiB go back to the kernel when they are freed, and the next tensor of that size pays for
    fresh zeroed pages: 4 % of a training step at GPT-2's size (`benchmarks/bench.py`). The peak of memory stays as it
    is, but it is held.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and all(
        mallopt(option, _LIMIT) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)
    )
