"""Learning curves as a matplotlib figure, for scripts and notebooks."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rl4lms.reporting.charts import running_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3
_SMOOTHED = 20  # points from which on a running mean is drawn
_COLOUR = "#1f6feb"


def curves(series: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Draw one chart for each log key: its values faint, and a running mean on top where there are many.

    Args:
        series: (iteration, value) by log key.

    Returns:
        A figure that a notebook shows when it is the value of a cell, without pyplot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    class Shown(Figure):
        """A figure that shows itself: notebooks know others only once pyplot is imported."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=110)
            return buffer.getvalue()

    columns = max(1, min(_COLUMNS, len(series)))
    rows = max(1, math.ceil(len(series) / columns))
    figure = Shown(figsize=(4.2 * columns, 2.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (key, points) in enumerate(series.items(), 1):
        axes = figure.add_subplot(rows, columns, place)
        steps, values = [step for step, _ in points], [value for _, value in points]
        many = len(points) >= _SMOOTHED
        axes.plot(
            steps,
            values,
            color=_COLOUR,
            alpha=0.3 if many else 1.0,
            linewidth=1.2,
            marker="" if many else "o",
            markersize=3,
        )
        if many:
            axes.plot(steps, running_mean(values, len(values) // 10), color=_COLOUR, linewidth=1.8)
        axes.set_title(key, fontsize=10, loc="left")
        axes.set_xlabel("iteration", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.5, color="#808080")
    return figure
