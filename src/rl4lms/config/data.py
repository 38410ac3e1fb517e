"""Where prompts come from and how long they may be."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from rl4lms.plugins.component import Block


class DataConfig(Block):
    """Prompts from files, without writing a task.

    Files are JSONL, JSON, CSV or Parquet, in UTF-8, or folders that `Dataset.save_to_disk` wrote; anything else is a
    Hub id. The folder of a `DatasetDict` as `train` gives its splits `validation` and `test`, too. Columns `prompt`
    (a text, or a conversation: a list of messages), `references`, `completion` have a meaning; every other column goes
    to rewards and metrics under its own name. A row without `prompt` may have TRL's `messages`: a conversation whose
    last message, the assistant's, is reference and completion. `id` also names the samples, so none may come twice.
    """

    train: str | None = Field(None, description="file, folder of `save_to_disk` or Hub id with the prompts to train on")
    validation: str | None = Field(
        None, description="the same for evaluations during training; null: rows are held out of `train`"
    )
    test: str | None = Field(
        None, description="the same for evaluations after training; null: rows are held out of `train`"
    )
    holdout: int | None = Field(
        None,
        ge=0,
        description="rows, or some more, taken off a shuffled `train` for each of validation and test where no file is "
        "named, so that no prompt is in two splits. null: a tenth, at most 128, if there is no validation file, else "
        "none; 0: none",
    )
    group_column: str | None = Field(
        None,
        description="held-out rows leave none behind that has the same value in this column. null: none of the same "
        "prompt",
    )
    prompt_column: str = Field("prompt", description="the column with the text to continue")
    references_column: str = Field("references", description="the column with gold texts, a text or a list of them")
    completion_column: str = Field("completion", description="the column with the text that a warm start learns")
    shuffle_seed: int = Field(0, description="draws which rows are held out")
    limit: int | None = Field(None, ge=1, description="use at most this many rows of each split")

    @model_validator(mode="after")
    def _groups_are_held_out(self) -> DataConfig:
        if self.group_column is not None and (self.holdout == 0 or (self.holdout is None and self.validation)):
            raise ValueError("group_column has no effect where no rows are held out: name a holdout, or leave it out")
        return self


class PromptConfig(Block):
    """Tokenisation of prompts, and what stays of special tokens when ids become texts."""

    max_tokens: int = Field(256, ge=1, description="longer prompts are cut, and counted in `rollout/truncated_prompts`")
    truncation_side: Literal["left", "right"] = Field("left", description="the side that long prompts lose tokens on")
    add_special_tokens: bool = Field(
        True,
        description="what the tokenizer puts around a text, such as BOS; a prompt that brings it gets no second one",
    )
    keep_special_tokens: bool = Field(
        True,
        description="texts that rewards, metrics and people read keep special tokens that mean something, such as the "
        "end of a turn; EOS, BOS, padding, unknown tokens and what the tokenizer puts around a text never stay",
    )
    prefix: str = Field("", description="put before every prompt")
    suffix: str = Field("", description="put behind every prompt")
    system: str | None = Field(
        None,
        description="message of the system, before conversations that have none; conversations are lists of messages",
    )
    chat_template: str | None = Field(
        None,
        min_length=1,
        description="what turns conversations into text: a Jinja template, or a file of one. null: the tokenizer's own",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        {}, description="what the template reads besides, such as {enable_thinking: false}"
    )
    strings_as_user: bool = Field(False, description="a prompt that is a plain text becomes one message of the user")

    @model_validator(mode="after")
    def _of_conversations(self) -> PromptConfig:
        taken = sorted(self.chat_template_kwargs.keys() & _NOT_OF_TEMPLATES)
        if taken:
            raise ValueError(f"chat_template_kwargs: {taken[0]!r} is said by the library itself; leave it out")
        if self.strings_as_user and (self.prefix or self.suffix):
            raise ValueError("prefix and suffix are for texts, and strings_as_user makes messages of them; use system")
        return self


def is_template(chat_template: str | None) -> bool:
    """Return whether `prompt.chat_template` is a Jinja template, which has braces; any other text is a file of one."""
    return chat_template is not None and "{" in chat_template


# Arguments of `apply_chat_template` that the library gives itself, or that are not about what is rendered.
_NOT_OF_TEMPLATES = {"conversation", "messages", "chat_template", "add_generation_prompt", "continue_final_message"}
_NOT_OF_TEMPLATES |= {"tokenize", "tokenizer_kwargs", "padding", "truncation", "max_length", "return_tensors"}
_NOT_OF_TEMPLATES |= {"return_dict", "return_assistant_tokens_mask"}
