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
    """Running text; a `lead` is what the page says in short, and is set larger."""

    text: str
    lead: bool = False
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True, slots=True)
class Preformatted:
    """Text whose line breaks count, such as commands."""

    text: str
    kind: ClassVar[str] = "preformatted"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table that is more than a text.

    Attributes:
        text: what it says.
        small: a second line in small type, such as `± 0.012`.
        strong: whether it is set in bold, as the best value of its column.
        pieces: the text in pieces, with whether each is marked; in place of `text`.
    """

    text: str = ""
    small: str = ""
    strong: bool = False
    pieces: Sequence[tuple[str, bool]] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table. The first column names the row; on narrow screens every row becomes a card.

    Attributes:
        columns: headings.
        rows: as many cells as columns; or one cell, which then heads the rows below it.
        caption: above the table.
        note: below it.
        numeric: align all but the first column to the right, in figures of equal width.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str = ""
    note: str = ""
    numeric: bool = True
    kind: ClassVar[str] = "table"

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, every cell as a `Cell`."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart made by `line_chart` or `dot_plot`; `svg` is ours and is not escaped."""

    title: str
    svg: Markup
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts that share a row where there is room, and one legend.

    Attributes:
        charts: in order.
        legend: (sample of the line, name) of each series; the sample is made by `line_sample` and is not escaped.
    """

    charts: Sequence[Chart]
    legend: Sequence[tuple[Markup, str]] = ()
    kind: ClassVar[str] = "charts"


Block = Paragraph | Preformatted | Table | Charts


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it. Without a title it stands below the heading of the page."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


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
