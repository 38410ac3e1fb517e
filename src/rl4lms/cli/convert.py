"""`rl4lms convert`: files of the original RL4LMs become recipes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example:  rl4lms convert gpt2_ppo.yml  ·  rl4lms convert task_configs --output recipes"
_SUFFIXES = (".yml", ".yaml")


def convert(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files of the original RL4LMs, or folders of them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="The recipe (*.yaml), or a folder for several; by default FILE.recipe.yaml beside each file.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse files with faults instead of repairing them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over recipes that are there.")] = False,
) -> None:
    """Write recipes that do what files of the original RL4LMs (0.2.2) say.

    A recipe has what differs from the defaults, and comments where something was
    decided or repaired. What cannot be converted is refused, with the reason.
    """
    from rl4lms.errors import ConfigError, plural
    from rl4lms.integrations import legacy
    from rl4lms.runs.outputs import check_file
    from rl4lms.runs.storage import write_text

    sources = _sources(files)
    targets = _targets(sources, files, output)
    there = [target for target in targets if target.exists()]
    if there and not force:
        raise ConfigError(f"{there[0]} is there already; name another place with --output, or add --force")
    faulty, refused = 0, []
    for source, target in zip(sources, targets, strict=True):
        try:
            found = legacy.convert(source, strict)
            text = legacy.recipe_text(found, target)
        except ConfigError as error:
            refused.append(source)
            print(f"{source}: refused", file=sys.stderr)
            for line in str(error).splitlines():
                print(f"error: {line}", file=sys.stderr)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        check_file(target, "--output")
        write_text(target, text)
        faulty += bool(found.notes.faults)
        print(f"{source} -> {target}")
        for line in legacy.report(found, everything=len(sources) == 1):
            print(line)
    if len(sources) > 1:
        print(
            f"{plural(len(sources) - len(refused), 'file')} converted, {faulty} of them with faults that are repaired"
        )
        print("what was decided stands in the recipes, as comments")
    if refused:
        print(f"{plural(len(refused), 'file')} refused", file=sys.stderr)
        raise typer.Exit(2)


def _sources(files: list[Path]) -> list[Path]:
    """Return the files of the original among those that are named, and in folders that are named.

    Raises:
        ConfigError: one is not there, or none of the original's; or there is none in a folder.
    """
    from rl4lms.config.reader import read_file
    from rl4lms.errors import ConfigError
    from rl4lms.integrations import legacy

    found: list[Path] = []
    for path in files:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and _is_meant(file))
            if not inside:
                raise ConfigError(f"{path}: no YAML file of the original RL4LMs is in it")
            found += inside
        elif legacy.is_original(path):
            found.append(path)
        else:
            read_file(path)  # says why it cannot be read
            raise ConfigError(f"{path}: is no file of the original RL4LMs, which have the keys datapool and alg")
    return list(dict.fromkeys(found))


def _is_meant(file: Path) -> bool:
    """Return whether a file of a folder is to be converted; one that cannot be says so when its turn comes."""
    from rl4lms.errors import ConfigError
    from rl4lms.integrations import legacy

    try:
        return legacy.is_original(file)
    except ConfigError:
        return True


def _targets(sources: list[Path], files: list[Path], output: Path | None) -> list[Path]:
    """Return where each recipe goes; in a folder, files keep the folders that they are in.

    Raises:
        ConfigError: a file is named for several recipes, or two would go to the same place.
    """
    from rl4lms.errors import ConfigError

    if output is None:
        return [source.with_suffix(".recipe.yaml") for source in sources]
    if output.suffix in _SUFFIXES:
        if len(sources) > 1:
            raise ConfigError(f"--output {output}: one file for {len(sources)} recipes; name a folder")
        return [output]
    root = files[0] if len(files) == 1 and files[0].is_dir() else Path(os.path.commonpath([s.parent for s in sources]))
    targets = [output / source.relative_to(root).with_suffix(".yaml") for source in sources]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise ConfigError(f"--output {output}: two files would become {twice}; convert them one by one")
    return targets
