"""Says by how much the reward of each task could still rise above the supervised model: what the references score.

    rl4lms grue run --systems supervised --seeds 3 --output runs/grue
    python scripts/head_room.py runs/grue

Prints a row of Markdown for each task: the reward of the supervised model at its own decoding, the mean over seeds and
test prompts; of the best system of the grid; and of the first reference of the same prompts (of imdb: of those whose
review is positive). The larger of these two is what texts were seen to reach, and an oracle would reach no less.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean

from rl4lms.config import recipe_from_dict
from rl4lms.errors import DataError, Rl4lmsError
from rl4lms.grue.board import by_system, read_groups
from rl4lms.rewards import build, score
from rl4lms.supervised.assets import with_assets
from rl4lms.tasks import task_of


def of_references(task: str, edition: str, ids: list[str]) -> float:
    """Return the mean reward of a reference of each prompt."""
    recipe = recipe_from_dict({"task": {"name": task, "edition": edition}}, f"task {task}")
    built = task_of(recipe)
    recipe = with_assets(recipe, built)
    assert recipe.reward is not None
    learnt = {sample.prompt for sample in built.supervised("test")}
    by_id = {sample.id: sample for sample in built.samples("test")}
    rows = [by_id[name] for name in ids if by_id[name].prompt in learnt]
    texts = [row.references[0] for row in rows]
    joins = ["" if text[:1].isspace() else " " for text in texts]
    found = score(
        build(recipe.reward),
        prompts=[row.prompt for row in rows],
        completions=texts,
        texts=[f"{row.prompt}{join}{text}" for row, join, text in zip(rows, joins, texts, strict=True)],
        completion_ids=[[0] * len(text.split()) for text in texts],
        references=[row.references for row in rows],
        columns={name: [row.meta.get(name) for row in rows] for name in {name for row in rows for name in row.meta}},
        training=False,
    )
    return fmean(total for total in found.totals() if total is not None)


def main(folder: Path) -> None:
    """Print the table."""
    print("| task | reward, supervised | best system | references | could rise by |\n|---|---:|---:|---:|---:|")
    for (task, _, edition), cells in read_groups(folder, "own").items():
        rewards = {
            system: fmean(mean for cell in own if (mean := cell.result.metrics["reward"].mean) is not None)
            for system, own in by_system(cells).items()
            if all("reward" in cell.result.metrics for cell in own)
        }
        if "supervised" not in rewards:
            raise DataError(f"{folder}: {task} has no cell of supervised with its reward")
        ours, best = rewards["supervised"], max(rewards, key=rewards.__getitem__)
        top = of_references(task, edition, cells[0].scores.ids)
        rise = max(top, rewards[best]) - ours
        print(f"| `{task}` | {ours:.3f} | {rewards[best]:.3f} ({best}) | {top:.3f} | {rise:.3f} |", flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Rl4lmsError as error:
        sys.exit(f"error: {error}")
