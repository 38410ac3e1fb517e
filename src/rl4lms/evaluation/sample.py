"""Completions of prompts under any model: what `rl4lms generate` prints and `rl4lms.generate` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from rl4lms.config.data import PromptConfig
from rl4lms.config.generation import SamplingConfig
from rl4lms.config.model import ModelConfig
from rl4lms.data.given import texts_given
from rl4lms.errors import ConfigError, DataError
from rl4lms.models.loading import load_lm, load_tokenizer, position_windows, resolve_device, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.plugins.problems import first_problem
from rl4lms.rollout.engine import LocalEngine
from rl4lms.types import Rollout, Sample


def sample(
    model: ModelConfig,
    prompts: Sequence[str],
    decoding: Mapping[str, float | int],
    *,
    number: int = 1,
    seed: int = 0,
    prompt: PromptConfig | None = None,
) -> tuple[Rollout, str]:
    """Sample completions.

    Args:
        model: what to load.
        prompts: texts to continue.
        decoding: settings of `SamplingConfig` that differ from its defaults.
        number: completions of each prompt.
        seed: the same seed gives the same texts.
        prompt: how prompts are tokenised and cut; as many tokens as the model has room for where None.

    Returns:
        `number` rows for each prompt, and a note on prompts that were cut; nothing where none was.

    Raises:
        ConfigError: a setting is unknown, has a wrong value, or does not fit the model.
        DataError: there are no prompts, or one is no text.
        ModelError: the model cannot be loaded.
    """
    texts = texts_given("generate", "prompts", prompts)
    if not texts:
        raise DataError("there are no prompts")
    settings = _checked(decoding)
    lm, tokenizer = load_lm(model, resolve_device("auto")), load_tokenizer(model)
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
    engine = LocalEngine.create(Policy(lm, special_tokens(lm, tokenizer)), tokenizer, prompt, seed)
    samples = [Sample(str(i), text) for i, text in enumerate(texts)]
    rollout = engine.rollout(samples, settings, stream="evaluation", step=0, completions_per_prompt=number)
    truncated = engine.encoder.truncated(samples)
    cut = f"{truncated} of {len(texts)} prompts were cut to {prompt.max_tokens} tokens"
    return rollout, cut if truncated else ""


def _checked(values: Mapping[str, float | int]) -> SamplingConfig:
    try:
        return SamplingConfig(**values)
    except ValidationError as error:
        path, reason = first_problem(SamplingConfig, dict(values), error) or ((), str(error))
        raise ConfigError("".join(f"{key}: " for key in path) + reason) from error
