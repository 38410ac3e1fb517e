"""Compare algorithms, masks, and NLPO with its released code, at equal numbers of sampled completions.

    python scripts/algorithms.py tune TUNING.json [--jobs 2]
    python scripts/algorithms.py run STUDY TUNING.json RUNS [--jobs 2]
    python scripts/algorithms.py write STUDY TUNING.json RUNS

`tune` tries several step sizes for each algorithm and task, with a seed of its own, on validation prompts. The one with
the highest reward among those whose KL from the start is at most `KL_BUDGET` nats per completion is taken. `run` trains
a study with five other seeds and measures on test prompts (`rl4lms grue run`): `algorithms`, every algorithm on two
tasks; `masks`, PPO inside every mask on one task; `released`, NLPO as published and as its released code ran it.
`write` makes the tables and curves of reports/ anew from the runs; what stands in a README there behind the line
"## Reading" is written by hand and kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from rl4lms.grue.board import read_cells, read_groups
from rl4lms.grue.curves import curves_of
from rl4lms.grue.overall import overall_boards
from rl4lms.grue.result import Decoding
from rl4lms.stats.intervals import iqm

ROOT = Path(__file__).parents[1]
TASKS = ("imdb", "commongen")
READING = "\n## Reading\n"
SEEDS, TUNING_SEED = 5, 100
RATES, KL_BUDGET = (1e-4, 2e-4, 3e-4, 6e-4, 1e-3), 2.0
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
    "trpo": ("trpo", {"fisher_every": 4}, False),
    "reinforce": ("reinforce", {"baseline": "batch"}, False),
    "rloo": ("rloo", {}, True),
    "grpo": ("grpo", RELATIVE, True),
    "dapo": ("grpo", {**RELATIVE, "clip_range_high": 0.28, "length_norm": "token"}, True),
    "dr_grpo": ("grpo", {**RELATIVE, "scale": "none", "length_norm": "constant", "norm_length": 24}, True),
    "gspo": ("gspo", RELATIVE, True),
    "cispo": ("cispo", RELATIVE, True),
    "expert_iteration": ("expert_iteration", {}, True),
}


# PPO inside the masks of docs/masks.md, and without one.
MASKS: dict[str, dict[str, Any] | None] = {"none": None} | {
    f"{source}-{rule}": {"source": source, "rule": rule, rule: value}
    | ({"refresh_every": 5} if source == "lagged" else {})
    for source in ("policy", "lagged", "reference")
    for rule, value in (("top_p", 0.9), ("top_k", 10), ("min_p", 0.05))
}

# What the released code of NLPO did, one at a time and together: (options of `ReleasedNLPO`, other settings). A task
# with an encoder-decoder has `policy-states` beside.
RELEASED_FILE = "src/rl4lms/studies/released_nlpo.py:ReleasedNLPO"
CUT = {"rollout.top_k": 50}
RELEASED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nlpo": ({}, {}),
    "stale-mask": ({"stale_mask": True}, {}),
    "full-ratio": ({"full_ratio": True}, {}),
    "entropy": ({"ent_coef": 0.01}, {}),
    "mixed-entropy": ({"ent_coef": 0.01, "mixed_entropy": True}, {}),
    "policy-states": ({"stale_mask": True, "mask_on_policy_cache": True}, {}),
    "inert-mask": ({"min_tokens_to_keep": 100}, CUT),
    "kl-target": ({}, {"kl.kl_target": 0.05}),
    "kl-target-dropped": ({"dropped": 0.25}, {"kl.kl_target": 0.05}),
    "released": ({"stale_mask": True, "full_ratio": True, "min_tokens_to_keep": 100}, CUT),
    "ppo": ({"mask_top_p": 1.0}, {}),
    "ppo-released": ({"mask_top_p": 1.0, "full_ratio": True}, CUT),
}
STUDIES = {"algorithms": TASKS, "masks": ("imdb",), "released": TASKS}


def step_sizes(label: str) -> list[dict[str, float]]:
    """Return what is tried: learning rates, or TRPO's bounds, which take their place."""
    if label == "trpo":
        return [{"algorithm.target_kl": bound} for bound in (0.003, 0.01, 0.02, 0.03)]
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
        for future in as_completed([pool.submit(try_once, *one) for one in wanted if one not in known]):
            rows.append(future.result())
            print(json.dumps(rows[-1]), flush=True)
            results.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def chosen(results: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Return the step size of each task and system."""
    return chosen_of(json.loads(results.read_text(encoding="utf-8")), KL_BUDGET)


def chosen_of(rows: Sequence[dict[str, Any]], budget: float) -> dict[tuple[str, str], dict[str, float]]:
    """Return the step size of each task and system: the highest reward within the budget, or the lowest KL."""

    def merit(row: dict[str, Any]) -> tuple[bool, float]:
        within = row["kl"] <= budget
        return within, row["reward"] if within else -row["kl"]

    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["task"], row["system"])
        if key not in best or merit(row) > merit(best[key]):
            best[key] = row
    return {key: row["step"] for key, row in best.items()}


def systems_of(study: str, task: str, steps: dict[tuple[str, str], dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Return the dotted settings of each system of a study on a task; `algorithm.name` among them."""
    if study == "algorithms":
        return {
            label: {"algorithm.name": SYSTEMS[label][0]} | settings_of(label) | steps[task, label] for label in SYSTEMS
        }
    if study == "masks":
        ppo = {"algorithm.name": "ppo"} | settings_of("ppo") | steps[task, "ppo"]
        return {label: ppo | ({} if mask is None else {"mask": mask}) for label, mask in MASKS.items()}
    found = {}
    for label, (options, others) in RELEASED.items():
        tuned = "ppo" if label.startswith("ppo") else "nlpo"
        changed = {"algorithm.name": RELEASED_FILE} | {f"algorithm.{key}": value for key, value in options.items()}
        found[label] = settings_of("nlpo") | steps[task, tuned] | changed | others
    if task == "imdb":  # a decoder-only model, whose masking model had states of its own
        del found["policy-states"]
    return found


def run(study: str, tuning: Path, runs: Path, jobs: int) -> None:
    """Run the grid of a study, task by task, with the step sizes that were chosen."""
    for task in STUDIES[study]:
        systems = systems_of(study, task, chosen(tuning))
        given = [
            f"{task}/{label}:{key}={json.dumps(value)}"
            for label, settings in systems.items()
            for key, value in settings.items()
            if key != "algorithm.name"
        ]
        names = [f"{label}={settings['algorithm.name']}" for label, settings in systems.items()]
        command = [sys.executable, "-m", "rl4lms", "grue", "run", "--edition", "mini", "--tasks", task]
        command += ["--systems", ",".join(["zero_shot", *names]), "--seeds", str(SEEDS)]
        subprocess.run([*command, "--jobs", str(jobs), "--output", str(runs), *given], check=True)


COLUMNS = {
    "imdb": {"sentiment": "second classifier", "gold_sentiment": "gold label", "derivable": "derivable"},
    "commongen": {"concept_coverage": "concepts", "solved": "solved", "derivable": "derivable"},
}
ALL = {"reward": "reward", "kl_per_sequence": "KL, nats", "distinct-2": "distinct-2"}


def values_of(runs: Path, task: str, decoding: Decoding) -> dict[str, dict[str, list[float]]]:
    """Return the values of all seeds by system and metric, what training cost among them."""
    found: dict[str, dict[str, list[float]]] = {}
    for _, result in sorted(read_cells(runs), key=lambda cell: cell[1].seed):
        if (result.task, result.decoding) == (task, decoding):
            measured = {key: result.metrics[key].mean for key in (ALL | COLUMNS[task])}
            for key, value in (measured | {"cpu_s": result.cost.cpu_s, "tokens": result.cost.tokens}).items():
                assert value is not None
                found.setdefault(result.system, {}).setdefault(key, []).append(value)
    return found


def shown(values: Sequence[float]) -> str:
    """Write the interquartile mean of the seeds, and the lowest and highest of them."""
    return f"{iqm(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def overall(runs: Path, decoding: Decoding) -> str:
    """Write the score over all tasks, normalised by their constants: interquartile means with 95 % intervals."""
    (board,) = overall_boards(read_groups(runs, decoding))
    ranked = sorted(board.rows.items(), key=lambda row: -row[1].iqm.value if row[1].iqm else 0.0)
    lines = ["| system | rank | score, IQM of all runs | 95 % |", "|---|---|---:|---:|"]
    for label, row in ranked:
        assert row.iqm is not None
        assert row.rank is not None
        lines.append(f"| `{label}` | {row.rank} | {row.iqm.value:.3f} | {row.iqm.low:.3f}, {row.iqm.high:.3f} |")
    return "\n".join(lines)


def table(study: str, tuning: Path, runs: Path, task: str, decoding: Decoding) -> str:
    """Write the table of one task."""
    columns = ALL | COLUMNS[task]
    values, systems = values_of(runs, task, decoding), systems_of(study, task, chosen(tuning))
    lines = ["| system | step | " + " | ".join([*columns.values(), "tokens", "CPU s"]) + " |"]
    lines.append("|---|---|" + "---:|" * (len(columns) + 2))
    for label in ["zero_shot", *systems]:
        settings, of_system = systems.get(label, {}), values[label]
        step = settings.get("optimizer.learning_rate", settings.get("algorithm.target_kl", ""))
        cells = [shown(of_system[column]) for column in columns]
        cells += (
            [f"{np.mean(of_system['tokens']):,.0f}", f"{np.median(of_system['cpu_s']):.0f}"] if settings else ["", ""]
        )
        lines.append(f"| `{label}` | {step} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(study: str, tuning: Path, runs: Path, task: str, path: Path) -> None:
    """Draw the reward of every system of a task by completions sampled."""
    series: dict[str, list[list[tuple[int, float]]]] = {label: [] for label in systems_of(study, task, chosen(tuning))}
    for place, result in read_cells(runs):
        if result.task == task and result.decoding == "own" and result.system in series:
            series[result.system].append(list(curves_of(place)["rollout/score"]))
    draw_curves(series, 64, path)


def draw_curves(series: dict[str, list[list[tuple[int, float]]]], completions: int, path: Path) -> None:
    """Draw the seeds of every system, their mean, and, in each plot, the mean of the first system.

    Args:
        series: (iteration, reward) of every seed, by system.
        completions: that an iteration samples.
        path: of the image.
    """
    labels = list(series)
    means = {label: np.mean([[value for _, value in run] for run in runs], 0) for label, runs in series.items()}
    columns = 5
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "curves"})  # text as text, and the same file each time
    figure, axes = plt.subplots(
        -(-len(labels) // columns), columns, figsize=(11, 2.1 * -(-len(labels) // columns)), sharex=True, sharey=True
    )
    for place, label in zip(axes.flat, labels, strict=False):
        steps = [completions * step for step, _ in series[label][0]]
        for run in series[label]:
            place.plot(steps, [value for _, value in run], color="#1f6feb", alpha=0.2, linewidth=0.7)
        place.plot(steps, means[labels[0]], color="#8c959f", linewidth=1.2, linestyle="--")
        place.plot(steps, means[label], color="#1f6feb", linewidth=1.6)
        place.set_title(label, fontsize=9, loc="left")
        place.tick_params(labelsize=7)
        place.spines[["top", "right"]].set_visible(False)
    for place in list(axes.flat)[len(labels) :]:
        place.set_visible(False)
    figure.supxlabel("completions sampled", fontsize=9)
    figure.supylabel("reward of rollouts", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


TITLES = {
    "algorithms": "Every algorithm on two mini tasks",
    "masks": "PPO inside every mask",
    "released": "NLPO as published, and as its released code ran it",
}
FOLDERS = {"algorithms": "algorithms", "masks": "masks", "released": "nlpo-as-released"}
DECODINGS: dict[Decoding, str] = {
    "shared": "decoded alike: temperature 1, top-p 0.9, no mask",
    "own": "each at its own decoding, a mask or top-k of its training included",
}


def write(study: str, tuning: Path, runs: Path) -> None:
    """Write the report of a study anew, and keep what stands behind the line "## Reading"."""
    folder = ROOT / "reports" / FOLDERS[study]
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "README.md"
    kept = report.read_text(encoding="utf-8").partition(READING)[2] if report.exists() else ""
    parts = [
        f"# {TITLES[study]}",
        "```sh\npython scripts/algorithms.py tune reports/algorithms/tuning.json\n"
        f"python scripts/algorithms.py run {study} reports/algorithms/tuning.json runs/{study}\n"
        f"python scripts/algorithms.py write {study} reports/algorithms/tuning.json runs/{study}\n```",
        f"{SEEDS} seeds, 40 iterations of 64 completions (16 prompts with 4 where those of a prompt are compared), 128 "
        "test prompts. Each number is the interquartile mean of the seeds, with the lowest and highest. *KL* is of the "
        "full softmax, from the start. Settings are those of the packaged recipes, with a step size for each system "
        "that `python scripts/algorithms.py tune` chose on validation prompts: the highest reward within "
        f"{KL_BUDGET:g} nats. *tokens* and *CPU s* are of a whole run.",
    ]
    if study == "algorithms":
        score = (
            "The metrics of both tasks, each with 0 at the model that nothing trained and 1 at the references, as "
            "`rl4lms grue table` computes them; ranks are 95 % intervals."
        )
        parts.append(f"## Both tasks, {DECODINGS['shared']}\n\n{score}\n\n{overall(runs, 'shared')}")
    values: dict[str, Any] = {}
    for task in STUDIES[study]:
        for decoding, words in DECODINGS.items():
            parts.append(f"## `{task}`, {words}\n\n{table(study, tuning, runs, task, decoding)}")
            values.setdefault(task, {})[decoding] = values_of(runs, task, decoding)
        draw(study, tuning, runs, task, folder / f"{task}.svg")
        parts.append(
            f"![Reward by completions sampled, {task}]({task}.svg)\n\nReward of the rollouts: seeds, their mean, and, "
            "dashed, the mean of the first system."
        )
    some = read_cells(runs)[0][1]
    values["made_with"] = {"git_commit": some.git_commit, "packages": some.packages, "processor": some.processor}
    (folder / "values.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    report.write_text("\n\n".join(parts) + f"\n{READING}{kept}", encoding="utf-8")


BEGIN, END = "<!-- written by scripts/algorithms.py -->", "<!-- end -->"
PAGES = {"dapo": "grpo", "dr_grpo": "grpo"}


def write_pages(runs: Path) -> None:
    """Write what was measured into the page of each algorithm, where its marks are."""
    values = {task: values_of(runs, task, "shared") for task in TASKS}
    columns = [(task, key) for task in TASKS for key in ("reward", next(iter(COLUMNS[task])), "kl_per_sequence")]
    names = [f"{task}: {(ALL | COLUMNS[task])[key]}" for task, key in columns]
    for page in dict.fromkeys(PAGES.get(label, label) for label in SYSTEMS):
        lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(columns)]
        own = [label for label in SYSTEMS if PAGES.get(label, label) == page]
        for label in dict.fromkeys(["zero_shot", "ppo", *own]):
            lines.append(
                f"| `{label}` | " + " | ".join(shown(values[task][label][key]) for task, key in columns) + " |"
            )
        path = ROOT / "docs" / "algorithms" / f"{page}.md"
        before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        if not after:
            raise ValueError(f"{path.name} has no place for what was measured")
        path.write_text("\n".join([before + BEGIN, *lines, END]) + after, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("tune", "run", "write"):
        one = verbs.add_parser(verb)
        if verb != "tune":
            one.add_argument("study", choices=STUDIES)
        one.add_argument("tuning", type=Path)
        if verb != "tune":
            one.add_argument("runs", type=Path)
        one.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    if asked.verb == "tune":
        tune(asked.tuning, asked.jobs)
    elif asked.verb == "write":
        write(asked.study, asked.tuning, asked.runs)
        if asked.study == "algorithms":
            write_pages(asked.runs)
    else:
        run(asked.study, asked.tuning, asked.runs, asked.jobs)
