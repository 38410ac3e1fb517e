"""Metrics: batched functions from texts to numbers.

`build` makes a metric from its name and options, `build_all` several, of which some may be absent; `compute` calls one
and adds mean and standard error.
"""

from __future__ import annotations

from rl4lms.metrics.call import build, build_all, compute, compute_all

__all__ = ["build", "build_all", "compute", "compute_all"]
