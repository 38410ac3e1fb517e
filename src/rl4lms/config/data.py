"""Where prompts come from and how long they may be."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl4lms.plugins.component import Block


class DataConfig(Block):
    """Prompts from files, without writing a task.

    Files are JSONL, JSON, CSV or Parquet, in UTF-8; anything else is a Hub id. Columns `prompt`, `references`,
    `completion` have a meaning; every other column goes to rewards and metrics under its own name. `id` also names the
    samples, so none may come twice.
    """

    train: str | None = None
    validation: str | None = None
    test: str | None = None
    holdout: int | None = Field(
        None,
        ge=0,
        description="rows taken off a shuffled `train` for each of validation and test where no file is named. null: "
        "a tenth, at most 128, "
        "if there is no validation file, else none; 0: none",
    )
    prompt_column: str = "prompt"
    references_column: str = "references"
    completion_column: str = "completion"
    shuffle_seed: int = 0
    limit: int | None = Field(None, ge=1, description="use at most this many rows of each split")


class PromptConfig(Block):
    """Tokenisation of prompts, and what stays of special tokens when ids become texts."""

    max_tokens: int = Field(256, ge=1)
    truncation_side: Literal["left", "right"] = "left"
    add_special_tokens: bool = Field(
        True,
        description="what the tokenizer puts around a text, such as BOS; a prompt that brings it gets no second one",
    )
    keep_special_tokens: bool = Field(
        True,
        description="texts that rewards, metrics and people read keep special tokens that mean something, such as the "
        "end of a turn; EOS, BOS, padding, unknown tokens and what the tokenizer puts around a text never stay",
    )
    prefix: str = ""
    suffix: str = ""
