"""Conversations as tokens: what the template writes, what is dropped, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rl4lms.config.data import PromptConfig
from rl4lms.errors import ConfigError, DataError, ModelError
from rl4lms.models.loading import SpecialTokens
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.types import Sample
from tests.tiny import CHAT_TEMPLATE, EOS, PAD, chat_tokenizer


def say(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def chat(*messages: dict[str, str]) -> Sample:
    return Sample("1", messages[-1]["content"], messages=messages)


def encoder(template: str | None = CHAT_TEMPLATE, **config: Any) -> PromptEncoder:
    tokenizer = chat_tokenizer(template)
    return PromptEncoder(tokenizer, SpecialTokens((EOS,), PAD, (), len(tokenizer)), PromptConfig(**config))


def words(row: list[int]) -> str:
    return str(chat_tokenizer().decode(row))


TURNS = (say("system", "9"), say("user", "1 1"), say("assistant", "2 2"), say("user", "3 4 5"))


def read(one: PromptEncoder, *messages: dict[str, str]) -> tuple[str, str, list[str]]:
    (row,), (seen,), (kept,) = one.read([chat(*messages)])
    return words(row), seen, [message["role"] for message in kept]


def test_the_template_writes_the_conversation_up_to_the_answer() -> None:
    assert (
        read(encoder(), *TURNS)[0]
        == "<system> 9 </s> <user> 1 1 </s> <assistant> 2 2 </s> <user> 3 4 5 </s> <assistant>"
    )


def test_a_message_that_the_assistant_began_is_continued() -> None:
    assert read(encoder(), say("user", "1"), say("assistant", "2 3"))[0] == "<user> 1 </s> <assistant> 2 3"


def test_no_second_bos_beside_that_of_the_template() -> None:
    assert read(encoder("<s> " + CHAT_TEMPLATE), say("user", "1"))[0] == "<s> <user> 1 </s> <assistant>"


def test_the_system_message_goes_before_conversations_without_one() -> None:
    one = encoder(system="7")
    assert read(one, say("user", "1")) == ("<system> 7 </s> <user> 1 </s> <assistant>", "1", ["user"])
    assert read(one, *TURNS)[0].startswith("<system> 9 </s> <user>")


def test_texts_become_messages_of_the_user_where_that_is_said() -> None:
    text = Sample("1", "1 2")
    (row,), (seen,), (kept,) = encoder(strings_as_user=True, system="7").read([text])
    assert (words(row), seen, kept) == ("<system> 7 </s> <user> 1 2 </s> <assistant>", "1 2", ())
    assert words(encoder()([text])[0]) == "1 2"


def test_options_of_the_template_reach_it() -> None:
    assert read(encoder(chat_template_kwargs={"loud": True}), say("user", "1"))[0].endswith("! <assistant>")
    with pytest.raises(ConfigError, match="the chat template does not read 'quiet'"):
        encoder(chat_template_kwargs={"quiet": True})


def test_a_template_can_be_given_as_text_or_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("{{ messages[-1].content }} !")
    for given in ("{{ messages[-1].content }} !", str(file)):
        assert read(encoder(None, chat_template=given), *TURNS)[0] == "3 4 5 !"
    with pytest.raises(ConfigError, match=r"prompt.chat_template: 'absent.jinja' is neither"):
        encoder(chat_template="absent.jinja")


# 9 words of frame and system, 3 of the question; 6 and 8 more with the turn before
@pytest.mark.parametrize(
    ("most", "side", "text", "seen", "roles"),
    [
        (18, "left", "<system> 9 </s> <user> 1 1 </s> <assistant> 2 2 </s> <user> 3 4 5 </s> <assistant>", "3 4 5", 4),
        (16, "left", "<system> 9 </s> <user> 3 4 5 </s> <assistant>", "3 4 5", 2),
        (9, "left", "<system> 9 </s> <user> 3 4 5 </s> <assistant>", "3 4 5", 2),
        (8, "left", "<system> 9 </s> <user> 4 5 </s> <assistant>", "4 5", 2),
        (7, "right", "<system> 9 </s> <user> 3 </s> <assistant>", "3", 2),
    ],
)
def test_the_oldest_turns_go_first_and_the_last_message_is_cut_at_last(
    most: int, side: str, text: str, seen: str, roles: int
) -> None:
    one = encoder(max_tokens=most, truncation_side=side)
    row, read_text, kept = read(one, *TURNS)
    assert (row, read_text, len(kept)) == (text, seen, roles)
    assert one.truncated([chat(*TURNS)]) == (most < 17)


def test_a_template_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(DataError, match="leaves no room for the chat template"):
        encoder(max_tokens=5)([chat(*TURNS)])


def test_texts_and_conversations_keep_their_places() -> None:
    rows, seen, kept = encoder().read([Sample("1", "1"), chat(say("user", "2")), Sample("3", "3")])
    assert [words(row) for row in rows] == ["1", "<user> 2 </s> <assistant>", "3"]
    assert (seen, [len(messages) for messages in kept]) == (["1", "2", "3"], [0, 1, 0])


def test_a_tokenizer_without_a_template_is_one_clear_error() -> None:
    with pytest.raises(ModelError, match="the tokenizer has no chat template"):
        encoder(None).check([chat(*TURNS)])
    with pytest.raises(ModelError, match="the tokenizer has no chat template"):
        encoder(None, strings_as_user=True)


def test_what_the_template_refuses_is_told() -> None:
    with pytest.raises(DataError, match=r"refuses a conversation of system, user: no system"):
        encoder("{{ raise_exception('no system') }}").check([chat(TURNS[0], TURNS[1])])


@pytest.mark.parametrize(
    ("config", "samples", "message"),
    [
        ({"system": "7"}, [Sample("1", "1")], "prompt.system has no effect: no prompt is a conversation"),
        ({"system": "7"}, [chat(*TURNS)], "prompt.system has no effect: every conversation has a message"),
        ({"chat_template": CHAT_TEMPLATE}, [Sample("1", "1")], "prompt.chat_template has no effect"),
        ({"chat_template_kwargs": {"loud": True}}, [Sample("1", "1")], "prompt.chat_template_kwargs has no effect"),
        ({"strings_as_user": True}, [chat(*TURNS)], "prompt.strings_as_user has no effect"),
        ({"add_special_tokens": False}, [chat(*TURNS)], "prompt.add_special_tokens has no effect"),
        ({"prefix": "8 "}, [chat(*TURNS)], "prompt.prefix and prompt.suffix are for texts"),
        ({"suffix": " 8"}, [chat(*TURNS)], "prompt.prefix and prompt.suffix are for texts"),
    ],
)
def test_options_without_effect_are_refused(config: dict[str, Any], samples: list[Sample], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encoder(**config).check(samples)


@pytest.mark.parametrize(
    "config",
    [{"strings_as_user": True, "suffix": "!"}, {"chat_template_kwargs": {"add_generation_prompt": False}}],
)
def test_settings_that_contradict_each_other_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"use system|leave it out"):
        PromptConfig(**config)
