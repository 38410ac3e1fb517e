"""Builds assets of a task in a process of its own: `python -m rl4lms.studies.build_assets imdb base sentiment`.

Prints a line `<asset> <step> <of>` now and then, which the parent shows.
"""

from __future__ import annotations

import sys

from rl4lms.runs.display import quiet_libraries
from rl4lms.supervised import assets
from rl4lms.tasks import build as build_task
from rl4lms.types import ClassifierSpec, ModelSpec


def main(task_name: str, *names: str) -> None:
    """Build the named assets with the task's default options, one after another."""
    quiet_libraries()
    task = build_task(task_name)
    specs: dict[str, ModelSpec | ClassifierSpec] = {**task.models, **task.classifiers}

    def report(name: str, step: int, of: int) -> None:
        if step % 10 == 0 or step == of:
            print(name, step, of, flush=True)

    for name in names:
        assets.build(specs[name], report)
        print(name, 1, 1, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
