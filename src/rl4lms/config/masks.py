"""Which tokens rollouts may draw, beyond the settings of `rollout`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rl4lms.plugins.component import Block


class MaskConfig(Block):
    """The mask of rollouts, tokens that a source finds likely by a rule. `algorithm: nlpo` has one of its own."""

    source: Literal["policy", "lagged", "reference"] = Field(
        description="whose probabilities: those of the policy itself, of a copy that is refreshed now and then, or of "
        "the reference"
    )
    rule: Literal["top_p", "top_k", "min_p"] = Field("top_p", description="how the set is found")
    top_p: float = Field(0.9, gt=0, le=1, description="top_p: the smallest set with this probability; 1 is every token")
    top_k: int = Field(50, ge=1, description="top_k: so many of the most probable tokens")
    min_p: float = Field(
        0.05, gt=0, le=1, description="min_p: tokens at least this share as probable as the most probable one"
    )
    min_tokens_to_keep: int = Field(1, ge=1, description="top_p, min_p: lower bound of the set's size")
    refresh_every: int | None = Field(
        10, ge=1, description="lagged: iterations between copies of the policy into the masking policy; null: never"
    )

    @model_validator(mode="after")
    def _options_have_an_effect(self) -> MaskConfig:
        rules = {name: (name,) for name in ("top_p", "top_k", "min_p")} | {"min_tokens_to_keep": ("top_p", "min_p")}
        for option, owners in rules.items():
            if self.rule not in owners and getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(f"{option} has no effect with rule: {self.rule}; it belongs to {' and '.join(owners)}")
        if self.source != "lagged" and self.refresh_every != type(self).model_fields["refresh_every"].default:
            raise ValueError(f"refresh_every has no effect with source: {self.source}; it belongs to lagged")
        return self
