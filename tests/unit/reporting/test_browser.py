"""The browser of texts: what is in the page, and what a person sees of it in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from rl4lms import reporting
from rl4lms.reporting import Browser, Cell, Cloud, LinePlot, Section, Table
from tests.chromium import needs_chromium, opened

HOSTILE = "</script><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">\u2028&amp;"


def browser() -> Browser:
    rows = [
        {
            "id": f"test-{i}",
            "prompt": HOSTILE if i == 0 else f"prompt {i}",
            "references": ["a reference"],
            "texts": ["the old text stays", "the new text stays" if i else None],
            "values": [[i / 10, None], [1 - i / 10, 0.5] if i else []],
        }
        for i in range(25)
    ]
    return Browser("made up", ["one", "<b>two</b>"], [("meteor", True), ("ter", False)], rows)


def document() -> str:
    table = Table(["system", "score"], [["one", Cell("0.5", "± 0.1", bar=(0.0, 0.5, 2.0))]])
    cloud = {"one": Cloud([(0.0, 1.0), (1.0, 2.0)]), "two": Cloud([])}
    charts = reporting.scatter_charts([(LinePlot("map", "x", "y", whole_x=False), cloud)])
    return reporting.page("Page", [Section("Both, at once", [table, charts]), Section("Texts", [browser()])])


def test_only_our_script_may_run_and_texts_end_no_element():
    html = document()
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert json.loads(data)["rows"][0]["prompt"] == HOSTILE
    assert not set("<>&\u2028") & set(data)
    without = reporting.page("Page", [Section("", [])])
    assert "script-src 'none'" in without
    assert "<script" not in without


def test_bars_stay_in_their_column_and_sections_have_addresses():
    html = document()
    assert '<line x1="2.0" y1="4" x2="98.0" y2="4"/>' in html
    assert '<section id="both-at-once">' in html
    page = reporting.page("Page", [], links=[("<b>", "#x"), ("other", "other.html")])
    assert '<a href="#x">&lt;b&gt;</a><a href="other.html">other</a>' in page


def test_the_mean_of_runs_is_the_large_point():
    assert Cloud([(0.0, 1.0), (1.0, 2.0), (2.0, 6.0)]).mean == (1.0, 3.0)


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
def test_people_filter_sort_and_compare(width, tmp_path):
    steps = """
      const root = page.querySelector(".browser"), [find] = root.querySelectorAll("input");
      const [a, b, metric, order] = root.querySelectorAll("select"), set = (control, value) => {
        control.value = value; control.dispatchEvent(new page.defaultView.Event("input"));
      };
      const ids = () => [...root.querySelectorAll("article > h4:first-child")].map(h => h.textContent);
      found.first = root.querySelector("article p").textContent;
      found.marked = [...root.querySelectorAll("article")[1].querySelectorAll("mark")].map(m => m.textContent);
      found.told = root.querySelector("[aria-live]").textContent;
      set(order, "high"); found.high = ids()[0];
      set(order, "gain"); found.gain = ids()[0];
      set(order, "loss"); found.loss = ids()[0];
      set(metric, "1"); set(order, "low"); found.nothing = ids()[0];
      set(order, "given"); set(find, "PROMPT 7"); found.found = ids();
      set(find, "nowhere"); found.none = root.querySelector("[aria-live]").textContent;
      set(find, ""); root.querySelectorAll("button")[1].click(); found.second = ids().length;
      set(b, "2"); found.all = root.querySelectorAll("article:first-child .texts > div").length;
    """
    seen = opened(document(), width, tmp_path, steps)
    assert seen.errors == []
    assert seen.title == "Page"  # no text ran
    assert seen.overflow == 0
    found = seen.found
    assert found["first"] == HOSTILE
    assert found["marked"] == ["new"]
    assert found["told"] == "1 to 10 of 25 prompts"
    assert found["high"] == "Prompt test-24"
    assert found["gain"] == "Prompt test-1"  # 0.9 - 0.1
    assert found["loss"] == "Prompt test-24"
    assert found["nothing"] == "Prompt test-0"  # none has a value of it
    assert found["found"] == ["Prompt test-7"]
    assert found["none"] == "No prompt and no text has this in it; there are 25."
    assert found["second"] == 10
    assert found["all"] == 2
