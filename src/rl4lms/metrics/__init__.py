"""Metrics: batched functions from texts to numbers.

`load("rouge").compute(predictions=..., references=...)` is the door for scripts. `build` makes a metric from its name
and options, `build_all` several, of which some may be absent; `compute` calls one and adds mean and standard error.
"""

from __future__ import annotations

from rl4lms.metrics.call import build, build_all, compute, compute_all
from rl4lms.metrics.loaded import Loaded, Results, Score, load

__all__ = ["Loaded", "Results", "Score", "build", "build_all", "compute", "compute_all", "load"]
