"""Rewards: batched functions that say how good completions are.

`build` makes a reward from its name and options, `score` calls one and checks what comes back. A reward gets, by
keyword, `prompts`, `completions`, `completion_ids`, `references` and every column of the data, each a list with one
entry per completion, and returns one number per completion (or None, which leaves the row out), or one list of numbers
per completion, as long as its `completion_ids`. A reward function written for TRL works unchanged.

A reward gets copies of its inputs. A result of the wrong type or length is an error. An exception, a call that takes
too long and a number that is not finite are faults: the block `reward_faults` of a recipe says whether one stops the
run, leaves rows out, or gives them a constant (`rl4lms.config.RewardFaultsConfig`).
"""

from __future__ import annotations

from rl4lms.rewards.call import RewardOutput, score
from rl4lms.rewards.composite import Stateful, load_state, nested, state_of
from rl4lms.rewards.resolve import as_trl_reward, build

__all__ = ["RewardOutput", "Stateful", "as_trl_reward", "build", "load_state", "nested", "score", "state_of"]
