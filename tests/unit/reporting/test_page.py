from __future__ import annotations

import ast
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rl4lms import reporting
from rl4lms.reporting import Chart, Paragraph, Preformatted, Section, Table, line_chart, page

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


def everywhere(text: str) -> str:
    """A page that has the text in every place that takes one."""
    chart = line_chart(
        text, {text: [(0, 1.0), (1, 2.0)], "other": [(0, 1.0)]}, x_label=text, y_label=text, caption=text
    )
    blocks = [
        Paragraph(text),
        Preformatted(text),
        Table([text], [[text]], text, text),
        Table([text, text], [[text, text]]),
        chart,
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
    assert hostile.text.count(text) >= 11
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
    assert html.count("<svg") == 1


def test_nothing_but_our_own_is_marked_safe():
    found = []
    folder = Path(reporting.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Markup":
                found.append(f"{path.name}: {ast.unparse(node.args[0])[:20]}")
    assert sorted(found) == ["charts.py: svg.replace('<svg', ", "page.py: source"]
    for path in folder.rglob("*.html"):
        assert not re.search(r"\|\s*safe|autoescape", path.read_text(encoding="utf-8"))


def test_charts_have_axes_with_labels_and_follow_the_page_colour():
    lines = {"PPO": [(0, 0.1), (1, 0.2)], "NLPO": [(0, 0.3), (1, 0.1)]}
    chart = line_chart("Score", lines, x_label="iteration", y_label="nats per token")
    svg = str(chart.svg)
    root = ElementTree.fromstring(svg)  # well-formed
    texts = {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Score", "PPO", "NLPO", "iteration", "nats per token"} <= texts
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "<!DOCTYPE" not in svg
    assert svg == str(line_chart("Score", lines, x_label="iteration", y_label="nats per token").svg)


def test_missing_points_are_left_out_and_empty_series_too():
    chart = line_chart(
        "t", {"a": [(0, None), (1, math.nan), (2, 1.0)], "b": [(0, None)], "c": [(0, 2.0)]}, x_label="x", y_label="y"
    )
    texts = {
        "".join(node.itertext()).strip()
        for node in ElementTree.fromstring(str(chart.svg)).iter("{http://www.w3.org/2000/svg}text")
    }
    assert {"a", "c"} <= texts
    assert "b" not in texts
    assert "nan" not in str(chart.svg).lower()


def test_charts_in_a_row_share_one():
    chart = Chart(line_chart("t", {"a": [(0, 1.0)]}, x_label="x", y_label="y").svg)
    section = Section("s", [Paragraph("a"), chart, chart, Paragraph("b"), chart])
    assert [len(group) for group in section.groups] == [1, 2, 1, 1]
