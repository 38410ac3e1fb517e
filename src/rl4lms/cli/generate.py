"""`rl4lms generate`: completions of a model."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

EPILOG = 'Example:  rl4lms generate runs/imdb-mini-nlpo-seed0 "the plot was dull , but" -n 3'


def generate(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run folder, a model folder or a Hub id.")],
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="Texts to continue. Without any, one per line of standard input."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Prompts from a file: one per line, or the `prompt` column (texts or lists of messages) of .jsonl, ..."
        ),
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
    stop: Annotated[
        list[str] | None,
        typer.Option(
            help="A completion ends with this text; may be repeated. By default as the run.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same texts.")] = 0,
    chat: Annotated[bool, typer.Option("--chat", help="A text is a message of the user, for chat models.")] = False,
    system: Annotated[
        str | None,
        typer.Option(help="Message of the system, before conversations without one.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per completion.")] = False,
) -> None:
    """Sample completions of prompts."""
    from rl4lms.cli import common
    from rl4lms.runs.layout import refuse_absent_model

    given = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "stop": stop or None,
    }
    refuse_absent_model(model)
    texts = _prompts(prompts or [], file)
    common.quiet()
    from rl4lms.api.calls import sampled
    from rl4lms.errors import ConfigError
    from rl4lms.runs.display import with_prompt

    out = common.console()
    settings = {name: value for name, value in given.items() if value is not None}
    try:
        rollout, note = sampled(model, texts, settings, number=number, seed=seed, system=system, chat=chat)
    except ConfigError as error:  # of a setting, which is an option here
        for key, option in (("prompt.system has", "--system has"), ("prompt.strings_as_user has", "--chat has")):
            if str(error).startswith(key):
                raise ConfigError(
                    str(error).replace(key, option).replace("prompt.strings_as_user", "--chat")
                ) from error
        name = next((name for name in settings if re.match(rf"{name}\b", str(error))), None)
        if name is None:
            raise
        raise ConfigError(f"--{name.replace('_', '-')}{str(error)[len(name) :]}") from error
    if note:
        print(f"note: {note}", file=sys.stderr)
    for row, ended in enumerate(rollout.terminated.tolist()):
        text = rollout.texts[row]
        if as_json:
            record = {"prompt": texts[row // number], "completion": rollout.completions[row], "text": text}
            print(json.dumps({**record, "terminated": ended}, ensure_ascii=False))
        else:
            out.print(with_prompt(rollout.prompts[row], text, rollout.completions[row]), soft_wrap=True)


_HOW = (
    'give texts as arguments, a file with --file, or lines on standard input, such as: rl4lms generate MODEL "a text"'
)


def _prompts(given: list[str], file: Path | None) -> list[Any]:
    from rl4lms.errors import ConfigError, DataError

    if file is not None and given:
        raise ConfigError("prompts were given both as arguments and with --file; choose one")
    if file is not None:
        from rl4lms.data.conversations import prompt_given
        from rl4lms.data.files import read_rows
        from rl4lms.data.rows import SUFFIXES, read_text

        if file.suffix.lower() in SUFFIXES:
            rows = list(read_rows(str(file)))
            for place, row in rows:
                if not isinstance(row.get("prompt"), str | list):
                    raise DataError(f"{place}: no text and no list of messages in a column 'prompt'")
                if isinstance(row["prompt"], list):
                    prompt_given(row["prompt"], f"{place}: 'prompt'".__str__)
            return [row["prompt"] for _, row in rows]
        given = [line.rstrip("\r") for line in read_text(str(file)).split("\n")]
    elif not given:
        if sys.stdin.isatty():
            raise ConfigError(f"no prompt: {_HOW}")
        try:
            given = [line.rstrip("\r") for line in sys.stdin.read().split("\n")]
        except UnicodeDecodeError as error:
            raise DataError("standard input: not UTF-8 text; convert it, such as: iconv -f LATIN1 -t UTF-8") from error
    texts = [line for line in given if line]
    if not texts:
        raise DataError(f"there are no prompts{f' in {file}' if file is not None else ''}: {_HOW}")
    return texts
