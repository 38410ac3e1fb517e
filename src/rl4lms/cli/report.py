"""`rl4lms report`: what training changed, in one run or several."""

from __future__ import annotations

import functools

from rl4lms.cli.compare import Evaluate, Html, Imports, Keep, Markdown, Metrics, Quiet, Splits, Targets, give, prepare

EPILOG = "Example:  rl4lms report runs/imdb-mini-nlpo-seed0 --html report.html"


def report(
    targets: Targets,
    metric: Metrics = None,
    evaluate: Evaluate = False,
    split: Splits = None,
    keep: Keep = None,
    html: Html = None,
    markdown: Markdown = None,
    imports: Imports = None,
    quiet: Quiet = False,
) -> None:
    """Show runs beside the models that they started from: what changed, with errors, curves, texts before and after."""
    settings = prepare(targets, metric, evaluate, split, keep, html, markdown, imports, quiet)
    from rl4lms.studies.compare import report as report_runs

    give(functools.partial(report_runs, **settings), html, markdown, quiet)
