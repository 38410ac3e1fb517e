"""Options of the rewards, and what is done when one fails."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rl4lms.config.metrics import ClassifierOptions, EncoderOptions
from rl4lms.plugins.component import Block, Component

FaultPolicy = Literal["error", "mask", "constant"]


class RewardFaultsConfig(Block):
    """What to do when a reward fails during a run.

    `error` stops the run, `mask` leaves the rows out of the update (after an exception or a time-out: every row of that call), `constant`
    gives them that score. Whatever is chosen is counted in `metrics.jsonl` and, the first times, told in `faults.jsonl`. A result of the
    wrong type or length is a bug, not a fault, and always stops the run. Evaluations make no score up: there, `constant` means `mask`.
    """

    exception: FaultPolicy = Field("error", description="the reward raises an error, or calls sys.exit")
    non_finite: FaultPolicy = Field("error", description="NaN, infinity, or a number that float32 cannot hold; row by row")
    timeout: FaultPolicy = Field("error", description="the reward takes longer than `timeout_s`")
    timeout_s: float | None = Field(None, gt=0, le=86400, description="seconds for one call, of each part of a sum; null: no limit")
    constant: float = Field(0.0, ge=-1e30, le=1e30, description="the score that `constant` gives")
    max_skipped: int = Field(10, ge=1, description="stop after this many iterations in a row in which no row had a score")

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> RewardFaultsConfig:
        if self.timeout != "error" and self.timeout_s is None:
            raise ValueError(f"timeout: {self.timeout} has no effect without timeout_s, the seconds that a call may take")
        if self.constant and "constant" not in (self.exception, self.non_finite, self.timeout):
            raise ValueError("constant has no effect unless exception, non_finite or timeout is `constant`")
        return self


class ClassifierConfig(ClassifierOptions):
    """Score of a label by a classifier."""


class SumPart(Block):
    """One term of a sum."""

    reward: Component
    weight: float = Field(1.0, description="may be negative")
    key: str | None = Field(None, min_length=1, description="name in logs; defaults to the name of the reward")


class SumConfig(Block):
    """Weighted sum of rewards. Every part is logged, unweighted."""

    parts: list[SumPart] = Field(min_length=1)


class Part(Block):
    """One factor of a product, or one member of an ensemble."""

    reward: Component
    key: str | None = Field(None, min_length=1, description="name in logs; defaults to the name of the reward")


class ProductConfig(Block):
    """Product of rewards. Every part is logged."""

    parts: list[Part] = Field(min_length=1)


class EnsembleConfig(Block):
    """Mean of rewards less `penalty` times their standard deviation. Members and disagreement are logged."""

    parts: list[Part] = Field(min_length=2)
    penalty: float = Field(0.0, ge=0, description="how much disagreement costs")


class ScaleConfig(Block):
    """factor * reward + offset."""

    reward: Component
    factor: float = 1.0
    offset: float = 0.0


class ClipConfig(Block):
    """A reward within bounds."""

    reward: Component
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _bounds(self) -> ClipConfig:
        if self.low is None and self.high is None:
            raise ValueError("name low, high or both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        return self


class StandardiseConfig(Block):
    """A reward with mean 0 and standard deviation 1. Evaluations report it as it was before."""

    reward: Component
    over: Literal["running", "batch", "prompt"] = Field(
        "running", description="all scores of the run so far, those of the iteration, or the completions of the same prompt"
    )


class ShapedConfig(Block):
    """Increments of a sequence score over the prefixes of a completion."""

    reward: Component
    every: Literal["token", "word"] = Field("word", description="a prefix per token, or only where a word is complete: fewer calls")


class LengthPenaltyConfig(Block):
    """0 for texts of a wanted length, down to -1 for others."""

    unit: Literal["words", "tokens", "characters"] = "words"
    at_least: int = Field(0, ge=0)
    at_most: int | None = Field(None, ge=0)
    slope: float = Field(0.1, gt=0, description="penalty for each unit too few or too many")

    @model_validator(mode="after")
    def _range(self) -> LengthPenaltyConfig:
        if not self.at_least and self.at_most is None:
            raise ValueError("name at_least, at_most or both")
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most {self.at_most} must not be below at_least {self.at_least}")
        return self


class RepetitionPenaltyConfig(Block):
    """Minus the share of n-grams of words that occurred before in the text."""

    n: int = Field(3, ge=1)


class CommonGenPenaltyConfig(Block):
    """-1 for a completion that copies the prompt's concepts or instruction, else 0, as in the original library."""

    column: str = Field("concepts", min_length=1, description="data column: lists of words, or one text of them")
    instruction: str = Field("generate a sentence with:", description="what prompts begin with")


class ConceptPenaltyConfig(Block):
    """1 / (1 + weight * missing concepts): a factor for a product."""

    column: str = Field("concepts", min_length=1, description="data column: lists of words, or one text of them")
    weight: float = Field(1.0, ge=0)
    inflect: bool = Field(True, description="inflected forms are not missing")


class PreferenceConfig(EncoderOptions):
    """A model of human preferences."""

    model: str = Field(min_length=1, description="Hub id or local folder, for example from `rl4lms reward train`")
    form: Literal["bradley_terry", "good_bad"] = Field(
        "bradley_terry", description="a head with one output; or a text-to-text model that answers good or bad"
    )
    include_prompt: bool = Field(True, description="score prompt and completion together")
    truncation_side: Literal["left", "right"] = Field("left", description="which end of a long text is cut off")
    good: str = Field("good", min_length=1, description="the answer that counts, in the text-to-text form")
    bad: str = Field("bad", min_length=1)


class HttpConfig(Block):
    """Scores from a server: POST of JSON, `{"scores": [...]}` comes back."""

    url: str = Field(pattern=r"^https?://", description="http:// or https://; $NAME is read from the environment")
    columns: list[str] = Field(
        ["prompts", "completions"], description="what is sent: any of prompts, completions, references, data columns"
    )
    batch_size: int = Field(32, ge=1, description="rows of one request")
    concurrency: int = Field(4, ge=1, description="requests at the same time")
    timeout_s: float = Field(30.0, gt=0, description="seconds for one request, from the first byte sent to the last received")
    retries: int = Field(3, ge=0, description="further tries after a failure that may pass: no answer, 408, 425, 429, 5xx")
    backoff_s: float = Field(0.5, ge=0, description="wait before the first retry; doubles with each")
    cache_size: int = Field(100_000, ge=0, description="scores that are kept, by a hash of what was sent; 0: none")
    headers: dict[str, str] = Field(
        {}, description="such as Authorization; $NAME is read from the environment, so no secret is in the recipe"
    )
