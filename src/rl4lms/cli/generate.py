"""`rl4lms generate`: completions of a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl4lms.runs.layout import is_run

if TYPE_CHECKING:
    from rl4lms.config.recipe import Recipe
    from rl4lms.types import Rollout

EPILOG = 'Example:  rl4lms generate runs/imdb-mini-nlpo-seed0 "the plot was dull , but" -n 3'


def generate(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run folder, a model folder or a Hub id.")],
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="Texts to continue. Without any, one per line of standard input."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Prompts from a file: one per line, or the `prompt` column of .jsonl, .csv, .parquet ..."),
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Completions of each prompt.")] = 1,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="By default as the run, else 48.", show_default=False)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="0 is greedy; by default as the run, else 1.", show_default=False)
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=0, help="0 keeps all; by default as the run, else 0.", show_default=False)
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="By default as the run, else 1.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same texts.")] = 0,
    as_json: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per completion.")] = False,
) -> None:
    """Sample completions of prompts."""
    from rl4lms.cli import common

    given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    texts = _prompts(prompts or [], file)
    # of a run, only its model, its prompts' limits and how it decodes are needed
    unread = ("task", "reward", "algorithm", "evaluation")
    run = common.read(Path(model), unread=unread) if is_run(Path(model)) else None
    common.quiet()
    from rl4lms.runs.display import with_prompt

    out = common.console()
    settings = {name: value for name, value in given.items() if value is not None}
    rollout = _sample(model, run, texts, settings, number, seed)
    for row, ended in enumerate(rollout.terminated.tolist()):
        text = rollout.texts[row]
        if as_json:
            record = {"prompt": texts[row // number], "completion": rollout.completions[row], "text": text}
            print(json.dumps({**record, "terminated": ended}, ensure_ascii=False))
        else:
            out.print(with_prompt(rollout.prompts[row], text), soft_wrap=True)


def _prompts(given: list[str], file: Path | None) -> list[str]:
    from rl4lms.errors import ConfigError, DataError

    if file is not None and given:
        raise ConfigError("prompts were given both as arguments and with --file; choose one")
    if file is not None:
        from rl4lms.data.files import read_rows
        from rl4lms.data.rows import SUFFIXES, read_text

        if file.suffix.lower() in SUFFIXES:
            rows = list(read_rows(str(file)))
            for place, row in rows:
                if not isinstance(row.get("prompt"), str):
                    raise DataError(f"{place}: no text in a column 'prompt'")
            return [row["prompt"] for _, row in rows]
        given = [line.rstrip("\r") for line in read_text(str(file)).split("\n")]
    elif not given:
        if sys.stdin.isatty():
            raise ConfigError(
                'no prompt: give one as an argument, with --file, or on standard input, such as: echo "a text" | '
                "rl4lms generate …"
            )
        try:
            given = [line.rstrip("\r") for line in sys.stdin.read().split("\n")]
        except UnicodeDecodeError as error:
            raise DataError("standard input: not UTF-8 text; convert it, such as: iconv -f LATIN1 -t UTF-8") from error
    texts = [line for line in given if line]
    if not texts:
        raise DataError("there are no prompts")
    return texts


def _sample(
    model: str, run: Recipe | None, prompts: list[str], given: dict[str, float | int], number: int, seed: int
) -> Rollout:
    """Return `number` completions of each prompt."""
    from rl4lms.config import ModelConfig, PromptConfig, SamplingConfig
    from rl4lms.errors import CheckpointError, ConfigError
    from rl4lms.models.loading import load_lm, load_tokenizer, position_windows, resolve_device, special_tokens
    from rl4lms.models.policy import Policy
    from rl4lms.rollout.engine import LocalEngine
    from rl4lms.types import Sample

    if run is not None:
        path = Path(model) / "model"
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{model}: the run has no model yet; finish it with: rl4lms train {model} --resume")
        usual = run.decoding.model_dump(include=set(SamplingConfig.model_fields))
        config, prompt = (
            run.model.model_copy(update={"path": str(path), "tokenizer": None, "lora": None, "revision": None}),
            run.prompt,
        )
    else:
        config, prompt, usual = ModelConfig(path=model), None, {}
    settings = _checked(SamplingConfig, usual | given)
    lm, tokenizer = load_lm(config, resolve_device("auto")), load_tokenizer(config)
    windows = position_windows(lm)  # (prompt and completion,) or (prompt, completion)
    longest = settings.max_new_tokens + (0 if lm.config.is_encoder_decoder else 1)
    if windows[-1] is not None and longest > windows[-1]:
        what = "for the completion" if lm.config.is_encoder_decoder else "for prompt and completion together"
        raise ConfigError(
            f"--max-new-tokens {settings.max_new_tokens}: the model has {windows[-1]} positions {what}; ask for fewer"
        )
    room = None if windows[0] is None else windows[0] - (0 if lm.config.is_encoder_decoder else settings.max_new_tokens)
    if prompt is None:
        prompt = PromptConfig(max_tokens=room or 1024)
    elif room is not None and room < prompt.max_tokens:
        prompt = prompt.model_copy(update={"max_tokens": room})
    engine = LocalEngine.create(Policy(lm, special_tokens(lm, tokenizer)), tokenizer, prompt, seed)
    samples = [Sample(str(i), text) for i, text in enumerate(prompts)]
    rollout = engine.rollout(samples, settings, stream="evaluation", step=0, completions_per_prompt=number)
    if truncated := engine.encoder.truncated(samples):
        print(f"note: {truncated} of {len(prompts)} prompts were cut to {prompt.max_tokens} tokens", file=sys.stderr)
    return rollout


def _checked(model: type[SamplingConfig], values: dict[str, float | int]) -> SamplingConfig:
    from pydantic import ValidationError

    from rl4lms.errors import ConfigError
    from rl4lms.plugins.problems import first_problem

    try:
        return model(**values)
    except ValidationError as error:
        path, reason = first_problem(model, values, error) or ((), str(error))
        raise ConfigError("".join(f"--{str(key).replace('_', '-')}: " for key in path) + reason) from error


if TYPE_CHECKING:
    from rl4lms.config import SamplingConfig
