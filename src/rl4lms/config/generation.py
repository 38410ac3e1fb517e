"""How completions are sampled. The same settings define the behaviour policy in rollouts and in the ratio."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from rl4lms.plugins.component import Block


class SamplingConfig(Block):
    """The sampling distribution, in the order it is applied: EOS ban, mask, temperature, top-k, top-p."""

    max_new_tokens: int = Field(48, ge=1, description="longest completion; what reaches it is cut")
    min_new_tokens: int = Field(0, ge=0, description="EOS cannot be drawn before this many tokens")
    temperature: float = Field(1.0, ge=0, description="0 decodes greedily (evaluation only)")
    top_k: int = Field(0, ge=0, description="0 keeps every token")
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="keeps the most likely tokens that together have this probability; 1 keeps every token",
    )
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        description="a completion ends with the token that completes one of these texts, from `min_new_tokens` on; the "
        "text stays in it",
    )
    batch_size: int = Field(128, ge=1, description="rows decoded together; does not change the texts")

    @model_validator(mode="after")
    def _lengths(self) -> SamplingConfig:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens ({self.min_new_tokens}) is larger than max_new_tokens ({self.max_new_tokens})"
            )
        return self


class RolloutConfig(SamplingConfig):
    """Sampling during training."""

    completions_per_prompt: int = Field(1, ge=1, description="completions that are sampled of each prompt")
    verify_rows: int | None = Field(
        4,
        ge=1,
        description="completions of each iteration, all of the first, whose log-probs are computed again and compared "
        "with the sampler's; null: all, as also where less than float32 is computed in, and the update takes the "
        "second ones",
    )

    @model_validator(mode="after")
    def _must_sample(self) -> RolloutConfig:
        if self.temperature == 0:
            raise ValueError("temperature 0 is greedy decoding: rollouts must sample, use a positive temperature")
        return self


class EvalGenerationConfig(SamplingConfig):
    """Decoding during evaluation."""

    num_beams: int = Field(1, ge=1, description="more than 1 decodes with beam search through HF `generate`")
    length_penalty: float = Field(1.0, description="of beam search: above 0 favours long texts")
    completions_per_prompt: int = Field(
        1, ge=1, description="completions that are sampled of each prompt; errors are over prompts"
    )
    mask: bool = Field(False, description="also decode inside the mask, reported as its own rows `masked/...`")

    @model_validator(mode="after")
    def _beams(self) -> EvalGenerationConfig:
        if self.num_beams > 1 and (self.completions_per_prompt > 1 or self.mask):
            raise ValueError(
                "beam search gives one completion per prompt and knows no mask; use num_beams 1 with these settings"
            )
        if self.num_beams > 1 and self.stop and self.min_new_tokens:
            raise ValueError("beam search stops at `stop` at any length; use num_beams 1, or leave min_new_tokens out")
        return self
