"""The tables of docs/from-trl.md: arguments of TRL's configs, and the keys that they became."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "from-trl.md"


def tables() -> dict[str, list[tuple[list[str], list[str]]]]:
    """Arguments and keys of each row, by the config."""
    found: dict[str, list[tuple[list[str], list[str]]]] = {}
    rows: list[tuple[list[str], list[str]]] | None = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if match := re.match(r"argument of (\w+)$", cells[0]):
            rows = found.setdefault(match[1], [])
        elif not line.startswith("|"):
            rows = None
        elif rows is not None and not cells[0].startswith("---"):
            rows.append((re.findall(r"`([\w*]+)`", cells[0]), re.findall(r"`([\w.]+)`", cells[1])))
    return found


def arguments(config: str) -> list[str]:
    """Arguments of a config that have a line."""
    return [name for names, _ in tables()[config] for name in names]
