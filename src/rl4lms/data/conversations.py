"""The door for conversations: lists of messages, as chat models and TRL have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rl4lms.errors import DataError

Message = Mapping[str, Any]

_EXAMPLE = '[{"role": "user", "content": "..."}]'


def messages_given(value: Any, where: Callable[[], str]) -> tuple[dict[str, Any], ...]:
    """Return the messages of a conversation; keys of a message without a value (null, as Parquet fills them) are none.

    Args:
        value: a list of messages, each with the texts `role` and `content`; other keys are kept for the template.
        where: begins error messages, such as `train.jsonl:7: 'prompt'`.

    Raises:
        DataError: it is something else, or has no message.
    """
    if not isinstance(value, list | tuple):
        raise DataError(f"{where()} must be a list of messages such as {_EXAMPLE}, got {type(value).__name__}")
    if not value:
        raise DataError(f"{where()} is a conversation without a message; write {_EXAMPLE}")
    found = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, Mapping):
            raise DataError(
                f"{where()}, message {number}: must be a mapping with role and content, got {type(message).__name__}; "
                f"a conversation is {_EXAMPLE}"
            )
        for key in ("role", "content"):
            text = message.get(key)
            if not isinstance(text, str) or (key == "role" and not text):
                got = "none" if text is None else "an empty one" if text == "" else type(text).__name__
                raise DataError(f"{where()}, message {number}: {key!r} must be a text, got {got}")
        found.append({str(key): item for key, item in message.items() if item is not None})
    return tuple(found)


def prompt_given(value: Any, where: Callable[[], str]) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Return what people and metrics read of a conversation that is to be answered, and its messages.

    That is the last message of the user, or the last message where there is none.

    Raises:
        DataError: it is no conversation, or ends with a message that nothing can follow, such as one of the system.
    """
    messages = messages_given(value, where)
    if messages[-1]["role"] in ("system", "developer"):
        raise DataError(
            f"{where()} ends with a message of the {messages[-1]['role']}; the last one is the user's or a tool's, or "
            "the beginning of the assistant's, which is continued"
        )
    return messages[last_of_user(messages)]["content"], messages


def completion_given(value: Any, where: Callable[[], str]) -> str:
    """Return the text of a completion in conversational form: one message of the assistant.

    Raises:
        DataError: it is something else.
    """
    messages = messages_given(value, where)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise DataError(f"{where()} must be a text or a single message of the assistant, got {len(messages)} messages")
    text: str = messages[0]["content"]
    return text


def answered(value: Any, where: Callable[[], str]) -> tuple[list[dict[str, Any]], str]:
    """Return the messages before the last one, and the text of that, which is the assistant's.

    Raises:
        DataError: it is no conversation, or does not end with an answer of the assistant.
    """
    *before, last = messages_given(value, where)
    if last["role"] != "assistant" or not before:
        raise DataError(
            f"{where()} must end with an answer of the assistant, which is the reference, after a message of somebody "
            "else; conversations that are to be answered stand in 'prompt'"
        )
    return before, last["content"]


def last_of_user(messages: Sequence[Message]) -> int:
    """Return the place of the last message of the user; of the last message where there is none."""
    places = [place for place, message in enumerate(messages) if message["role"] == "user"]
    return places[-1] if places else len(messages) - 1


def in_trl_form(messages: Sequence[Message], completion: str) -> tuple[list[Any], list[Any]]:
    """Return a prompt and its completion as TRL gives them to rewards, as new lists with new messages.

    A message of the assistant that was continued is a part of the completion, and not of the prompt.
    """
    begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else None
    prompt = [dict(message) for message in (messages if begun is None else messages[:-1])]
    return prompt, [{"role": "assistant", "content": (begun or "") + completion}]
