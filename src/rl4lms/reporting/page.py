"""Pages from plain parts. A page is one file: the style sheet and the charts are inside, and it loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True, slots=True)
class Preformatted:
    """Text whose line breaks count, such as commands."""

    text: str
    kind: ClassVar[str] = "preformatted"


@dataclass(frozen=True, slots=True)
class Table:
    """A table; cells are text. The first column names the row.

    Attributes:
        columns: headings.
        rows: as many cells as columns; or one cell, which then heads the rows below it.
        caption: above the table.
        note: below it.
        numeric: align all but the first column to the right, in figures of equal width.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    note: str = ""
    numeric: bool = True
    kind: ClassVar[str] = "table"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart made by `line_chart`; `svg` is ours and is not escaped."""

    svg: Markup
    caption: str = ""
    kind: ClassVar[str] = "chart"


Block = Paragraph | Preformatted | Table | Chart


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it. Consecutive charts share a row where there is room."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    @property
    def groups(self) -> list[list[Block]]:
        """The blocks, charts that follow each other together."""
        groups: list[list[Block]] = []
        for block in self.blocks:
            if groups and isinstance(block, Chart) and isinstance(groups[-1][-1], Chart):
                groups[-1].append(block)
            else:
                groups.append([block])
        return groups


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("rl4lms.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(title: str, sections: Sequence[Section], *, subtitle: str = "") -> str:
    """Return a complete HTML document.

    Args:
        title: of the page; escaped, like every text.
        sections: what it shows, in order.
        subtitle: one line below the title.
    """
    environment = _environment()
    source, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    template = environment.get_template("base.html")
    return template.render(title=title, subtitle=subtitle, sections=sections, style=Markup(source))
