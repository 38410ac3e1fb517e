"""Line charts: inline SVG that reads on light and on dark pages, and PNG files."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from markupsafe import Markup, escape

from rl4lms.reporting.page import Chart

# Mid tones: enough contrast on white and on near-black. Dashes tell the lines apart without colour.
COLOURS = ("#2f7fc1", "#d9730d", "#2e9e6b", "#b3509e", "#8a7a1f", "#c0413b")
_DASHES = ((), (5, 2), (1, 1.5), (7, 2, 1.5, 2), (3, 1.5), (9, 3))
# Stands for the text colour while matplotlib draws; the page's own text colour takes its place.
_INK = "#010203"

Point = tuple[float, float | None]


def line_chart(
    title: str,
    series: Mapping[str, Sequence[Point]],
    *,
    x_label: str,
    y_label: str,
    caption: str = "",
    whole_x: bool = True,
    markers: bool = False,
) -> Chart:
    """Return a chart with one line per series.

    Args:
        title: above the chart.
        series: (x, y) by name; points whose y is None or not finite are left out. The place in the mapping gives a
            series its colour.
        x_label, y_label: axes, with their unit.
        caption: below the chart.
        whole_x: whether ticks of the x axis are whole numbers, such as steps.
        markers: whether points are marked.
    """
    settings = {"svg.fonttype": "none", "svg.hashsalt": title, **_colours(_INK)}
    buffer = io.StringIO()
    _draw(settings, buffer, "svg", title, series, x_label, y_label, whole_x, markers)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return Chart(Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)), caption)


def line_image(
    path: Path,
    title: str,
    series: Mapping[str, Sequence[Point]],
    *,
    x_label: str,
    y_label: str,
    whole_x: bool = True,
    markers: bool = False,
) -> None:
    """Write the chart of `line_chart` as a PNG file on white, for model cards and other pages that show no inline
    SVG.
    """
    buffer = io.BytesIO()
    _draw({"savefig.dpi": 160, **_colours("#222222")}, buffer, "png", title, series, x_label, y_label, whole_x, markers)
    path.write_bytes(buffer.getvalue())


def _colours(ink: str) -> dict[str, Any]:
    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    return {"font.family": "sans-serif", "font.size": 9, "text.parse_math": False, **dict.fromkeys(names, ink)}


def _draw(
    settings: Mapping[str, Any],
    target: IO[Any],
    kind: str,
    title: str,
    series: Mapping[str, Sequence[Point]],
    x_label: str,
    y_label: str,
    whole_x: bool,
    markers: bool,
) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(cast(Any, settings)):
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        (FigureCanvasSVG if kind == "svg" else FigureCanvasAgg)(figure)
        axes = figure.add_subplot()
        for i, (name, points) in enumerate(series.items()):
            kept = [(x, y) for x, y in points if y is not None and math.isfinite(y)]
            if not kept:
                continue
            style: Any = {"color": COLOURS[i % len(COLOURS)], "dashes": _DASHES[i % len(_DASHES)], "linewidth": 1.6}
            if markers:
                style |= {"marker": "o", "markersize": 4}
            axes.plot([x for x, _ in kept], [y for _, y in kept], label=name, **style)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=whole_x))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.5, color="#808080")
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8, handlelength=3)
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type")) if kind == "svg" else {"Software": None}
        figure.savefig(target, format=kind, transparent=kind == "svg", metadata=metadata)
