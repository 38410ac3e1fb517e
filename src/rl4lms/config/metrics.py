"""Options of the metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt, StrictStr

from rl4lms.config.base import Block

_ALLOW_PICKLE = "read pytorch_model.bin where there are no safetensors; only from sources you trust, since pickles can run code"


class ClassifierOptions(Block):
    """A sequence classifier, and which of its outputs to read."""

    model: str = Field(min_length=1, description="Hub id, local folder, or asset:<name> of the task")
    label: StrictInt | Annotated[StrictStr, Field(min_length=1)] | None = Field(
        None, description="name or index; needed unless the classifier has one output"
    )
    output: Literal["probability", "logit"] = "probability"
    include_prompt: bool = Field(True, description="score prompt and completion together, as in the paper")
    max_tokens: int = Field(512, ge=8)
    truncation_side: Literal["left", "right"] = Field("left", description="which end of a long text is cut off")
    batch_size: int = Field(64, ge=1)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    allow_pickle: bool = Field(False, description=_ALLOW_PICKLE)


class ClassifierConfig(ClassifierOptions):
    """Score of a label by a classifier."""

    key: str = Field("classifier", min_length=1, description="name of the result in logs")


class IncreasingNumbersConfig(Block):
    """Numbers that go up, as in the original library."""

    min_tokens: int = Field(20, ge=1, description="texts shorter than half of this score less")


class DatesConfig(Block):
    """Whether there is a date written as YYYY-MM-DD."""


class JudgeConfig(Block):
    """How texts are scored under a language model."""

    batch_size: int = Field(32, ge=1)
    max_tokens: int = Field(512, ge=8, description="prompt and text together; the prompt is cut first, from the left")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class PerplexityConfig(JudgeConfig):
    """Perplexity of completions under a judge LM."""

    model: str = Field(min_length=1, description="Hub id, local folder, or asset:<name> of the task")
    key: str = Field("perplexity", min_length=1, description="name of the result in logs; any but the default also names `<key>_nll`")
    allow_pickle: bool = Field(False, description=_ALLOW_PICKLE)


class ReferencePerplexityConfig(Block):
    """Perplexity of the references under the policy."""


class DiversityConfig(Block):
    """Lexical diversity of all completions together."""

    window: int = Field(100, ge=1, description="segment length of MSTTR, in words")


class RougeConfig(Block):
    """ROUGE against one or several references."""

    stemmer: bool = Field(True, description="compare Porter stems of words longer than three letters")


class ImdbGrammarConfig(Block):
    """Gold measures of `imdb` mini."""
