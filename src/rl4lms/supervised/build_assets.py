"""Builds assets of a task in a process of its own: `python -m rl4lms.supervised.build_assets imdb base sentiment`.

Options of the task are written as in a recipe, `'{"name": "imdb", "seed": 1}'`.

Prints a line `<asset> <step> <of>` now and then, which the parent shows.
"""

from __future__ import annotations

import sys

import yaml

from rl4lms.runs.display import quiet_libraries
from rl4lms.supervised import assets
from rl4lms.tasks import build as build_task
from rl4lms.types import ClassifierSpec, ModelSpec


def main(component: str, *names: str) -> None:
    """Build the named assets of a task, one after another."""
    quiet_libraries()
    task = build_task(yaml.safe_load(component))
    specs: dict[str, ModelSpec | ClassifierSpec] = {**task.models, **task.classifiers}

    def report(name: str, step: int, of: int) -> None:
        if step % 10 == 0 or step == of:
            print(name, step, of, flush=True)

    for name in names:
        assets.build(specs[name], report)
        print(name, 1, 1, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
