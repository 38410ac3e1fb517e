"""An iteration of this library: PPO with a value head on the trunk, GRPO, RLOO.

    python benchmarks/peers/ours.py --write FOLDER --workload A        # the model and the prompts, for all scripts
    python benchmarks/peers/ours.py --folder FOLDER --algorithm grpo

`Loop.step` of a recipe, as `rl4lms train` runs it, with the defaults of the algorithms. The iteration that is measured
is the second or a later one by its number: the first compares all of the sampler's log-probs with those of a pass,
those after it a share (`rollout.verify_rows`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from same_work import COMPLETIONS, GROUP, KL_COEF, MAX_GRAD_NORM, Measurement, Work
from workloads import WORKLOADS, recipe, write_inputs

from rl4lms.config import recipe_from_dict
from rl4lms.models import products
from rl4lms.rollout.engine import LocalEngine
from rl4lms.runs.display import quiet_libraries
from rl4lms.training.run import assemble


def write(workload: str, folder: Path) -> None:
    """Write the model and the prompts: a file of all of them, and one for the algorithms that compare completions."""
    _, data = write_inputs(WORKLOADS[workload], folder)
    lines = data.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == COMPLETIONS
    for group in set(GROUP.values()):
        text = "".join(lines[: COMPLETIONS // group])
        (folder / f"prompts-{COMPLETIONS // group}.jsonl").write_text(text, encoding="utf-8")


def settings(work: Work, output: Path) -> dict[str, Any]:
    """Return the recipe."""
    # Only the lengths and the number of prompts are read of the workload, which are the same for A and B
    tree = recipe(WORKLOADS["B"], "ppo", work.model, work.data, output)
    tree["kl"] = {"kl_coef": KL_COEF}
    tree["optimizer"]["max_grad_norm"] = MAX_GRAD_NORM
    tree["training"]["prompts_per_iteration"] = len(work.prompts)
    tree["algorithm"] |= {"name": work.algorithm, "n_epochs": work.passes}
    if work.group > 1:
        del tree["model"]["value"]
        tree["rollout"]["completions_per_prompt"] = work.group
    return tree


def main() -> None:
    """Write the inputs, or measure."""
    if sys.argv[1:2] == ["--write"]:
        write(sys.argv[sys.argv.index("--workload") + 1], Path(sys.argv[2]))
        return
    work = Work(GROUP)
    measurement, plain = Measurement(work), LocalEngine.rollout
    quiet_libraries()
    if work.plain_products:
        products.pays = lambda: False

    def counted(engine: LocalEngine, *arguments: Any, **options: Any) -> Any:
        found = plain(engine, *arguments, **options)
        measurement.rollout(found.prompt_ids.tolist(), found.completion_mask.sum(-1).tolist())
        return found

    with tempfile.TemporaryDirectory() as name:
        loop = assemble(recipe_from_dict(settings(work, Path(name) / "run")), Path(name) / "run")
        loop.engine.rollout(loop.samples[:2], loop.recipe.rollout, stream="evaluation", step=0)
        LocalEngine.rollout = counted  # type: ignore[method-assign]
        for step in range(work.iterations):
            measurement.started()
            loop.step(step + (work.iterations == 1))
            measurement.ended()
        measurement.report("rl4lms", loop.models.policy.lm.named_parameters)


if __name__ == "__main__":
    main()
