"""Completions of prompts under any model: what `rl4lms generate` prints and `rl4lms.generate` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from rl4lms.config.data import PromptConfig
from rl4lms.config.generation import EvalGenerationConfig, SamplingConfig
from rl4lms.config.model import ModelConfig
from rl4lms.data.conversations import Message, prompt_given
from rl4lms.data.given import rows_given
from rl4lms.errors import ConfigError, DataError, nth_row, plural
from rl4lms.models.loading import load_lm, load_tokenizer, position_windows, resolve_device, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.plugins.problems import first_problem
from rl4lms.rollout.chat import refuse_unread
from rl4lms.rollout.engine import LocalEngine
from rl4lms.types import Rollout, Sample


def sample(
    model: ModelConfig,
    prompts: Sequence[str | Sequence[Message]],
    decoding: Mapping[str, Any],
    *,
    number: int = 1,
    seed: int = 0,
    prompt: PromptConfig | None = None,
    system: str | None = None,
    chat: bool = False,
    device: str = "auto",
    beams: Mapping[str, Any] | None = None,
) -> tuple[Rollout, str]:
    """Sample completions.

    Args:
        model: what to load.
        prompts: texts to continue, or conversations (lists of messages) to answer.
        decoding: settings of `SamplingConfig` that differ from its defaults.
        number: completions of each prompt.
        seed: the same seed gives the same texts.
        prompt: how prompts are tokenised and cut; as many tokens as the model has room for where None.
        system: a message of the system, before conversations that have none, instead of that of `prompt`.
        chat: a text is a message of the user.
        device: as the `device` of a recipe.
        beams: `num_beams` and `length_penalty` of a beam search, which takes the place of sampling.

    Returns:
        `number` rows for each prompt, and a note on prompts that were cut, on completions that are all the same, and on
        texts for a model of conversations; nothing where there is none.

    Raises:
        ConfigError: a setting is unknown, has a wrong value, has no effect on these prompts, or does not fit the model.
        DataError: there are no prompts, or one is neither a text nor a conversation.
        ModelError: the model cannot be loaded, or has no chat template for conversations.
    """
    samples = [_sample(i, given) for i, given in enumerate(rows_given("generate", "prompts", prompts))]
    if not samples:
        raise DataError("there are no prompts")
    asked: dict[str, Any] = ({} if system is None else {"system": system}) | ({"strings_as_user": True} if chat else {})
    refuse_unread(PromptConfig(**asked), samples)
    settings = _checked(decoding) if beams is None else _checked({**decoding, **beams}, EvalGenerationConfig)
    lm, tokenizer = load_lm(model, resolve_device(device)), load_tokenizer(model)
    windows = position_windows(lm)  # (prompt and completion,) or (prompt, completion)
    longest = settings.max_new_tokens + (0 if lm.config.is_encoder_decoder else 1)
    if windows[-1] is not None and longest > windows[-1]:
        what = "for the completion" if lm.config.is_encoder_decoder else "for prompt and completion together"
        raise ConfigError(
            f"max_new_tokens {settings.max_new_tokens}: the model has {windows[-1]} positions {what}; ask for fewer"
        )
    room = None if windows[0] is None else windows[0] - (0 if lm.config.is_encoder_decoder else settings.max_new_tokens)
    if prompt is None:
        prompt = PromptConfig(max_tokens=room or 1024)
    elif room is not None and room < prompt.max_tokens:
        prompt = prompt.model_copy(update={"max_tokens": room})
    prompt = PromptConfig(**prompt.model_dump() | asked)
    engine = LocalEngine.create(Policy(lm, special_tokens(lm, tokenizer)), tokenizer, prompt, seed)
    rollout = engine.rollout(samples, settings, stream="evaluation", step=0, completions_per_prompt=number)
    truncated = engine.encoder.truncated(samples)
    notes = (
        [f"{truncated} of {plural(len(samples), 'prompt')} were cut to {prompt.max_tokens} tokens"] if truncated else []
    )
    if number > 1 and settings.temperature == 0:
        notes.append(f"at temperature 0 the {number} completions of a prompt are one and the same text")
    if tokenizer.chat_template and not prompt.strings_as_user and not any(one.messages for one in samples):
        notes.append(
            "the model has a chat template, and texts are continued as they stand; --chat makes messages of them"
        )
    return rollout, "; ".join(notes)


def _sample(row: int, given: Any) -> Sample:
    """Return a prompt as a sample; a list is a conversation."""
    if isinstance(given, list | tuple):
        text, messages = prompt_given(given, lambda: f"generate: prompts of {nth_row(row)}")
        return Sample(str(row), text, messages=messages)
    if isinstance(given, Mapping):
        raise DataError(
            f"generate: prompts of {nth_row(row)} is a message alone; a conversation is a list: [[message]]"
        )
    if not isinstance(given, str):
        kind = "None; write '' for an empty text" if given is None else type(given).__name__
        raise DataError(f"generate: prompts of {nth_row(row)} must be a text, got {kind}")
    return Sample(str(row), given)


def _checked(values: Mapping[str, Any], kind: type[SamplingConfig] = SamplingConfig) -> SamplingConfig:
    try:
        return kind(**values)
    except ValidationError as error:
        path, reason = first_problem(kind, dict(values), error) or ((), str(error))
        raise ConfigError("".join(f"{key}: " for key in path) + reason) from error
