"""Compares finished runs of this example at equal decoding, on the test prompts, and write a report.

    python examples/real/compare.py --ppo runs/real-ppo-0 ... --nlpo runs/real-nlpo-0 ... --no-kl runs/real-nokl-0
    --output reports/real

Decodings: `full` (temperature 1, no mask; what the targets are about), `nucleus` (each policy inside its own top-p 0.9
set, at least one token, EOS always allowed) and `mask` (inside the masking policy that NLPO trained with; the base
inside the same mask beside it). Writes `<output>.json` and `<output>.tables.md`. Prompts are the test split, which no
run has seen; the base draws the same random numbers.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from rl4lms.config import read_recipe
from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.config.model import ModelConfig
from rl4lms.evaluation.evaluator import Evaluator
from rl4lms.metrics import build as build_metric
from rl4lms.models.generate import MaskRule
from rl4lms.models.loading import load_lm, load_tokenizer, resolve_device, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.rewards import build as build_reward
from rl4lms.rollout.engine import LocalEngine
from rl4lms.tasks import task_of

TOP_P, AT_LEAST = 0.9, 1
COLUMNS = {
    "reward": "reward",
    "second_classifier": "2nd classifier",
    "kl_per_sequence": "KL / 48 tokens",
    "kl_per_token": "KL / token",
    "perplexity": "ppl of samples under base",
    "reference_perplexity": "ppl of human text",
    "distinct-2": "distinct-2",
    "entropy": "entropy",
}
SHOWN_SAMPLES = 5


class Comparison:
    """Everything that is the same for all rows: prompts, metrics, reward, base model."""

    def __init__(self, run: Path, prompts: int) -> None:
        self.recipe = read_recipe(run / "config.resolved.yaml")
        self.device = resolve_device(self.recipe.device)
        self.samples = task_of(self.recipe).samples("test")[:prompts]
        self.metrics = [build_metric(component) for component in self.recipe.evaluation.metrics]
        assert self.recipe.reward is not None
        self.reward = build_reward(self.recipe.reward)
        self.base = self.load(self.recipe.model.path)

    def load(self, path: str) -> Policy:
        config = ModelConfig(path=path)
        lm = load_lm(config, self.device)
        self.tokenizer = load_tokenizer(config)
        return Policy(lm, special_tokens(lm, self.tokenizer))

    def row(self, policy: Policy, mask: MaskRule | None) -> dict[str, Any]:
        engine = LocalEngine.create(policy, self.tokenizer, self.recipe.prompt, self.recipe.seed)
        settings = EvalGenerationConfig(max_new_tokens=self.recipe.rollout.max_new_tokens, completions_per_prompt=2)
        result = Evaluator(engine, self.base, self.samples, settings, self.metrics, self.reward)(mask)
        numbers = {key: {"mean": r.mean, "stderr": r.stderr, "n": r.n} for key, r in result.results.items()}
        texts = [
            {"completion": s["completion"], "reward": s["reward"]} for s in result.samples[: 2 * SHOWN_SAMPLES : 2]
        ]
        return {"numbers": numbers, "samples": texts}


def rows_of(c: Comparison, name: str, run: Path) -> dict[str, Any]:
    """Return all rows of one run, by decoding."""
    policy = c.load(str(run / "model"))
    rows = {"full": c.row(policy, None), "nucleus": c.row(policy, MaskRule(policy, TOP_P, AT_LEAST))}
    masks = sorted(run.glob("checkpoints/step-*/mask_policy.safetensors"))
    if masks:
        mask_policy = Policy(copy.deepcopy(c.base.lm), c.base.tokens)
        saved = load_file(masks[-1])
        with torch.no_grad():
            for key, parameter in mask_policy.named_parameters():
                parameter.copy_(saved[key])
        rule = MaskRule(mask_policy, TOP_P, AT_LEAST)
        rows |= {"mask": c.row(policy, rule), "base in this mask": c.row(c.base, rule)}
    print(f"{name}: {', '.join(rows)} done", flush=True)
    return rows


def targets(base: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that a run is judged by, each with its target and whether it is met."""

    def value(of: dict[str, Any], key: str) -> float:
        return float(of["numbers"][key]["mean"])

    figures = {
        "reward gain ≥ 0.25": (value(row, "reward") - value(base, "reward"), lambda x: x >= 0.25),
        "2nd classifier gain ≥ 0.1": (
            value(row, "second_classifier") - value(base, "second_classifier"),
            lambda x: x >= 0.1,
        ),
        "KL ≤ 6 nats": (value(row, "kl_per_sequence"), lambda x: x <= 6),
        "human-text perplexity ≤ 1.25 ×": (
            value(row, "reference_perplexity") / value(base, "reference_perplexity"),
            lambda x: x <= 1.25,
        ),
        "distinct-2 ≥ 0.75 ×": (value(row, "distinct-2") / value(base, "distinct-2"), lambda x: x >= 0.75),
    }
    return {name: {"value": x, "met": bool(met(x))} for name, (x, met) in figures.items()}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table of labelled rows."""
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---|" * len(COLUMNS)]
    for label, row in rows.items():
        cells = []
        for key in COLUMNS:
            number = row["numbers"][key]
            error = f" ± {number['stderr']:.2g}" if number["stderr"] is not None else ""
            cells.append(f"{number['mean']:.3f}{error}")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def markdown(result: dict[str, Any]) -> str:
    """Return the report's measured part: tables, targets, samples."""
    base, runs = result["base"], result["runs"]
    full = {"base": base["full"], **{n: r["full"] for n, r in runs.items()}}
    parts = ["## Without the mask (full softmax, temperature 1)\n", table(full)]
    parts.append("\n## Targets per seed\n")
    names = list(next(iter(result["targets"].values())))
    parts.append("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for run, figures in result["targets"].items():
        cells = [f"{figures[name]['value']:+.3f} {'met' if figures[name]['met'] else '**not met**'}" for name in names]
        parts.append(f"| {run} | " + " | ".join(cells) + " |")
    parts.append("\n## Each policy inside its own top-p 0.9 set (equal decoding)\n")
    parts.append(table({"base": base["nucleus"], **{n: r["nucleus"] for n, r in runs.items()}}))
    masked = {
        f"{n}{suffix}": r[key]
        for n, r in runs.items()
        if "mask" in r
        for key, suffix in (("mask", ""), ("base in this mask", ": base in its mask"))
    }
    parts += [
        "\n## Inside the mask that NLPO trained with\n",
        table(masked),
        "\n## Completions (first test prompts, full softmax)\n",
    ]
    for name, row in full.items():
        parts.append(f"**{name}**\n")
        parts += [f"- ({s['reward']:.2f}) …{' '.join(s['completion'].split())}" for s in row["samples"]]
        parts.append("")
    return "\n".join(parts) + "\n"


def main() -> None:
    """Measure every run and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ppo", nargs="+", type=Path, required=True)
    parser.add_argument("--nlpo", nargs="+", type=Path, required=True)
    parser.add_argument("--no-kl", nargs="*", type=Path, default=[])
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--output", type=Path, required=True, help="without suffix")
    a = parser.parse_args()
    torch.set_num_threads(1)
    c = Comparison(a.ppo[0], a.prompts)
    base = {"full": c.row(c.base, None), "nucleus": c.row(c.base, MaskRule(c.base, TOP_P, AT_LEAST))}
    named = [
        (f"{kind} {i}", run)
        for kind, group in (("PPO", a.ppo), ("NLPO", a.nlpo), ("no KL", a.no_kl))
        for i, run in enumerate(group)
    ]
    runs = {name: rows_of(c, name, run) for name, run in named}
    judged = {name: targets(base["full"], rows["full"]) for name, rows in runs.items()}
    result = {"prompts": len(c.samples), "base": base, "runs": runs, "targets": judged}
    # Samples are kept out of the JSON: it holds figures.
    figures = json.loads(json.dumps(result))
    for rows in [figures["base"], *figures["runs"].values()]:
        for row in rows.values():
            del row["samples"]
    a.output.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    a.output.with_suffix(".tables.md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
