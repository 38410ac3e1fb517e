"""Pages from plain parts. A page is one file: the style sheet and the charts are inside, and it loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

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
        bar: an interval and the value in it, as shares of the width of its column: (low, value, high), in [0, 1].
        href: where the text leads, beside the page.
    """

    text: str = ""
    small: str = ""
    strong: bool = False
    pieces: Sequence[tuple[str, bool]] = ()
    bar: tuple[float, float, float] | None = None
    href: str = ""

    @property
    def drawn(self) -> Markup:
        """The bar as SVG; empty where there is none."""
        if self.bar is None:
            return Markup("")
        low, value, high = (round(2 + 96 * min(max(share, 0.0), 1.0), 1) for share in self.bar)
        lines = (
            f'<line x1="{low}" y1="4" x2="{high}" y2="4"/><line class="value" x1="{value}" y1="0" x2="{value}" y2="8"/>'
        )
        return Markup(f'<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none">{lines}</svg>')


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


@dataclass(frozen=True, slots=True)
class Browser:
    """Texts of systems for the same prompts, to filter, sort and compare; what it shows is made by `browser.js`.

    Attributes:
        name: of the set of prompts.
        systems: in order.
        metrics: with whether higher is better.
        rows: of each prompt `id`, `prompt`, `references`, and by the places of the systems `texts` and `values`, which
            hold a number or null for each metric.
        note: below it.
    """

    name: str
    systems: Sequence[str]
    metrics: Sequence[tuple[str, bool | None]]
    rows: Sequence[Mapping[str, Any]]
    note: str = ""
    kind: ClassVar[str] = "browser"

    @property
    def data(self) -> Markup:
        """What the script reads: JSON that ends no element, whatever the texts are."""
        content = {"systems": self.systems, "metrics": self.metrics, "rows": self.rows}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        for sign in "<>&\u2028\u2029":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        return Markup(text)


Block = Paragraph | Preformatted | Table | Charts | Browser


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it. Without a title it stands below the heading of the page."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    @property
    def anchor(self) -> str:
        """Where links lead to it."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("rl4lms.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    links: Sequence[tuple[str, str]] = (),
) -> str:
    """Return a complete HTML document. Where there is a `Browser`, its script is the only one that may run.

    Args:
        title: of the page; escaped, like every text.
        sections: what it shows, in order.
        subtitle: one line below the title.
        links: names and addresses of other pages and of sections (`#anchor`), below the title.
    """
    template = _environment().get_template("base.html")
    has_browser = any(isinstance(block, Browser) for section in sections for block in section.blocks)
    script = _source("browser.js") if has_browser else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        links=links,
        style=Markup(_source("style.css")),
        script=Markup(script),
        allowed=Markup(f"'sha256-{digest}'" if script else "'none'"),
    )


def _source(name: str) -> str:
    environment = _environment()
    source, _, _ = environment.loader.get_source(environment, name)  # type: ignore[union-attr]
    return source
