"""Options of the tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rl4lms.plugins.component import Block


class ImdbConfig(Block):
    """Continue a movie review, positively.

    Sizes that are not set: mini 4000 / 500 / 500; full everything that the split has, and 5000 test reviews.
    """

    edition: Literal["mini", "full"] = Field("mini", description="mini is written by a grammar, full is real reviews")
    path: str | None = Field(
        None, description="full: Hub id, aclImdb-like folder, zip, JSONL or CSV with `text` and `label`; default stanfordnlp/imdb"
    )
    seed: int = Field(0, ge=0, description="mini: the world of reviews; full: the shuffle before splitting")
    train_size: int | None = Field(None, ge=1, le=1_000_000)
    validation_size: int | None = Field(None, ge=1, le=1_000_000)
    test_size: int | None = Field(None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _path_is_for_real_data(self) -> ImdbConfig:
        if self.path is not None and self.edition == "mini":
            raise ValueError("path names real reviews, but edition is mini; add edition: full")
        return self
