"""Metrics: batched functions from texts to numbers.

`build` makes a metric from its name and options, `compute` calls one and adds mean and standard error.
"""

from __future__ import annotations

from rl4lms.metrics.call import build, compute, compute_all

__all__ = ["build", "compute", "compute_all"]
