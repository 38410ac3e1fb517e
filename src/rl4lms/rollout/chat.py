"""Conversations as tokens, by the tokenizer's chat template or one that is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from rl4lms.config.data import PromptConfig, is_template
from rl4lms.data.conversations import Message
from rl4lms.errors import ConfigError, DataError, ModelError
from rl4lms.rollout.cut import shortened
from rl4lms.types import Sample

_OF_THE_SYSTEM = ("system", "developer")
Messages = tuple[Message, ...]


class Chat:
    """Renders conversations, and makes long ones fit.

    Args:
        tokenizer: has a chat template, unless the config has.
        config: template, its options, the system's message, and the most tokens.

    Raises:
        ConfigError: the template is a file that is not there, or reads none of an option.
        ModelError: there is no template, and texts are to be rendered as messages.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: PromptConfig) -> None:
        self._tokenizer, self._config = tokenizer, config
        self._given = template_of(config)
        if config.strings_as_user:
            self._template()
        if config.chat_template_kwargs:
            template = self._template()
            for name in config.chat_template_kwargs:
                if not re.search(rf"\b{re.escape(name)}\b", template):
                    raise ConfigError(f"prompt.chat_template_kwargs: the chat template does not read {name!r}")

    def messages(self, sample: Sample) -> Messages:
        """Return the conversation of a sample as it is rendered; nothing where its prompt is a plain text."""
        messages: Messages = tuple(sample.messages)
        if not messages and self._config.strings_as_user:
            messages = ({"role": "user", "content": sample.prompt},)
        if messages and self._config.system is not None and not _has_system(messages):
            return ({"role": "system", "content": self._config.system}, *messages)
        return messages

    def text(self, messages: Sequence[Message]) -> str:
        """Return a conversation as the template writes it, up to where the assistant begins, or goes on.

        Raises:
            ModelError: there is no template.
            DataError: the template refuses the conversation.
        """
        if self._config.prefix or self._config.suffix:
            raise ConfigError(
                "prompt.prefix and prompt.suffix are for texts, and this prompt is a conversation: put them into its "
                "messages, or use prompt.system"
            )
        goes_on = messages[-1]["role"] == "assistant"
        how: dict[str, Any] = {"add_generation_prompt": not goes_on, "continue_final_message": goes_on}
        how |= {"chat_template": self._template(), "tokenize": False}
        try:
            rendered = self._tokenizer.apply_chat_template(
                [dict(m) for m in messages], **how, **self._config.chat_template_kwargs
            )
        except (TemplateError, TypeError, ValueError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise DataError(f"the chat template refuses a conversation of {roles}: {error}") from error
        return str(rendered)

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of `text`; special tokens are those of the template, so BOS comes once."""
        options: dict[str, Any] = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        found: list[int] = self._tokenizer(self.text(messages), **options)["input_ids"]
        return found

    def fitted(self, messages: Messages) -> tuple[list[int], Messages]:
        """Return tokens that fit, and the messages that they hold.

        The oldest turns go first, each as a whole, but never the system's message nor the last of the user. Where these
        are too long, the last message before the answer is cut.

        Raises:
            DataError: the template and the system's message leave no room.
        """
        most, row = self._config.max_tokens, self.ids(messages)
        for shorter in _without_oldest_turns(messages):
            if len(row) <= most:
                break
            messages, row = shorter, self.ids(shorter)
        if len(row) <= most:
            return row, messages
        answered = [place for place, message in enumerate(messages) if message["role"] != "assistant"]
        place = answered[-1] if answered else len(messages) - 1
        with_content = lambda text: (*messages[:place], {**messages[place], "content": text}, *messages[place + 1 :])  # noqa: E731
        side, content = self._config.truncation_side, messages[place]["content"]
        found = shortened(self._tokenizer, content, side, most, lambda text: self.ids(with_content(text)))
        if found is None:
            raise DataError(f"prompt.max_tokens: {most} leaves no room for the chat template and the other messages")
        return found[0], with_content(found[1])

    def _template(self) -> str:
        try:
            return self._tokenizer.get_chat_template(self._given)
        except ValueError as error:
            raise ModelError(
                "the prompts are conversations, and the tokenizer has no chat template: name a model that has one (an "
                "instruct or chat model), or give a Jinja template, or a file of one, as prompt.chat_template"
            ) from error


def template_of(config: PromptConfig) -> str | None:
    """Return the template that is given, read from its file where it is one; None where it is the tokenizer's own.

    Raises:
        ConfigError: there is no such file.
    """
    given = config.chat_template
    if given is None or is_template(given):
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"prompt.chat_template: {given!r} is neither a Jinja template (which has braces) nor a file that can be "
            f"read: {error}"
        ) from error


def refuse_unread(config: PromptConfig, samples: Sequence[Sample]) -> None:
    """Refuse settings for conversations where no prompt is one, and for texts where every prompt is a conversation.

    Raises:
        ConfigError: a setting has no effect, or does not go with the prompts.
    """
    no_conversation = "no prompt is a conversation; prompt.strings_as_user makes one of each text"
    chats = config.strings_as_user
    for name in ("chat_template", "chat_template_kwargs"):
        if getattr(config, name) and not chats and not any(sample.messages for sample in samples):
            raise ConfigError(f"prompt.{name} has no effect: {no_conversation}")
    if config.system is not None and not any(
        not _has_system(sample.messages) for sample in samples if sample.messages or chats
    ):
        has = any(sample.messages for sample in samples)
        why = "every conversation has a message of the system" if has else no_conversation
        raise ConfigError(f"prompt.system has no effect: {why}")
    for name, changed in (
        ("strings_as_user", chats),
        ("add_special_tokens", not config.add_special_tokens and not chats),
    ):
        if changed and all(sample.messages for sample in samples):
            raise ConfigError(f"prompt.{name} has no effect: every prompt is a conversation already")


def _has_system(messages: Sequence[Message]) -> bool:
    return any(message["role"] in _OF_THE_SYSTEM for message in messages)


def _without_oldest_turns(messages: Messages) -> list[Messages]:
    """Return what is left when one, two, ... of the oldest turns are gone; a turn begins with a message of the user."""
    first = next((place for place, m in enumerate(messages) if m["role"] not in _OF_THE_SYSTEM), len(messages))
    begins = [place for place, m in enumerate(messages) if m["role"] == "user" and place > first]
    return [(*messages[:first], *messages[place:]) for place in begins]
