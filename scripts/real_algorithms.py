"""Compare all algorithms on a real model: the 260K TinyStories LM of examples/real, with a classifier as reward.

    python scripts/real_algorithms.py tune [--jobs 2]
    python scripts/real_algorithms.py run [--jobs 2]
    python scripts/real_algorithms.py write

From the root of the repository, after the commands at the top of `examples/real/ppo.yaml`, whose recipe this is but for
`CHANGED`. `tune` tries step sizes with a seed of its own on validation prompts and `run` trains three others with what
`scripts/algorithms.py` would choose of them, measured on test prompts; both add to the files beside the report, and
leave out what those have. `write` makes reports/algorithms/real.md anew, and keeps what stands behind "## Reading".
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from algorithms import READING, ROOT, SYSTEMS, TUNING_SEED, chosen_of, draw_curves, settings_of, shown

FOLDER = ROOT / "reports" / "algorithms"
TUNING, VALUES, REPORT = FOLDER / "real-tuning.json", FOLDER / "real-values.json", FOLDER / "real.md"
RECIPE = Path("examples/real/ppo.yaml")
SEEDS, KL_BUDGET = (1, 2, 3), 6.0  # nats per completion of 48 tokens, as in reports/real-stories.md
RATES = (3e-4, 6e-4, 1.2e-3, 2.4e-3)
# A quarter of the iterations of that report, and a coefficient that does not move, so that all maximise the same thing
CHANGED = {"training.iterations": 25, "kl.kl_target": None, "evaluation.every": 0, "checkpoint.every": 0}
CHANGED |= {"optimizer.value_learning_rate": 1e-3, "tracking.progress": False, "evaluation.samples": 0}
COLUMNS = {
    "reward": "reward",
    "second_classifier": "second classifier",
    "kl_per_sequence": "KL, nats",
    "distinct-2": "distinct-2",
    "perplexity": "perplexity of texts under the base",
    "reference_perplexity": "perplexity of human text",
}


def step_sizes(label: str) -> list[dict[str, float]]:
    """Return what is tried: learning rates, or TRPO's bounds, which take their place."""
    if label == "trpo":
        return [{"algorithm.target_kl": bound} for bound in (0.01, 0.03)]
    return [{"optimizer.learning_rate": rate} for rate in RATES]


def between(rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, float]]]:
    """Return one more step size for each system: between the largest that stayed within the budget and the next one, or
    below the smallest where none did.
    """
    found = []
    for label in SYSTEMS:
        tried = sorted((next(iter(row["step"].values())), row["kl"]) for row in rows if row["system"] == label)
        first = {key for row in rows if row["system"] == label for key in row["step"]}
        sizes = [next(iter(step.values())) for step in step_sizes(label)]
        within = [size for size, kl in tried if kl <= KL_BUDGET and size in sizes]
        beyond = [size for size, kl in tried if kl > KL_BUDGET and size in sizes and size > max(within, default=0)]
        if beyond:
            low = max(within, default=min(beyond) / 2)
            found.append((label, {key: float(f"{(low * min(beyond)) ** 0.5:.2g}") for key in first}))
    return found


def train(label: str, step: dict[str, float], seed: int, tuning: bool) -> dict[str, Any]:
    """Train once, and return what the evaluations before and after say."""
    import torch

    from rl4lms.config import read_recipe
    from rl4lms.runs.evaluations import FOLDER as EVALUATIONS
    from rl4lms.training.run import run

    torch.set_num_threads(1)
    own = settings_of(label) | step
    algorithm = {"name": SYSTEMS[label][0]} | {
        key.removeprefix("algorithm."): value for key, value in own.items() if key.startswith("algorithm.")
    }
    changed = CHANGED | {key: value for key, value in own.items() if not key.startswith("algorithm.")}
    changed |= {"algorithm": algorithm, "seed": seed, "evaluation.split": "validation" if tuning else "test"}
    if tuning:
        changed |= {"evaluation.metrics": []}
    with tempfile.TemporaryDirectory() as folder:
        changed |= {"output_dir": f"{folder}/run"}
        recipe = read_recipe(RECIPE, [f"{key}={json.dumps(value)}" for key, value in changed.items()])
        start = time.process_time()
        result = run(recipe)
        cpu_s = time.process_time() - start
        history = result.history
        found = {
            path.stem: json.loads(path.read_text(encoding="utf-8"))["results"]
            for path in sorted((result.folder / EVALUATIONS).glob("step-*.json"))
        }
    means = {
        name: {key: one["mean"] for key, one in results.items() if tuning or key in COLUMNS}
        for name, results in found.items()
    }
    trained = f"step-{recipe.training.iterations:06d}"
    row = {"task": "stories", "system": label, "step": step, "seed": seed, "cpu_s": cpu_s, "values": means[trained]}
    if tuning:
        return row | {"reward": means[trained]["reward"], "kl": means[trained]["kl_per_sequence"]}
    curve = [round(value, 4) for _, value in history.series("rollout/score")]
    return row | {"start": means["step-000000"], "curve": curve}


def grid(results: Path, wanted: list[tuple[str, dict[str, float], int]], tuning: bool, jobs: int) -> None:
    """Train all that the results do not have yet."""
    rows = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else []
    known = [(row["system"], row["step"], row["seed"]) for row in rows]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for future in as_completed([pool.submit(train, *one, tuning) for one in wanted if one not in known]):
            rows.append(future.result())
            print(json.dumps({key: rows[-1][key] for key in ("system", "step", "seed", "values", "cpu_s")}), flush=True)
            results.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def chosen() -> dict[str, dict[str, float]]:
    """Return the step size of each system."""
    rows = json.loads(TUNING.read_text(encoding="utf-8"))
    return {label: step for (_, label), step in chosen_of(rows, KL_BUDGET).items()}


def line(label: str, step: dict[str, float], values: Sequence[dict[str, float]], cost: str = "") -> str:
    """Write one row of the table."""
    size = next(iter(step.values()), "")
    return (
        f"| `{label}` | {size} | " + " | ".join(shown([one[key] for one in values]) for key in COLUMNS) + f" | {cost} |"
    )


def write() -> None:
    """Write the report anew, and keep what stands behind the line "## Reading"."""
    rows = json.loads(VALUES.read_text(encoding="utf-8"))
    rows = [row for row in rows if row["step"] == chosen()[row["system"]]]
    steps = {label: chosen()[label] for label in SYSTEMS}
    head = ["system", "step", *COLUMNS.values(), "CPU s"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    curves = {}
    for label, step in steps.items():
        own = sorted((row for row in rows if row["system"] == label), key=lambda row: row["seed"])
        assert [row["seed"] for row in own] == list(SEEDS), label
        if label == next(iter(SYSTEMS)):
            lines.append(line("before training", {}, [row["start"] for row in own]))
        cost = f"{np.median([row['cpu_s'] for row in own]):.0f}"
        lines.append(line(label, step, [row["values"] for row in own], cost))
        curves[label] = [list(enumerate(row["curve"], start=1)) for row in own]
    draw_curves(curves, 64, FOLDER / "real.svg")
    kept = REPORT.read_text(encoding="utf-8").partition(READING)[2] if REPORT.exists() else ""
    parts = [
        "# Every algorithm on a real model",
        "```sh\nexport RL4LMS_TEST_DATA=path/to/data\npython examples/real/prepare.py examples/real/data\n"
        "examples/real/classifiers.sh\npython scripts/real_algorithms.py tune\npython scripts/real_algorithms.py run\n"
        "python scripts/real_algorithms.py write\n```",
        "A Llama of 260,032 parameters that was trained on TinyStories continues the first 12 words of real stories by "
        "48 tokens; the reward is the probability of *positive* under a classifier fine-tuned on SST-2, and the "
        "*second classifier*, fine-tuned on rt-polarity, is not trained against "
        "([the example](../../examples/README.md), [PPO and NLPO for four times as long](../real-stories.md)). "
        f"{len(SEEDS)} seeds, {CHANGED['training.iterations']} iterations of 64 completions (16 prompts with 4 where "
        "those of a prompt are compared), a KL coefficient of 0.06 that stays as it is, a value LM of its own where "
        "there is one. 128 test prompts with two completions each, drawn at temperature 1 from the full softmax. Each "
        "number is the interquartile mean of the seeds, with the lowest and highest. The step size of each was chosen "
        "on validation prompts with a seed of its own: the highest reward within "
        f"{KL_BUDGET:g} nats (`real-tuning.json`). *CPU s* are of a whole run with its two evaluations.",
        "\n".join(lines),
        "![Reward by completions sampled](real.svg)\n\nReward of the rollouts: seeds, their mean, and, dashed, "
        "the mean of the first system.",
    ]
    REPORT.write_text("\n\n".join(parts) + f"\n{READING}{kept}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["tune", "run", "write"])
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    if asked.verb == "tune":
        tried = [(label, step, TUNING_SEED) for label in SYSTEMS for step in step_sizes(label)]
        grid(TUNING, tried, tuning=True, jobs=asked.jobs)
        more = between(json.loads(TUNING.read_text(encoding="utf-8")))
        grid(TUNING, [(label, step, TUNING_SEED) for label, step in more], tuning=True, jobs=asked.jobs)
    elif asked.verb == "run":
        sizes = chosen()
        grid(
            VALUES, [(label, sizes[label], seed) for seed in SEEDS for label in SYSTEMS], tuning=False, jobs=asked.jobs
        )
    else:
        write()
