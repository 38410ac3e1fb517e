"""`rl4lms show`: one component, recipe or setting in full."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl4lms import recipes

if TYPE_CHECKING:
    from rich.console import Console

    from rl4lms.plugins.registry import Registry

EPILOG = "Example:  rl4lms show nlpo  ·  rl4lms show imdb-mini-ppo  ·  rl4lms show rollout.top_p"

_SAMPLES = 3


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Of a component, a recipe or a setting (model.lora); or path/to/file.py:name."
        ),
    ],
) -> None:
    """Explain a reward, metric, task, algorithm, recipe or setting: what it is, and its options."""
    from rl4lms.cli import common
    from rl4lms.config.reference import setting_names
    from rl4lms.plugins import registry
    from rl4lms.plugins.files import is_path, load
    from rl4lms.plugins.options import signature_model
    from rl4lms.plugins.registry import unknown

    out = common.console()
    if _setting(out, name):
        return
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
        known = {known for kind in kinds for known in kind.names()} | set(recipes.names()) | setting_names()
        raise unknown("name", name, known)
    for position, kind in enumerate(found):
        if position:
            out.print()
        _component(out, kind, name)


def _setting(out: Console, name: str) -> bool:
    """Print a block of a recipe, or one key of it; False where there is none of that path."""
    from rich.text import Text

    from rl4lms.config.reference import blocks, keys

    known = dict(blocks())
    if name in known and name:
        out.print(Text.assemble((name, "bold"), "  block of a recipe"))
        out.print(f"\n{_reflowed(inspect.getdoc(known[name]) or '')}\n", markup=False)
        _options(out, known[name])
        return True
    block, _, key = name.rpartition(".")
    found = [one for one in keys(known[block]) if one.name == key] if block in known and (block or key) else []
    if not found or (not block and key in known):
        return False
    one = found[0]
    out.print(Text.assemble((name, "bold"), f"  {one.kind}, by default {one.default}"))
    out.print(f"\n{one.about}", markup=False)
    return True


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

    from rl4lms.config.reference import keys

    if not model.model_fields:
        out.print("no options")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("option", "type", "default"):
        table.add_column(column, no_wrap=column == "option", overflow="fold")
    table.add_column("what", ratio=1)
    for key in keys(model):
        table.add_row(*(Text(cell) for cell in key))
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
    if task.edition == "full":  # real data: reading them may be a download of gigabytes
        return
    out.print(Text(f"First prompts of the train split ({task.edition} edition):", style="bold"))
    for sample in list(task.samples("train"))[:_SAMPLES]:
        reference = f"  →  {sample.references[0]}" if sample.references else ""
        out.print(Text.assemble("  ", (sample.prompt, ""), (reference, "dim")))
