"""Every HTML page that the library writes: one base page, one style sheet, one chart helper, one escaping rule.

The rule: all text is escaped by the template engine, whatever it is and wherever it comes from. Completions are written
by models and count as hostile. Only the charts and the style sheet, which this package makes itself, are put in as they
are.
"""

from __future__ import annotations

from rl4lms.reporting.changes import changed_words
from rl4lms.reporting.charts import (
    Cloud,
    Dot,
    LinePlot,
    dot_plot,
    line_chart,
    line_charts,
    running_mean,
    scatter_charts,
)
from rl4lms.reporting.page import Block, Browser, Cell, Chart, Charts, Paragraph, Preformatted, Section, Table, page

__all__ = [
    "Block",
    "Browser",
    "Cell",
    "Chart",
    "Charts",
    "Cloud",
    "Dot",
    "LinePlot",
    "Paragraph",
    "Preformatted",
    "Section",
    "Table",
    "changed_words",
    "dot_plot",
    "line_chart",
    "line_charts",
    "page",
    "running_mean",
    "scatter_charts",
]
