"""`rl4lms show`: one component or recipe in full."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl4lms import recipes

if TYPE_CHECKING:
    from rich.console import Console

    from rl4lms.plugins.registry import Registry

EPILOG = "Example:  rl4lms show nlpo  ·  rl4lms show imdb  ·  rl4lms show imdb-mini-ppo"

_SAMPLES = 3


def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Of a component or recipe; or path/to/file.py:name."),
    ],
) -> None:
    """Explain a reward, metric, task, algorithm or recipe: what it is, and its options."""
    from rl4lms.cli import common
    from rl4lms.errors import UnknownNameError
    from rl4lms.plugins import registry
    from rl4lms.plugins.files import is_path, load
    from rl4lms.plugins.options import signature_model

    out = common.console()
    if name in recipes.names():
        out.print((recipes.FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), markup=False, soft_wrap=True, end="")
        return
    if is_path(name):  # which kind it is, the recipe that names it says
        target = load("component", name)
        out.print(f"[bold]{name}[/bold]", soft_wrap=True)
        out.print(f"\n{_reflowed(inspect.getdoc(target) or '')}\n", markup=False)
        _options(out, signature_model(target))
        return
    kinds = (registry.algorithms, registry.tasks, registry.rewards, registry.metrics)
    found = [kind for kind in kinds if name in kind]
    if not found:
        known = {known for kind in kinds for known in kind.names()} | set(recipes.names())
        raise UnknownNameError("name", name, known)
    for position, kind in enumerate(found):
        if position:
            out.print()
        _component(out, kind, name)


def _component(out: Console, kind: Registry, name: str) -> None:
    from rich.text import Text

    from rl4lms.plugins.options import options_model

    entry = kind.entry(name)
    out.print(Text.assemble((name, "bold"), f"  {kind.kind}", (f"  {kind.origin(name)}", "dim")))
    target = kind.get(name)
    texts = [inspect.getdoc(target) or entry.summary]
    if kind.kind == "algorithm":  # the module says what the algorithm is, the class how it does it
        texts.insert(0, inspect.getdoc(inspect.getmodule(target)) or "")
    for text in filter(None, texts):
        out.print(f"\n{_reflowed(text)}", markup=False)
    out.print()
    _options(out, options_model(kind, name))
    if kind.kind == "metric" and not (getattr(target, "needs_policy", False) or getattr(target, "gold", False)):
        out.print(
            f"\nIts values of single texts can be a reward: `reward: {name}`, with `key` where it has several.",
            markup=False,
        )
    if kind.kind == "task":
        _task(out, kind, name)


def _reflowed(text: str) -> str:
    """Join the lines of each paragraph, so that it wraps at the width of the terminal; indented lines and list stay."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        lines = paragraph.splitlines()
        is_prose = not any(line[:1] in (" ", "-", "*") for line in lines)
        paragraphs.append(" ".join(lines) if is_prose else paragraph)
    return "\n\n".join(paragraphs)


def _options(out: Console, model: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    if not model.model_fields:
        out.print("no options")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("option", "type", "default"):
        table.add_column(column, no_wrap=column == "option", overflow="fold")
    table.add_column("what", ratio=1)
    for field_name, field in model.model_fields.items():
        default = "(required)" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        limits = ", ".join(filter(None, (_limit(part) for part in field.metadata)))
        about = "; ".join(filter(None, (field.description, limits)))
        table.add_row(Text(field.alias or field_name), Text(type_name(field.annotation)), Text(default), Text(about))
    out.print(table)


def _task(out: Console, kind: Registry, name: str) -> None:
    from rich.text import Text

    from rl4lms.tasks import build

    target = kind.get(name)
    card = Path(inspect.getfile(target)).with_name("README.md")
    if card.is_file():
        out.print()
        out.print(card.read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    task = build(name)
    out.print(Text(f"First prompts of the train split ({task.edition} edition):", style="bold"))
    for sample in list(task.samples("train"))[:_SAMPLES]:
        reference = f"  →  {sample.references[0]}" if sample.references else ""
        out.print(Text.assemble("  ", (sample.prompt, ""), (reference, "dim")))


def type_name(annotation: Any) -> str:
    """Return a type as people write it: `int`, `float | None`, `left | right`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if arguments and origin in (typing.Union, type(int | str)):
        return " | ".join(type_name(argument) for argument in arguments)
    if annotation is type(None):
        return "null"
    if arguments:
        kind = "list" if origin is tuple else getattr(origin, "__name__", origin)  # as YAML has it
        return f"{kind} of {', '.join(type_name(a) for a in arguments if a is not ...)}"
    return {"str": "text", "bool": "true | false"}.get(
        getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation))
    )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )


def _limit(part: Any) -> str:
    for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if hasattr(part, attribute):
            return f"{sign} {getattr(part, attribute)}"
    return ""
