"""Every HTML page that the library writes: one base page, one style sheet, one chart helper, one escaping rule.

The rule: all text is escaped by the template engine, whatever it is and wherever it comes from. Completions are written
by models and count as hostile. Only the charts and the style sheet, which this package makes itself, are put in as they
are.
"""

from __future__ import annotations

from rl4lms.reporting.charts import line_chart
from rl4lms.reporting.page import Block, Chart, Paragraph, Preformatted, Section, Table, page

__all__ = ["Block", "Chart", "Paragraph", "Preformatted", "Section", "Table", "line_chart", "page"]
