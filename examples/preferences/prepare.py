"""Prepares CommonGen's human ratings (0 to 5) for `rl4lms reward train`.

    RL4LMS_TEST_DATA=path/to/data python examples/preferences/prepare.py examples/preferences/data

reads `commongen/human_ratings_{train,dev}.jsonl.gz` below that folder and writes `train.jsonl` and `dev.jsonl`, one
rating a row: `text` (the candidate), `rating`, and `reference`, the human sentence it was rated against. References
that are in both files are left out of training.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path


def ratings(path: Path) -> list[dict[str, object]]:
    """Return the ratings of one file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [{"text": row["candidate"], "rating": row["score"], "reference": row["reference"]} for row in rows]


def main(source: Path, target: Path) -> None:
    """Prepare both files."""
    target.mkdir(parents=True, exist_ok=True)
    train, dev = (ratings(source / "commongen" / f"human_ratings_{name}.jsonl.gz") for name in ("train", "dev"))
    known = {row["reference"] for row in dev}
    kept = [row for row in train if row["reference"] not in known]
    for name, rows in (("train", kept), ("dev", dev)):
        (target / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        print(f"{name}: {len(rows)} ratings of {len({row['reference'] for row in rows})} references")
    print(f"left out of training: {len(train) - len(kept)} ratings of references that dev has, too")


if __name__ == "__main__":
    if len(sys.argv) != 2 or "RL4LMS_TEST_DATA" not in os.environ:
        sys.exit(__doc__)
    main(Path(os.environ["RL4LMS_TEST_DATA"]), Path(sys.argv[1]))
