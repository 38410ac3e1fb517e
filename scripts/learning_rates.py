"""Measure learning rates: full fine-tuning and LoRA on three models, the same short PPO run at every rate.

    python scripts/learning_rates.py measure NAME RESULTS.json [--model FOLDER]
    python scripts/learning_rates.py table RESULTS.json

`measure` runs one of `imdb-mini` (the task's own model), `stories` (a pretrained model of 260K parameters, which
`--model` names; its prompts are below RL4LMS_TEST_DATA) and `chat` (an instruct model, which `--model` names, on the
questions of examples/chat), and adds a line for each rate to RESULTS.json. `table` writes reports/learning-rates.md
anew from it; what stands there behind the line "## Reading" is written by hand and kept.

The reward is the share of words that begin with a vowel. It costs nothing, every model has some of it, and every model
can have more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "reports" / "learning-rates.md"
READING = "\n## Reading\n"
HEAD = """# Learning rates

```sh
python scripts/learning_rates.py measure imdb-mini results.json
python scripts/learning_rates.py measure stories results.json --model stories260K-hf    # with RL4LMS_TEST_DATA
python scripts/learning_rates.py measure chat results.json --model SmolLM2-135M-Instruct
python scripts/learning_rates.py table results.json
```

The same short PPO run at every rate, all weights or LoRA (rank 8, alpha 16), seed 0. Reward: the share of words that
begin with a vowel. Everything that is not named is a default: KL coefficient 0.1, minibatches of 16 (chat: 2),
4 epochs (chat: 1), AdamW, a constant rate, the value function with the rate of the policy. ± is over prompts. *health*
are the warnings and the iterations in which they held ([thresholds](../docs/health.md)). One thread of a two-core
virtual Xeon (Sapphire Rapids), torch 2.13.0, which other work was using at the same time.

## Tables
"""
RATES = {"LoRA": (1e-5, 1e-4, 2e-4, 1e-3), "full": (1e-6, 1e-5, 1e-4, 1e-3)}
FEWER = {"LoRA": (1e-4, 1e-3), "full": (1e-5,)}  # where a run takes minutes
# What differs from the defaults, by subject.
SETTINGS: dict[str, dict[str, Any]] = {
    "imdb-mini": {
        "algorithm": {"name": "ppo", "minibatch_size": 16},
        "training": {"iterations": 30, "prompts_per_iteration": 64},
        "evaluation": {"prompts": 128},
    },
    "stories": {
        "prompt": {"max_tokens": 64},
        "rollout": {"max_new_tokens": 32},
        "algorithm": {"name": "ppo", "minibatch_size": 16},
        "training": {"iterations": 8, "prompts_per_iteration": 64},
        "evaluation": {"prompts": 128},
    },
    "chat": {
        "model": {"value": "shared"},
        "prompt": {"max_tokens": 64},
        "rollout": {"max_new_tokens": 24},
        "algorithm": {"name": "ppo", "n_epochs": 1, "minibatch_size": 2},
        "training": {"iterations": 4, "prompts_per_iteration": 16},
        "evaluation": {"prompts": 16},
    },
}


def vowels(completions: list[Any]) -> list[float]:
    """Return the share of words of each completion that begin with a vowel; 0 where there is no word."""
    texts = [text if isinstance(text, str) else text[0]["content"] for text in completions]
    return [sum(w[0].lower() in "aeiou" for w in text.split()) / max(1, len(text.split())) for text in texts]


def prompts_of(name: str) -> Any:
    """Return the prompts of a subject as `rl4lms.train` takes them; None where its task brings them."""
    if name == "chat":
        return {"train": str(ROOT / "examples" / "chat" / "prompts.jsonl"), "holdout": 16}
    if name == "stories":
        file = Path(os.environ["RL4LMS_TEST_DATA"], "tinystories-text", "tinystories_1000.json")
        return [" ".join(story.split()[:12]) for story in json.loads(file.read_text(encoding="utf-8"))]
    return None


def run_once(name: str, model: str | None, trained: str, rate: float) -> dict[str, Any]:
    """Train once, in a process of its own, and return what the table shows."""
    import rl4lms

    settings = json.loads(json.dumps(SETTINGS[name]))
    # The value function has the same rate, also where the task wants another one.
    settings["optimizer"] = {"learning_rate": rate, "value_learning_rate": None}
    settings["evaluation"] |= {"every": 0, "metrics": [], "samples": 0}
    settings["checkpoint"] = {"every": 0}
    lora = {"r": 8} if trained == "LoRA" else None
    settings["model"] = settings.get("model", {}) | {"lora": lora} | ({} if model is None else {"path": model})
    source = {"imdb-mini": "imdb-mini-ppo"}.get(name)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = rl4lms.train(
            source,
            data=prompts_of(name),
            reward=vowels,
            seed=0,
            device="cpu",
            output_dir=f"{folder}/run",
            progress=False,
            **settings,
        )
        history, health = result.history, json.loads((result.folder / "result.json").read_text())["health"]
        numbers = json.loads((result.folder / "result.json").read_text())["eval"]
    times = [seconds for _, seconds in history.series("time/iteration_s")]
    return {
        "subject": name,
        "trained": trained,
        "rate": rate,
        "updates": int(sum(updates for _, updates in history.series("train/updates"))),
        "before": history.series("eval/reward")[0][1],
        "after": numbers["eval/reward"],
        "kl_per_token": history.series("eval/kl_per_token")[-1][1],
        "largest_approx_kl": max(kl for _, kl in history.series("train/approx_kl")),
        "health": health,
        "iteration_s": sorted(times)[len(times) // 2],
        "wall_s": time.perf_counter() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def measure(name: str, model: str | None, results: Path) -> None:
    """Add what every rate gives to the results, one process after the other."""
    for trained, rates in (FEWER if name == "chat" else RATES).items():
        for rate in rates:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                found = pool.submit(run_once, name, model, trained, rate).result()
            print(json.dumps(found), flush=True)
            rows = json.loads(results.read_text()) if results.exists() else []
            results.write_text(json.dumps([*rows, found], indent=1) + "\n")


SUBJECTS = {
    "imdb-mini": "imdb-mini, 295,680 parameters, 24 new tokens, the packaged recipe's 2 epochs",
    "stories": "TinyStories model, 260,032 parameters, 32 new tokens",
    "chat": "SmolLM2-135M-Instruct, 134,515,008 parameters, 24 new tokens, shared value function",
}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the tables, one for each subject."""
    parts = []
    for name, title in SUBJECTS.items():
        found = [row for row in rows if row["subject"] == name]
        if not found:
            continue
        s, first = SETTINGS[name]["training"], found[0]
        parts.append(
            f"### {title}\n\n{s['iterations']} iterations of {s['prompts_per_iteration']} prompts, {first['updates']} "
            f"updates; {first['after']['n']} prompts evaluated, reward {first['before']:.3f} before.\n\n"
            "| trained | learning rate | reward after | KL, nats per token | largest KL of an update | health |\n"
            "|---|---|---|---|---|---|"
        )
        for row in sorted(found, key=lambda row: (row["trained"] != "full", row["rate"])):
            after = f"{row['after']['mean']:.3f} ± {row['after']['stderr']:.3f}"
            health = ", ".join(f"{rule} ({n})" for rule, n in row["health"].items()) or "–"
            cells = [row["trained"], f"{row['rate']:.0e}", after, f"{row['kl_per_token']:.4f}"]
            parts[-1] += "\n| " + " | ".join([*cells, f"{row['largest_approx_kl']:.2g}", health]) + " |"
    return "\n\n".join(parts)


def write_report(results: Path) -> None:
    """Write the report anew, and keep what stands behind the line "## Reading"."""
    rows = json.loads(results.read_text())
    kept = REPORT.read_text(encoding="utf-8").partition(READING)[2] if REPORT.exists() else ""
    REPORT.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    REPORT.write_text(f"{HEAD}\n{table(rows)}\n{READING}{kept}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("measure")
    one.add_argument("name", choices=SETTINGS)
    one.add_argument("results", type=Path)
    one.add_argument("--model")
    verbs.add_parser("table").add_argument("results", type=Path)
    given = parser.parse_args()
    if given.verb == "table":
        write_report(given.results)
    else:
        measure(given.name, given.model, given.results)
