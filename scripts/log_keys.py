"""Write `docs/log-keys.md` from the table in `rl4lms.log_keys`, and `docs/health.md` from `rl4lms.runs.health`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from rl4lms.log_keys import LOG_KEYS
from rl4lms.runs.health import RULES

PAGE = Path(__file__).parents[1] / "docs" / "log-keys.md"
HEAD = """# What a run logs

Every line of `metrics.jsonl` in a run folder holds the `step`, the number of iterations that are done, and the keys
below. Step 0 is the evaluation before any update; the other lines have the numbers of one iteration, and those of an
evaluation where there was one. `null` says that there was nothing to take a mean of. Trackers get the same keys.

Means are over the whole iteration, of all processes. Completions without a score are left out of the scores, rewards,
KL and entropy of `rollout/`, and of the update. The losses and their kin in `train/` are means over minibatches.

Written by `python scripts/log_keys.py` from `src/rl4lms/log_keys.py`; change it there.
"""
HEALTH_PAGE = PAGE.with_name("health.md")
HEALTH_HEAD = """# Health of a run

A run looks at its own numbers after every iteration. Where they cross a threshold below, one line says so when it
begins, with what to change; `train/health_warnings` in `metrics.jsonl` counts the warnings that hold, and `health` in
`result.json` the iterations in which each held. `training.on_health` is `warn`, `stop` (the run is saved and ends with
an error that says how to go on) or `off`. In Python, `rl4lms.load_run(RUN).health` has the warnings of a run.

This is an audit of what has happened. It detects nothing early: a policy that exploits its reward looks healthy until
its texts have changed. Read the texts in `samples/`.

The vetted recipes cross none of the thresholds over three seeds, and runs that were spoilt on purpose cross those that
they should (`tests/learning/test_health.py`).

Written by `python scripts/log_keys.py` from `src/rl4lms/runs/health.py`; change it there.

| warning | looks at | iterations in a row | why there | what to change |
|---|---|---|---|---|
"""
TITLES = {"rollout": "The rollout", "train": "The update", "time": "Time", "eval": "Evaluations"}


def render() -> str:
    """Return the page."""
    parts = [HEAD]
    for prefix, keys in groupby(LOG_KEYS, key=lambda line: line.key.partition("/")[0]):
        rows = [f"| `{line.key}` | {line.unit} | {line.meaning} |\n" for line in keys]
        parts.append(f"## {TITLES[prefix]}\n\n| key | unit | meaning |\n|---|---|---|\n{''.join(rows)}")
    return "\n".join(parts)


def render_health() -> str:
    """Return the page on health."""
    rows = [
        f"| `{rule.name}` | {', '.join(f'`{key}`' for key in rule.keys)} | {rule.in_a_row} | {rule.reason} "
        f"| {rule.remedy}. |\n"
        for rule in RULES
    ]
    return HEALTH_HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    HEALTH_PAGE.write_text(render_health(), encoding="utf-8")
