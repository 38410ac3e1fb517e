"""Rewards: batched functions that say how good completions are.

`build` makes a reward from its name and options, `score` calls one and checks what comes back. A reward gets, by keyword, `prompts`,
`completions`, `completion_ids`, `references` and every column of the data, each a list with one entry per completion, and returns one
number per completion (or None, which leaves the row out), or one list of numbers per completion, as long as its `completion_ids`. A
reward function written for TRL works unchanged.
"""

from __future__ import annotations

from rl4lms.rewards.call import RewardOutput, score
from rl4lms.rewards.resolve import as_trl_reward, build

__all__ = ["RewardOutput", "as_trl_reward", "build", "score"]
