"""Prepares the real data of this example: prompts from TinyStories and sentences of rt-polarity, shuffled with a seed
before splitting.

    RL4LMS_TEST_DATA=path/to/data python examples/real/prepare.py examples/real/data

reads `tinystories-text/tinystories_1000.json` and `rt-polarity/rt-polarity.{pos,neg}` below that folder and writes
`prompts.jsonl` (prompt: the first 12 words of a story; reference: its next words, up to 100), `polarity.train.jsonl`
and `polarity.test.jsonl`.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

PROMPT_WORDS, REFERENCE_WORDS = 12, 100
POLARITY_TEST_ROWS = 1000


def write(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write JSONL."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main(source: Path, target: Path) -> None:
    """Prepare every file."""
    target.mkdir(parents=True, exist_ok=True)
    stories = json.loads((source / "tinystories-text" / "tinystories_1000.json").read_text(encoding="utf-8"))
    rows = []
    for number, story in enumerate(stories):
        words = story.split()
        if len(words) > 2 * PROMPT_WORDS:
            reference = " ".join(words[PROMPT_WORDS : PROMPT_WORDS + REFERENCE_WORDS])
            rows.append({"id": f"story-{number}", "prompt": " ".join(words[:PROMPT_WORDS]), "references": [reference]})
    random.Random(0).shuffle(rows)
    write(target / "prompts.jsonl", rows)

    labelled = []
    for label, name in (("negative", "rt-polarity.neg"), ("positive", "rt-polarity.pos")):
        text = (source / "rt-polarity" / name).read_bytes().decode("utf-8", errors="replace")
        labelled += [{"text": line.strip(), "label": label} for line in text.splitlines() if line.strip()]
    random.Random(0).shuffle(labelled)
    write(target / "polarity.test.jsonl", labelled[:POLARITY_TEST_ROWS])
    write(target / "polarity.train.jsonl", labelled[POLARITY_TEST_ROWS:])
    print(f"{len(rows)} prompts, {len(labelled)} labelled sentences in {target}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or "RL4LMS_TEST_DATA" not in os.environ:
        sys.exit(__doc__)
    main(Path(os.environ["RL4LMS_TEST_DATA"]), Path(sys.argv[1]))
