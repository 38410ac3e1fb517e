"""Write `docs/log-keys.md` from the table in `rl4lms.log_keys`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from rl4lms.log_keys import LOG_KEYS

PAGE = Path(__file__).parents[1] / "docs" / "log-keys.md"
HEAD = """# What a run logs

Every line of `metrics.jsonl` in a run folder holds the `step`, the number of iterations that are done, and the keys
below. Step 0 is the evaluation before any update; the other lines have the numbers of one iteration, and those of an
evaluation where there was one. `null` says that there was nothing to take a mean of. Trackers get the same keys.

Means are over the whole iteration, of all processes. Completions without a score are left out of the scores, rewards,
KL and entropy of `rollout/`, and of the update. The losses and their kin in `train/` are means over minibatches.

Written by `python scripts/log_keys.py` from `src/rl4lms/log_keys.py`; change it there.
"""
TITLES = {"rollout": "The rollout", "train": "The update", "time": "Time", "eval": "Evaluations"}


def render() -> str:
    """Return the page."""
    parts = [HEAD]
    for prefix, keys in groupby(LOG_KEYS, key=lambda line: line.key.partition("/")[0]):
        rows = [f"| `{line.key}` | {line.unit} | {line.meaning} |\n" for line in keys]
        parts.append(f"## {TITLES[prefix]}\n\n| key | unit | meaning |\n|---|---|---|\n{''.join(rows)}")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
