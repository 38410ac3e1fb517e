"""Line charts and dot plots: inline SVG that reads on light and on dark pages, and PNG files."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from markupsafe import Markup, escape

from rl4lms.reporting.page import Chart, Charts

# Mid tones: enough contrast on white and on near-black. Dashes tell the lines apart without colour.
COLOURS = ("#2f7fc1", "#d9730d", "#2e9e6b", "#b3509e", "#8a7a1f", "#c0413b")
# Of matplotlib, and as a path of 12 by 12 for legends.
_MARKERS = (
    ("o", "M6 1a5 5 0 1 0 .01 0z"),
    ("s", "M1.5 1.5h9v9h-9z"),
    ("^", "M6 1l5 10H1z"),
    ("D", "M6 0l6 6-6 6-6-6z"),
    ("v", "M6 11L1 1h10z"),
    ("P", "M4 0h4v4h4v4H8v4H4V8H0V4h4z"),
)
_DASHES = ((), (5, 2), (1, 1.5), (7, 2, 1.5, 2), (3, 1.5), (9, 3))
# Stands for the text colour while matplotlib draws; the page's own text colour takes its place.
_INK = "#010203"

Point = tuple[float, float | None]
T = TypeVar("T")


def _of(kinds: Sequence[T], place: int) -> T:
    """Return the dashes or the mark of a series: after each round of colours the next, so that no two look alike."""
    return kinds[(place + place // len(COLOURS)) % len(kinds)]


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of a dot plot: a value with its interval; infinite ends are not drawn."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LinePlot:
    """What one line chart shows, beside its lines.

    Attributes:
        title: above the chart.
        x_label, y_label: axes, with their unit.
        caption: below the chart.
        whole_x: whether ticks of the x axis are whole numbers, such as steps.
        markers: whether points are marked.
        faint: by series: lines that are drawn in its colour behind it, such as single runs behind their mean.
    """

    title: str
    x_label: str
    y_label: str
    caption: str = ""
    whole_x: bool = True
    markers: bool = False
    faint: Mapping[str, Sequence[Sequence[Point]]] = field(default_factory=dict)


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Return the mean of each value and at most `width` values on either side, as many on both, so that no curve is
    shifted.
    """
    found = []
    for place in range(len(values)):
        reach = min(width, place, len(values) - 1 - place)
        window = values[place - reach : place + reach + 1]
        found.append(sum(window) / len(window))
    return found


def line_chart(plot: LinePlot, series: Mapping[str, Sequence[Point]]) -> Chart:
    """Return a chart with one line per series; its legend is that of `line_charts`.

    Args:
        plot: how it looks.
        series: (x, y) by name; points whose y is None or not finite are left out. The place in the mapping gives a
            series its colour.
    """
    return Chart(plot.title, _svg(plot.title, lambda axes: _draw_lines(axes, plot, series), (4.0, 2.7)), plot.caption)


def line_charts(plots: Sequence[tuple[LinePlot, Mapping[str, Sequence[Point]]]]) -> Charts:
    """Return charts in a row with one legend.

    Args:
        plots: each with its series. One name has one colour in all charts, also where some lack it; a series without
            points is not drawn.
    """
    names = list(dict.fromkeys(name for _, series in plots for name in series))
    plots = [(plot, {name: series.get(name, ()) for name in names}) for plot, series in plots]
    drawn = {name for _, series in plots for name, points in series.items() if _kept(points)}
    legend = [(line_sample(i), name) for i, name in enumerate(names) if name in drawn]
    return Charts([line_chart(plot, series) for plot, series in plots], legend if len(names) > 1 else ())


def line_sample(place: int) -> Markup:
    """Return a short piece of the line of a series, for a legend."""
    dashes = " ".join(str(2 * length) for length in _of(_DASHES, place))
    colour = COLOURS[place % len(COLOURS)]
    line = f'<line x1="0" y1="5" x2="34" y2="5" stroke="{colour}" stroke-width="3" stroke-dasharray="{dashes}"/>'
    return Markup(f'<svg width="34" height="10" aria-hidden="true">{line}</svg>')


def line_image(path: Path, plot: LinePlot, series: Mapping[str, Sequence[Point]]) -> None:
    """Write the chart of `line_chart` with its title and legend as a PNG file on white, for model cards and other pages
    that show no inline SVG.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with matplotlib.rc_context(cast(Any, {"savefig.dpi": 160, **_colours("#222222", 9)})):
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw_lines(axes, plot, series)
        axes.set_title(plot.title, fontsize=10, loc="left")
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8, handlelength=3)
        figure.savefig(buffer, format="png", metadata={"Software": cast(Any, None)})
    path.write_bytes(buffer.getvalue())


def dot_plot(title: str, dots: Sequence[Dot], *, x_label: str, caption: str = "", zero: bool = False) -> Chart:
    """Return a chart with one value per row, its interval as a bar, and its name above it, where narrow screens have
    room for it. It is in the colour of the text: others belong to the series of line charts.

    Args:
        title: above the chart.
        dots: the rows, from top to bottom.
        x_label: of the axis, with its unit.
        caption: below the chart.
        zero: whether a line stands at 0, as for differences.
    """

    def draw(axes: Any) -> None:
        for i, dot in enumerate(dots):
            y = -float(i)
            ends = [end for end in (dot.low, dot.high) if math.isfinite(end)]
            if len(ends) == 2:
                axes.plot(ends, [y, y], color=_INK, linewidth=2.2, solid_capstyle="butt", marker="|", markersize=8)
            axes.plot([dot.value], [y], color=_INK, marker="o", markersize=7)
            axes.text(0.005, y + 0.26, dot.name, transform=axes.get_yaxis_transform(), va="bottom", ha="left")
            if zero:  # beside each dot, so that no line runs through the names
                axes.plot([0, 0], [y - 0.26, y + 0.2], color="#808080", linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        axes.set_ylim(-len(dots) + 0.5, 0.85)
        axes.set_yticks([])
        axes.margins(x=0.08)
        axes.set_xlabel(x_label)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25, linewidth=0.5, color="#808080")

    return Chart(title, _svg(title, draw, (4.6, 0.75 + 0.5 * len(dots))), caption)


@dataclass(frozen=True, slots=True)
class Cloud:
    """A series of a scatter chart: its runs as small points, and their mean as a large one."""

    runs: Sequence[tuple[float, float]]

    @property
    def mean(self) -> tuple[float, float]:
        """The middle of the runs."""
        xs, ys = zip(*self.runs, strict=True)
        return sum(xs) / len(xs), sum(ys) / len(ys)


def scatter_charts(plots: Sequence[tuple[LinePlot, Mapping[str, Cloud]]]) -> Charts:
    """Return charts of one value against another in a row, with one legend.

    Args:
        plots: each with its series. One name has one colour and mark in all charts, also where some lack it; a series
            without runs is not drawn.
    """
    names = list(dict.fromkeys(name for _, series in plots for name in series))
    legend = [(_marker_sample(i), name) for i, name in enumerate(names)]

    def chart(plot: LinePlot, series: Mapping[str, Cloud]) -> Chart:
        def draw(axes: Any) -> None:
            for name, cloud in series.items():
                if not cloud.runs:
                    continue
                i = names.index(name)
                style: Any = {"color": COLOURS[i % len(COLOURS)], "marker": _of(_MARKERS, i)[0], "ls": ""}
                axes.plot(*zip(*cloud.runs, strict=True), markersize=4, alpha=0.4, **style)
                axes.plot(*([value] for value in cloud.mean), markersize=9, **style)
            _finish(axes, plot)

        return Chart(plot.title, _svg(plot.title, draw, (4.0, 3.0)), plot.caption)

    return Charts([chart(plot, series) for plot, series in plots], legend)


def _marker_sample(place: int) -> Markup:
    colour, (_, path) = COLOURS[place % len(COLOURS)], _of(_MARKERS, place)
    return Markup(
        f'<svg width="14" height="12" viewBox="0 0 12 12" aria-hidden="true"><path d="{path}" fill="{colour}"/></svg>'
    )


def _colours(ink: str, size: float) -> dict[str, Any]:
    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    return {"font.family": "sans-serif", "font.size": size, "text.parse_math": False, **dict.fromkeys(names, ink)}


def _svg(title: str, draw: Any, size: tuple[float, float]) -> Markup:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {"svg.fonttype": "none", "svg.hashsalt": title, **_colours(_INK, 11)}
    buffer = io.StringIO()
    with matplotlib.rc_context(cast(Any, settings)):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        metadata: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(cast(IO[Any], buffer), format="svg", transparent=True, metadata=metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1))


def _kept(points: Iterable[Point]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if y is not None and math.isfinite(y)]


def _draw_lines(axes: Any, plot: LinePlot, series: Mapping[str, Sequence[Point]]) -> None:
    for i, (name, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        for line in plot.faint.get(name, ()):
            raw = _kept(line)
            axes.plot([x for x, _ in raw], [y for _, y in raw], color=colour, linewidth=1, alpha=0.3)
        kept = _kept(points)
        if not kept:
            continue
        style: Any = {"color": colour, "dashes": _of(_DASHES, i), "linewidth": 1.8}
        if plot.markers:
            style |= {"marker": "o", "markersize": 4}
        axes.plot([x for x, _ in kept], [y for _, y in kept], label=name, **style)
    _finish(axes, plot)


def _finish(axes: Any, plot: LinePlot) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=plot.whole_x))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5, color="#808080")
