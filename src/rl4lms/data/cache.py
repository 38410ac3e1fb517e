"""Where what is built or fetched once is kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return `$RL4LMS_CACHE`, else `$XDG_CACHE_HOME/rl4lms`, else `~/.cache/rl4lms`."""
    own, xdg = os.environ.get("RL4LMS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(xdg) if xdg else Path.home() / ".cache") / "rl4lms"
