"""The code blocks of a document, and how to run them as a reader would: in order, in one folder, with one memory."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.config import recipe_from_dict
from rl4lms.config.reader import read_text
from rl4lms.config.recipe import Recipe

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w./-]+\.(?:py|yaml))$")
# Lines of a shell block that are not run: installation, and several processes, which have tests of their own.
_NOT_RUN = ("pip", "make", "torchrun")


class Block(NamedTuple):
    """A code block of a document."""

    document: str
    number: int
    language: str
    code: str

    @property
    def file(self) -> str | None:
        """The file that a block is to be saved as, if its first line is a comment that names one."""
        match = _FILE.match(self.code.partition("\n")[0])
        return match[1] if match else None

    @property
    def name(self) -> str:
        return f"{self.document}-{self.number}-{self.language}"


def blocks(document: Path) -> list[Block]:
    found = _FENCE.findall(document.read_text(encoding="utf-8"))
    name = document.relative_to(ROOT).as_posix()
    return [Block(name, number, language, code) for number, (language, code) in enumerate(found)]


def recipe_of(code: str) -> Recipe:
    """Read a recipe, or the part of one that a document shows."""
    shown: dict[str, Any] = read_text(code, "a document")[0]  # as strict as for files: YAML alone takes 1e-5 for a text
    missing: dict[str, Any] = {"model": "gpt2"} if "task" in shown else {"model": "gpt2", "data": "prompts.jsonl"}
    return recipe_from_dict({**missing, **shown})


def run_in_order(document: Path) -> dict[str, Any]:
    """Run all blocks of a document in the working directory; return the names that its Python has defined."""
    return run_blocks(blocks(document))


def run_blocks(given: Iterable[Block]) -> dict[str, Any]:
    """Run some blocks, as `run_in_order` does."""
    scope: dict[str, Any] = {"__name__": "page"}
    for block in given:
        if block.file is not None:
            Path(block.file).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.code, block.name, "exec"), scope)
        elif block.language == "yaml":
            recipe_of(block.code)
        elif block.language == "sh":
            for line in block.code.splitlines():
                run_line(line)
        else:
            assert block.language in ("text", "toml"), block.name
    return scope


def run_line(line: str) -> None:
    """Run one line of a shell block."""
    command, *arguments = shlex.split(line, comments=True)
    if command in _NOT_RUN:
        return
    assert command == "rl4lms", line
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, f"{line}\n{done.output}"
