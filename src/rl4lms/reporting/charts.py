"""Line charts as inline SVG that reads on light and on dark pages."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from rl4lms.reporting.page import Chart

# Mid tones: enough contrast on white and on near-black. Dashes tell the lines apart without colour.
COLOURS = ("#2f7fc1", "#d9730d", "#2e9e6b", "#b3509e", "#8a7a1f", "#c0413b")
_DASHES = ((), (5, 2), (1, 1.5), (7, 2, 1.5, 2), (3, 1.5), (9, 3))
# Stands for the text colour while matplotlib draws; the page's own text colour takes its place.
_INK = "#010203"

Point = tuple[float, float | None]


def line_chart(title: str, series: Mapping[str, Sequence[Point]], *, x_label: str, y_label: str, caption: str = "") -> Chart:
    """A chart with one line per series.

    Args:
        title: above the chart.
        series: (x, y) by name; points whose y is None or not finite are left out. The place in the mapping gives a series its colour.
        x_label, y_label: axes, with their unit.
        caption: below the chart.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    settings: Any = {
        "svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif", "font.size": 9,
        "text.color": _INK, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
        "text.parse_math": False,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for i, (name, points) in enumerate(series.items()):
            kept = [(x, y) for x, y in points if y is not None and math.isfinite(y)]
            if not kept:
                continue
            style = {"color": COLOURS[i % len(COLOURS)], "dashes": _DASHES[i % len(_DASHES)], "linewidth": 1.6}
            axes.plot([x for x, _ in kept], [y for _, y in kept], label=name, **style)  # type: ignore[arg-type]
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.5, color="#808080")
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8, handlelength=3)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return Chart(Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)), caption)
