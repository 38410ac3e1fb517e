"""Compare every algorithm on two mini tasks and on a pretrained model, at equal numbers of sampled completions.

    python scripts/algorithms.py tune RESULTS.json [--jobs 2]
    python scripts/algorithms.py grid RESULTS.json RUNS [--jobs 2]
    python scripts/algorithms.py stories RESULTS.json RUNS [--jobs 2]    # with RL4LMS_TEST_DATA
    python scripts/algorithms.py write RESULTS.json RUNS

`tune` tries three step sizes for each algorithm and task, with a seed of its own, on validation prompts, and keeps the
one with the highest *objective*: the mean reward less `kl_coef` times the KL from the start, nats per completion, which
is what RL maximises here. `grid` trains with five other seeds and measures on test prompts (`rl4lms grue run`).
`stories` trains them on a pretrained model of 260K parameters. `write` makes reports/algorithms anew from both; what
stands in its README behind the line "## Reading" is written by hand and kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TASKS = ("imdb", "commongen")
SEEDS, TUNING_SEED = 5, 100
RATES = (1e-4, 3e-4, 1e-3)
RATIO = {"n_epochs": 2, "minibatch_size": 32}  # the packaged recipes' of PPO, for all that have a ratio
GROUP = {"rollout.completions_per_prompt": 4, "training.prompts_per_iteration": 16}
# The KL in the reward, as the others have it: then the scale of a group divides both, and all maximise the same thing.
RELATIVE = {**RATIO, "kl_in": "reward"}

# Label: (algorithm, its options, whether four completions of a prompt are compared).
SYSTEMS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "ppo": ("ppo", RATIO, False),
    "nlpo": ("nlpo", {**RATIO, "mask_top_p": 0.9, "mask_update_every": 5}, False),
    "bandit_ppo": ("bandit_ppo", RATIO, False),
    "a2c": ("a2c", {}, False),
    "trpo": ("trpo", {}, False),
    "reinforce": ("reinforce", {"baseline": "batch"}, False),
    "rloo": ("rloo", {}, True),
    "grpo": ("grpo", RELATIVE, True),
    "dapo": ("grpo", {**RELATIVE, "clip_range_high": 0.28, "length_norm": "token"}, True),
    "dr_grpo": ("grpo", {**RELATIVE, "scale": "none", "length_norm": "constant", "norm_length": 24}, True),
    "gspo": ("gspo", RELATIVE, True),
    "cispo": ("cispo", RELATIVE, True),
    "expert_iteration": ("expert_iteration", {}, True),
}


def step_sizes(label: str) -> list[dict[str, float]]:
    """Return what is tried: learning rates, or TRPO's bounds, which take their place."""
    if label == "trpo":
        return [{"algorithm.target_kl": bound} for bound in (0.003, 0.01, 0.03)]
    return [{"optimizer.learning_rate": rate} for rate in RATES]


def settings_of(label: str) -> dict[str, Any]:
    """Return the dotted settings of a system beside its step size and its algorithm's name."""
    _, options, grouped = SYSTEMS[label]
    return {f"algorithm.{key}": value for key, value in options.items()} | (GROUP if grouped else {})


def try_once(task: str, label: str, step: dict[str, float]) -> dict[str, Any]:
    """Train once, and return what validation prompts say."""
    from rl4lms.config import recipe_from_dict
    from rl4lms.training.run import run

    tree = {
        "seed": TUNING_SEED,
        "device": "cpu",
        "task": {"name": task, "edition": "mini", "preset": "ppo"},
        "algorithm": {"name": SYSTEMS[label][0]},
        "evaluation": {"every": 0, "split": "validation", "metrics": [], "samples": 0},
        "checkpoint": {"every": 0},
        "tracking": {"progress": False},
    }
    with tempfile.TemporaryDirectory() as folder:
        given = [f"{key}={json.dumps(value)}" for key, value in (settings_of(label) | step).items()]
        recipe = recipe_from_dict({**tree, "output_dir": f"{folder}/run"}, label, given)
        run(recipe)
        found = json.loads(Path(folder, "run", "result.json").read_text(encoding="utf-8"))
    reward, kl = found["eval"]["eval/reward"]["mean"], found["eval"]["eval/kl_per_sequence"]["mean"]
    objective = reward - recipe.kl.kl_coef * kl
    return {"task": task, "system": label, "step": step, "reward": reward, "kl": kl, "objective": objective}


def tune(results: Path, jobs: int) -> None:
    """Try every step size that the results do not have yet."""
    rows = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else []
    known = [(row["task"], row["system"], row["step"]) for row in rows]
    wanted = [(task, label, step) for label in SYSTEMS for task in TASKS for step in step_sizes(label)]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(try_once, *one) for one in wanted if one not in known]:
            rows.append(future.result())
            print(json.dumps(rows[-1]), flush=True)
            results.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def chosen(results: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Return the step size of each task and system with the highest objective."""
    rows = json.loads(results.read_text(encoding="utf-8"))
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["task"], row["system"])
        if key not in best or row["objective"] > best[key]["objective"]:
            best[key] = row
    return {key: row["step"] for key, row in best.items()}


def grid(results: Path, runs: Path, jobs: int) -> None:
    """Run the grid with the step sizes of the results."""
    steps = chosen(results)
    systems = [f"{label}={SYSTEMS[label][0]}" if label != SYSTEMS[label][0] else label for label in SYSTEMS]
    given = [f"*/{label}:{key}={json.dumps(value)}" for label in SYSTEMS for key, value in settings_of(label).items()]
    for (task, label), step in steps.items():
        given += [f"{task}/{label}:{key}={json.dumps(value)}" for key, value in step.items()]
    command = [sys.executable, "-m", "rl4lms", "grue", "run", "--edition", "mini", "--tasks", ",".join(TASKS)]
    command += ["--systems", ",".join(["zero_shot", *systems]), "--seeds", str(SEEDS)]
    subprocess.run([*command, "--jobs", str(jobs), "--output", str(runs), *given], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["tune", "grid"])
    parser.add_argument("results", type=Path)
    parser.add_argument("runs", type=Path, nargs="?")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    if asked.verb == "tune":
        tune(asked.results, asked.jobs)
    elif asked.verb == "grid":
        grid(asked.results, asked.runs, asked.jobs)
