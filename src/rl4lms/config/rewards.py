"""What is done when a reward fails."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rl4lms.plugins.component import Block

FaultPolicy = Literal["error", "mask", "constant"]


class RewardFaultsConfig(Block):
    """What to do when a reward fails during a run.

    `error` stops the run, `mask` leaves the rows out of the update (after an exception or a time-out: every row of that
    call), `constant` gives them that score. Whatever is chosen is counted in `metrics.jsonl` and, the first times, told
    in `faults.jsonl`. A result of the wrong type or length is a bug, not a fault, and always stops the run. Evaluations
    make no score up: there, `constant` means `mask`.
    """

    exception: FaultPolicy = Field("error", description="the reward raises an error, or calls sys.exit")
    non_finite: FaultPolicy = Field(
        "error", description="NaN, infinity, or a number that float32 cannot hold; row by row"
    )
    timeout: FaultPolicy = Field("error", description="the reward takes longer than `timeout_s`")
    timeout_s: float | None = Field(
        None, gt=0, le=86400, description="seconds for one call, of each part of a sum; null: no limit"
    )
    constant: float = Field(0.0, ge=-1e30, le=1e30, description="the score that `constant` gives")
    max_skipped: int = Field(
        10, ge=1, description="stop after this many iterations in a row in which no row had a score"
    )

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> RewardFaultsConfig:
        if self.timeout != "error" and self.timeout_s is None:
            raise ValueError(
                f"timeout: {self.timeout} has no effect without timeout_s, the seconds that a call may take"
            )
        if self.constant and "constant" not in (self.exception, self.non_finite, self.timeout):
            raise ValueError("constant has no effect unless exception, non_finite or timeout is `constant`")
        return self
