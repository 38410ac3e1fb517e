"""A task of one's own, from a recipe by file:

model: path/to/model
task: {name: examples/own_task.py:Counting, upto: 20}
"""

from typing import Annotated

import rl4lms


class Counting:
    """Go on counting: prompts are two numbers in a row, references the next three."""

    name, version, edition = "counting", 1, "mini"
    models, classifiers = {}, {}  # small models that the task needs: none
    defaults = {  # a recipe that says something else wins
        "prompt": {"max_tokens": 8},
        "rollout": {"max_new_tokens": 6},
        "reward": {"name": "increasing_numbers", "min_tokens": 6},
        "evaluation": {"metrics": ["token_f1"], "prompts": 16},
    }

    def __init__(self, upto: Annotated[int, rl4lms.Option("largest first number", ge=1)] = 16) -> None:
        self.upto = upto

    def samples(self, split):
        """Return the prompts of a split; the splits count from different numbers."""
        first = {"train": 0, "validation": 1, "test": 2}[split]
        rows = range(first, self.upto, 3)
        return [rl4lms.Sample(f"{split}-{i}", f"{i} {i + 1}", (f"{i + 2} {i + 3} {i + 4}",)) for i in rows]

    supervised = samples  # the warm start learns `references[0]`
