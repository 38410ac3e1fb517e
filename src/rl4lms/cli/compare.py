"""`rl4lms compare`: runs against each other, prompt by prompt; and what it shares with `rl4lms report`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rl4lms.studies.compare import Comparison

EPILOG = "Example:  rl4lms compare PPO=runs/ppo-seed0 PPO=runs/ppo-seed1 runs/nlpo-* --html compare.html"

Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="[LABEL=]RUN... [evaluation.KEY=VALUE]...",
        help="Run folders, or files of `rl4lms evaluate --output`. Runs of one recipe, or of one label, are one "
        "system. Settings are for --evaluate.",
    ),
]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="Show this metric; the first one counts most (repeat the option).")
]
Evaluate = Annotated[
    bool, typer.Option("--evaluate", help="Decode every run again, instead of comparing what it has kept.")
]
Splits = Annotated[
    Literal["train", "validation", "test"] | None,
    typer.Option(help="With --evaluate: which prompts; by default as the recipes say.", show_default=False),
]
Keep = Annotated[Path | None, typer.Option(help="With --evaluate: keep the evaluations in this new folder.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write a page to this file.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", help="Write Markdown to this file.")]
Imports = Annotated[
    list[Path] | None,
    typer.Option(
        "--import", help="With --evaluate: execute this Python file first, for what it registers (repeat the option)."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="With --evaluate: show no progress.")]


def compare(
    targets: Targets,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL|start",
            help="The system that others are compared with, by default the first; `start`: the model before training.",
            show_default=False,
        ),
    ] = None,
    metric: Metrics = None,
    evaluate: Evaluate = False,
    split: Splits = None,
    keep: Keep = None,
    html: Html = None,
    markdown: Markdown = None,
    imports: Imports = None,
    quiet: Quiet = False,
) -> None:
    """Compare runs on the same prompts: differences with errors, curves, texts side by side."""
    settings = prepare(targets, metric, evaluate, split, keep, html, markdown, imports, quiet)
    from rl4lms.studies.compare import compare as compare_runs

    give(functools.partial(compare_runs, against=against, **settings), html, markdown, quiet)


def prepare(
    targets: Sequence[str],
    metric: Sequence[str] | None,
    evaluate: bool,
    split: str | None,
    keep: Path | None,
    html: Path | None,
    markdown: Path | None,
    imports: Sequence[Path] | None,
    quiet: bool,
) -> dict[str, Any]:
    """Check the options of both verbs, and return the arguments of `rl4lms.studies.compare.compare`.

    Raises:
        ConfigError: an option has no effect, or a file cannot be written.
    """
    from rl4lms.cli import common
    from rl4lms.errors import ConfigError
    from rl4lms.runs.layout import refuse_absent_run
    from rl4lms.runs.outputs import check_file

    overrides = [text for text in targets if text.startswith("evaluation.")]
    given = {"--split": split, "--keep": keep, "--import": imports, "--quiet": quiet, "settings": overrides}
    unread = [name for name, value in given.items() if value]
    if unread and not evaluate:
        raise ConfigError(f"{', '.join(unread)}: for runs that are decoded again; add --evaluate, or leave it out")
    for file, option in ((html, "--html"), (markdown, "--markdown")):
        if file is not None:
            check_file(file, option)
    common.run_imports(imports)
    runs = [text for text in targets if not text.startswith("evaluation.")]
    for text in runs:  # before torch is imported, which takes seconds
        label, sign, path = text.partition("=")
        refuse_absent_run(Path(path if sign and label and path and not Path(text).exists() else text))
    if evaluate:
        common.quiet()
    return {
        "runs": runs,
        "metrics": metric or (),
        "evaluate": evaluate,
        "split": split,
        "overrides": overrides,
        "keep": keep,
    }


def give(work: Callable[..., Comparison], html: Path | None, markdown: Path | None, quiet: bool) -> None:
    """Compare, print what was found, and write it to files where asked to."""
    from rl4lms.cli import common
    from rl4lms.runs.display import Display
    from rl4lms.runs.storage import write_text

    with Display(not quiet, texts=False) as display:
        found = work(progress=display.report)
    found.show(common.console())
    if markdown is not None:
        write_text(markdown, found.to_markdown())
        print(f"written to {markdown}")
    if html is not None:
        found.to_html(html)
        print(f"written to {html}")
