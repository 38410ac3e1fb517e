from __future__ import annotations

import ast
import functools
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rl4lms import reporting
from rl4lms.reporting import (
    Cell,
    Charts,
    Dot,
    LinePlot,
    Paragraph,
    Preformatted,
    Section,
    Table,
    changed_words,
    dot_plot,
    line_chart,
    line_charts,
    page,
    running_mean,
)
from rl4lms.reporting.charts import COLOURS, Cloud, line_sample, scatter_charts

HOSTILE = [
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "{{7*7}} {% raw %} ${x}",
    "--> <!-- & &amp; ' \"",
    "</pre></td></svg>",
    "\u202eevil\u0000text",
]


class Reader(HTMLParser):
    """Text and tags as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.attributes = "", [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text += data


@functools.cache
def everywhere(text: str) -> str:
    """A page that has the text in every place that takes one."""
    plot = LinePlot(text, text, text, text, faint={text: [[(0, 1.0), (1, 3.0)]]})
    lines = line_charts([(plot, {text: [(0, 1.0), (1, 2.0)], "other": [(0, 1.0)]})])
    dots = dot_plot(text, [Dot(text, 1.0, 0.5, 2.0)], x_label=text, caption=text, zero=True)
    cells = [Cell(text, text, strong=True), Cell(pieces=[(text, True), (text, False)])]
    blocks = [
        Paragraph(text),
        Preformatted(text),
        Table([text], [[text]], text, text),
        Table([text, text], [[text, text], cells, [text]]),
        lines,
        Charts([dots]),
    ]
    return page(text, [Section(text, blocks)], subtitle=text)


@pytest.mark.parametrize("text", HOSTILE)
def test_model_text_shows_literally_and_adds_no_element(text):
    text = text.replace("\0", "")  # matplotlib's font layout cannot draw it; everywhere else it is just text
    hostile, harmless = Reader(everywhere(text)), Reader(everywhere("plain words"))
    assert hostile.tags == harmless.tags
    assert "script" not in hostile.tags
    assert "img" not in hostile.tags
    assert not [name for name in hostile.attributes if name.startswith("on")]
    assert hostile.text.count(text) >= 24
    assert "49" not in hostile.text.replace(text, "").split()


def test_a_page_loads_nothing_and_allows_nothing():
    html = everywhere("x")
    reader = Reader(html)
    assert not {"script", "link", "iframe", "object", "img"} & set(reader.tags)
    assert "default-src 'none'" in html
    addresses = re.findall(r"https?://[^\s\"'<]+", html)
    assert all(address.startswith("http://www.w3.org/") for address in addresses)  # names of XML dialects
    assert "@import" not in html
    assert set(re.findall(r"url\(.", html)) <= {"url(#"}


def test_style_and_charts_are_put_in_as_they_are():
    html = everywhere("x")
    assert ":root { color-scheme: light dark" in html
    assert html.count("<svg role") == 2
    assert html.count('<svg width="34"') == 2  # the legend


def test_nothing_but_our_own_is_marked_safe():
    found = []
    folder = Path(reporting.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Markup":
                found.append(f"{path.name}: {ast.unparse(node.args[0])[:20]}")
    assert sorted(found) == [
        """charts.py: f'<svg width="14" he""",
        """charts.py: f'<svg width="34" he""",
        "charts.py: svg.replace('<svg', ",
        "page.py: ''",
        "page.py: _source('style.css')",
        "page.py: f\"'sha256-{digest}'\"",
        """page.py: f'<svg class="bar" v""",
        "page.py: script",
        "page.py: text",
    ]
    for path in folder.rglob("*.html"):
        assert not re.search(r"\|\s*safe|autoescape", path.read_text(encoding="utf-8"))


SVG = "{http://www.w3.org/2000/svg}"


def texts_of(svg: object) -> set[str]:
    return {"".join(node.itertext()).strip() for node in ElementTree.fromstring(str(svg)).iter(f"{SVG}text")}


def test_charts_have_axes_with_labels_and_follow_the_page_colour():
    lines = {"PPO": [(0, 0.1), (1, 0.2)], "NLPO": [(0, 0.3), (1, 0.1)]}
    plot = LinePlot("Score", "iteration", "nats per token")
    chart = line_chart(plot, lines)
    svg = str(chart.svg)
    assert {"iteration", "nats per token"} <= texts_of(svg)
    assert chart.title == "Score"
    assert 'aria-label="Score"' in svg
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "<!DOCTYPE" not in svg
    assert svg == str(line_chart(plot, lines).svg)


def test_charts_of_a_row_share_one_legend():
    plots = [
        (LinePlot("one", "x", "y"), {"a": [(0, 1.0)], "b": [(0, None)], "c": [(0, 2.0)]}),
        (LinePlot("two", "x", "y"), {"a": [(0, math.nan), (1, 1.0)], "b": [], "c": [(0, 2.0)]}),
    ]
    row = line_charts(plots)
    assert [name for _, name in row.legend] == ["a", "c"]  # b is drawn nowhere
    assert [COLOURS[0] in str(row.legend[0][0]), COLOURS[2] in str(row.legend[1][0])] == [True, True]
    html = page("t", [Section("s", [row])])
    assert html.count('class="legend"') == 1
    assert Reader(html).tags.count("h3") == 2  # every chart has a title
    assert not line_charts([(LinePlot("one", "x", "y"), {"a": [(0, 1.0)]})]).legend
    for chart in row.charts:
        assert "nan" not in str(chart.svg).lower()


def paths_in(svg: object, colour: str) -> int:
    return sum(colour in node.get("style", "") for node in ElementTree.fromstring(str(svg)).iter(f"{SVG}path"))


def test_single_runs_are_faint_behind_their_mean():
    series = {"a": [(0, 1.0), (1, 2.0)]}
    alone = line_chart(LinePlot("t", "x", "y"), series).svg
    faint = {"a": [[(0, 0.0), (1, 1.0)], [(0, 2.0), (1, 3.0)]]}
    behind = line_chart(LinePlot("t", "x", "y", faint=faint), series).svg
    assert paths_in(behind, COLOURS[0]) - paths_in(alone, COLOURS[0]) == 2
    assert str(behind).count("stroke-opacity: 0.3") == 2


def test_a_dot_plot_has_names_and_bars_where_the_error_is_known():
    dots = [Dot("known", 1.0, 0.5, 1.5), Dot("unknown", 2.0, -math.inf, math.inf)]
    chart = dot_plot("Differences", dots, x_label="difference", zero=True)
    assert {"known", "unknown", "difference"} <= texts_of(chart.svg)
    assert "inf" not in texts_of(chart.svg)
    alone = [dot_plot("Differences", [dot], x_label="difference").svg for dot in dots]
    assert paths_in(alone[0], "stroke-width: 2.2") == 1  # the bar
    assert paths_in(alone[1], "stroke-width: 2.2") == 0


def test_a_running_mean_is_cut_on_both_sides_alike():
    line = [2.0 * x for x in range(9)]
    assert running_mean(line, 2) == pytest.approx(line)  # a straight line stays one, to its ends
    assert running_mean([0.0, 3.0, 0.0, 0.0], 1) == [0.0, 1.0, 1.0, 0.0]
    assert running_mean(line, 0) == line
    assert running_mean([], 2) == []


def test_changed_words_are_marked_and_nothing_is_lost():
    pieces = changed_words("the film was  good .", "the film was  a joy .\n")
    assert "".join(text for text, _ in pieces) == "the film was  a joy .\n"
    assert [text for text, marked in pieces if marked] == ["a joy"]
    assert changed_words("same", "same") == [("same", False)]
    assert changed_words("a", "") == []
    assert all(text.strip() for text, marked in changed_words("x y", "p q  r ") if marked)


def test_narrow_screens_have_cards_and_wide_tables_keep_their_first_column():
    html = page("t", [Section("s", [Table(["system", "score ↑"], [["PPO", Cell("0.5", "± 0.1", strong=True)]])])])
    assert 'data-label="score ↑"' in html
    assert "<strong>0.5</strong>" in html
    assert "<small>± 0.1</small>" in html
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "position: sticky" in style
    assert "@media (max-width: 600px)" in style
    assert "@media print" in style


def test_one_name_has_one_colour_and_mark_in_all_charts_also_where_some_lack_it():
    def cloud(x: float) -> Cloud:
        return Cloud([(x, x)])

    plot = LinePlot("map", "x", "y", whole_x=False)
    charts = scatter_charts([(plot, {"a": cloud(1), "b": cloud(2)}), (plot, {"b": cloud(2)}), (plot, {"c": cloud(3)})])
    assert [name for _, name in charts.legend] == ["a", "b", "c"]
    for chart, (there, absent) in zip(charts.charts, (((0, 1), (2,)), ((1,), (0, 2)), ((2,), (0, 1))), strict=True):
        assert all(COLOURS[place] in chart.svg for place in there)
        assert not any(COLOURS[place] in chart.svg for place in absent)
    lines = line_charts([(plot, {"a": [(0, 1.0), (1, 2.0)]}), (plot, {"b": [(0, 1.0), (1, 2.0)]})])
    assert COLOURS[1] in lines.charts[1].svg
    assert COLOURS[0] not in lines.charts[1].svg


def test_no_two_of_many_series_look_alike():
    many = {f"s{place}": Cloud([(1.0, 1.0)]) for place in range(30)}
    samples = [str(sample) for sample, _ in scatter_charts([(LinePlot("map", "x", "y", whole_x=False), many)]).legend]
    assert len(set(samples)) == 30
    assert len({str(line_sample(place)) for place in range(30)}) == 30
