"""`rl4lms demo`: the paper's comparison in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example:  rl4lms demo --output demo"


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the report, the numbers and the runs.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A few iterations only: shows that everything works, not what RL does.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier demo in that folder.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time, one core each.")] = 2,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Compare zero-shot, Supervised, PPO, NLPO, Supervised+PPO and Supervised+NLPO on a small task, in a few
    minutes.
    """
    from rl4lms.cli import common
    from rl4lms.studies.demo import run

    folder = run(output, quick=quick, force=force, jobs=jobs, console=common.console(), progress=not quiet)
    common.console().print(
        f"\nreport   {folder / 'report.html'}\nnumbers  {folder / 'results.json'}", markup=False, soft_wrap=True
    )
