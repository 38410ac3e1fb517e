"""The files of a run under the names and in the form of the original, written from those of the run folder.

What the run did not measure is left out, and what the original pickles is not written: checkpoints are those of this
library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rl4lms.errors import CheckpointError
from rl4lms.integrations.legacy.metrics import NAMES
from rl4lms.runs.evaluations import Evaluation, kept_evaluations, read_evaluation
from rl4lms.runs.history import read_history
from rl4lms.runs.layout import RESULT_FILE
from rl4lms.runs.recipe import read_run
from rl4lms.runs.storage import write_text

Numbers = dict[str, Any]

#: The original's key of an iteration's rollout, and ours.
_ROLLOUT = {
    "rollout_info/ep_rew": "rollout/score",
    "rollout_info/ep_rew_std": "rollout/score_std",
    "rollout_info/kl_div_mean": "rollout/kl_per_token",
    "rollout_info/ep_lens": "rollout/completion_tokens",
    "rollout_info/kl_coeff": "rollout/kl_coef",
}
_TRAINING = {
    "ppo/policy_gradient_loss": "train/policy_loss",
    "ppo/value_loss": "train/value_loss",
    "ppo/approx_kl": "train/approx_kl",
    "ppo/explained_variance": "train/explained_variance",
}
# What an evaluation says of any policy, beside the metrics that were asked for.
_DIAGNOSTICS = re.compile(r"reward(/.*)?|kl_.*|entropy|completion_tokens|terminated|masked/.*")
# Diversity: the original has GEM's names.
_LENGTHS = re.compile(r"(mean|std|median|min|max)_length")
_DIVERSITY = re.compile(r"(distinct|vocab_size|unique|entropy|cond_entropy|msttr)-\d+|total_length|\w+_pred_length")


def write_artefacts(folder: Path) -> list[Path]:
    """Write the original's files into the folder of a finished run; those that are there are written anew.

    Args:
        folder: of the run.

    Returns:
        The files: `config.json` (the recipe), `log.txt`, `rollout_info.jsonl`, `training_info.jsonl`,
        `<split>_split_metrics.jsonl`, and `epoch_<E>_<split>_split_predictions.json` of the evaluations that the run
        has kept, the first and the last. An epoch is an iteration, from 0; the evaluation before training has 0, too.

    Raises:
        CheckpointError: the run is not finished, or its log is damaged.
    """
    if not (folder / RESULT_FILE).is_file():
        raise CheckpointError(f"{folder}: the run is not finished; continue it with: rl4lms train {folder} --resume")
    recipe = read_run(folder, unread={"task", "reward", "algorithm", "evaluation"})
    split = {"validation": "val"}.get(recipe.evaluation.split, recipe.evaluation.split)
    history = read_history(folder)
    rollouts = [found for line in history if (found := _rollout(line))]
    updates = [found for line in history if (found := _renamed(line, _TRAINING) | _entropy(line))]
    scores = [
        {"epoch": _epoch(line["step"]), "metrics": found}
        for line in history
        if (found := _metrics({key.removeprefix("eval/"): v for key, v in line.items() if key.startswith("eval/")}))
    ]
    told = [("Rollout Info", line) for line in rollouts] + [("Training Info", line) for line in updates]
    told += [(f"{split} metrics", line) for line in scores]
    texts = {
        "config.json": json.dumps(recipe.model_dump(mode="json"), indent=1) + "\n",
        "log.txt": "".join(f"{what}: {json.dumps(line)}\n" for what, line in told),
        "rollout_info.jsonl": _lines(rollouts),
        "training_info.jsonl": _lines(updates),
        f"{split}_split_metrics.jsonl": _lines(scores),
    }
    affixes = recipe.prompt.prefix, recipe.prompt.suffix
    for (step, masked), path in sorted(kept_evaluations(folder).items()):
        if not masked:
            rows = list(_predictions(read_evaluation(path), split, affixes))
            name = f"epoch_{_epoch(step)}_{split}_split_predictions.json"
            texts[name] = json.dumps(rows, ensure_ascii=False) + "\n"
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _epoch(step: int) -> int:
    """Return what the original calls the evaluation after so many iterations."""
    return max(0, step - 1)


def _rollout(line: Mapping[str, Any]) -> Numbers:
    found = _renamed(line, _ROLLOUT)
    score, reward = line.get("rollout/score"), line.get("rollout/reward")
    if score is not None and reward is not None:
        found["rollout_info/ep_kl_rew"] = reward - score
    return found


def _entropy(line: Mapping[str, Any]) -> Numbers:
    """Return the original's loss, the entropy with a minus sign; it is measured where there is an `ent_coef`."""
    return {"ppo/entropy_loss": -line["train/entropy"]} if line.get("train/entropy") is not None else {}


def _renamed(line: Mapping[str, Any], names: Mapping[str, str]) -> Numbers:
    return {theirs: line[ours] for theirs, ours in names.items() if line.get(ours) is not None}


def _metrics(results: Mapping[str, Any]) -> Numbers:
    """Return the metrics among the numbers of an evaluation by the original's names and on its scale."""
    found = {}
    for key in _asked_for(results):
        if results[key] is not None:
            name, scale = _theirs(key)
            found[name] = results[key] * scale
    return found


def _asked_for(results: Mapping[str, Any]) -> list[str]:
    """Return the keys of metrics, without those of single texts beside one of them all."""
    single = {f"sentence_{key}" for key in results}
    return [key for key in results if not _DIAGNOSTICS.fullmatch(key) and key not in single]


def _theirs(key: str) -> tuple[str, float]:
    """Return the original's name of a metric and what its values are multiplied by; a metric of one's own keeps its
    name.
    """
    if key in NAMES:
        return NAMES[key]
    plain, nopunct = key.removesuffix("-nopunct"), "-nopunct" * key.endswith("-nopunct")
    length = _LENGTHS.fullmatch(plain)
    plain = f"{length[1]}_pred_length" if length else plain
    return (f"diversity_metrics/{plain}{nopunct}", 1.0) if _DIVERSITY.fullmatch(plain) else (key, 1.0)


def _predictions(evaluation: Evaluation, split: str, affixes: tuple[str, str]) -> Iterator[Numbers]:
    """Return one record per completion; a metric that has no value of single texts has `n/a`."""
    for rows in evaluation.prompts.values():
        for row in rows:
            scores = {}
            for key in _asked_for(evaluation.results):
                name, scale = _theirs(key)
                # of a metric of one's own; the original had no values of single texts for those that have a name there
                value = row.get(key, None if key in NAMES else row.get(f"sentence_{key}"))
                scores[name] = "n/a" if value is None else value * scale
            references = (f"<START-{n}>{text}<END-{n}>" for n, text in enumerate(row["references"], 1))
            yield {
                "split_name": split,
                "sample_id": row["id"],
                "prompt_text": f"{affixes[0]}{row.get('full_prompt', row['prompt'])}{affixes[1]}",
                "generated_text": row["completion"],
                "ref_text": "".join(references),
                **scores,
            }


def _lines(rows: list[Numbers]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
