"""Compares finished runs of this example at equal decoding, on the test prompts, and writes a report.

    python examples/real/compare.py --ppo runs/real-ppo-0 ... --nlpo runs/real-nlpo-0 ... --no-kl runs/real-nokl-0
    --output reports/real

Decodings: `full` (temperature 1, no mask; what the targets are about; NLPO also inside the mask that it trained with,
and its start inside the one that it began with) and `nucleus` (top-p 0.9). Prompts are the test split, which no run has
seen; runs of one seed draw the same random numbers. Writes `<output>.json`, `<output>.tables.md` and `<output>.html`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl4lms.stats.paired import Contrast
from rl4lms.studies.compare import Comparison, report

METRICS = (
    "second_classifier",
    "reward",
    "kl_per_sequence",
    "kl_per_token",
    "perplexity",
    "reference_perplexity",
    "distinct-2",
    "entropy",
)
DECODINGS = {"full": {"mask": True}, "nucleus": {"top_p": 0.9}}


def compared(runs: dict[str, list[Path]], prompts: int, decoding: dict[str, Any]) -> Comparison:
    """Decode all runs and the models that they started from alike, and compare them."""
    how = {"temperature": 1, "max_new_tokens": 48, "completions_per_prompt": 2, **decoding}
    settings = [
        f"evaluation.prompts={prompts}",
        *(f"evaluation.generation.{k}={json.dumps(v)}" for k, v in how.items()),
    ]
    return report(runs, metrics=METRICS, evaluate=True, split="test", overrides=settings)


def targets(found: Comparison) -> dict[str, dict[str, Any]]:
    """Return the figures that a system is judged by, each with its target and whether it is met."""
    judged = {}
    for system in found.systems:
        if system.start is None:
            continue
        now, before = (
            {key: c.value for key, c in found.results[name].items()} for name in (system.label, system.start)
        )
        figures = {
            "reward gain ≥ 0.25": (now["reward"] - before["reward"], lambda x: x >= 0.25),
            "2nd classifier gain ≥ 0.1": (now["second_classifier"] - before["second_classifier"], lambda x: x >= 0.1),
            "KL ≤ 6 nats": (now["kl_per_sequence"], lambda x: x <= 6),
            "human-text perplexity ≤ 1.25 ×": (
                now["reference_perplexity"] / before["reference_perplexity"],
                lambda x: x <= 1.25,
            ),
            "distinct-2 ≥ 0.75 ×": (now["distinct-2"] / before["distinct-2"], lambda x: x >= 0.75),
        }
        judged[system.label] = {name: {"value": x, "met": bool(met(x))} for name, (x, met) in figures.items()}
    return judged


def numbers(rows: Mapping[str, Mapping[str, Contrast]]) -> dict[str, Any]:
    """Return means and errors as JSON holds them."""
    return {
        label: {key: {"mean": c.value, "stderr": c.stderr, "over": c.over} for key, c in row.items()}
        for label, row in rows.items()
    }


def main() -> None:
    """Measure every run and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, needed in (("--ppo", True), ("--nlpo", True), ("--no-kl", False)):
        parser.add_argument(name, nargs="+", type=Path, required=needed, default=[])
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--output", type=Path, required=True, help="without suffix")
    a = parser.parse_args()
    runs = {label: paths for label, paths in (("PPO", a.ppo), ("NLPO", a.nlpo), ("no KL", a.no_kl)) if paths}
    found = {name: compared(runs, a.prompts, decoding) for name, decoding in DECODINGS.items()}
    judged = targets(found["full"])
    parts = [f"# {name}\n\n{each}" for name, each in found.items()]
    lines = [
        f"- {s}: {n}: {x['value']:.3f}, {'met' if x['met'] else 'not met'}"
        for s, row in judged.items()
        for n, x in row.items()
    ]
    parts.append("# Targets, means over seeds\n\n" + "\n".join(lines) + "\n")
    figures = {
        name: {part: numbers(getattr(each, part)) for part in ("results", "masked")} for name, each in found.items()
    }
    a.output.with_suffix(".json").write_text(
        json.dumps({"targets": judged, **figures}, indent=1) + "\n", encoding="utf-8"
    )
    a.output.with_suffix(".tables.md").write_text("\n".join(parts), encoding="utf-8")
    found["full"].to_html(a.output.with_suffix(".html"))
    print("\n".join(parts))


if __name__ == "__main__":
    main()
