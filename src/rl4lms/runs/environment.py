"""The model card of a trained model, and the record of the environment it was trained in."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rl4lms.config import dump_recipe
from rl4lms.config.recipe import Recipe
from rl4lms.types import MetricResult

_PACKAGES = ("rl4lms", "torch", "transformers", "tokenizers", "safetensors", "numpy", "peft")


def environment() -> dict[str, Any]:
    """Versions, processor, device and, inside a git checkout, the commit."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    git = shutil.which("git")
    commit = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False) if git else None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "packages": versions,
        "git_commit": commit.stdout.strip() or None if commit is not None else None,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """Return the kind of the processor, the instructions that torch uses on it, and the kind of a GPU.

    Sums are rounded in another order on another kind, so trainings with the same seed part there.
    """
    name, path = platform.processor(), Path("/proc/cpuinfo")
    if path.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        name = name if found is None else found[1]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    parts = (platform.machine(), " ".join(name.split()), torch.backends.cpu.get_cpu_capability(), gpu)
    return ", ".join(dict.fromkeys(part for part in parts if part))


def library_commit() -> str | None:
    """Return the commit of the checkout that this library runs from; None where it was installed from a wheel."""
    git, here = shutil.which("git"), Path(__file__)
    if git is None:
        return None

    def said(*arguments: str) -> str:
        command = [git, "-C", str(here.parent), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    # an environment may lie inside of somebody's checkout, which does not have this file
    tracked = said("ls-files", here.name)
    return (said("rev-parse", "HEAD") or None) if tracked else None


def model_card(recipe: Recipe, results: Mapping[str, MetricResult], steps: int) -> str:
    """Return markdown with the front matter that the Hub reads."""
    source = recipe.task.name if recipe.task is not None else "its own data"
    rows = "\n".join(
        f"| {key.removeprefix('eval/')} | {r.mean:.4g} | {'' if r.stderr is None else f'{r.stderr:.2g}'} | {r.n} |"
        for key, r in sorted(results.items())
    )
    reward = recipe.reward.name if recipe.reward is not None else "none"
    return f"""---
library_name: transformers
tags: [rl4lms, {recipe.algorithm_name}]
---

# {recipe.name}

`{recipe.model.path}` trained with `rl4lms`: algorithm `{recipe.algorithm_name}`, {steps} iterations on {source},
reward `{reward}`, seed {recipe.seed}.

Evaluation on the {recipe.evaluation.split} split; standard errors are over completions of this one run.

| metric | mean | standard error | n |
|---|---|---|---|
{rows}

## Recipe

```yaml
{dump_recipe(recipe)}```
"""
