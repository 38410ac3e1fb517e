"""Pages in a real browser: what it complains of, how wide they are, what people would see."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


@dataclass(frozen=True)
class Seen:
    """What a browser saw.

    Attributes:
        errors: lines of its console.
        title: of the page, after everything has run.
        overflow: pixels by which the page is wider than its window.
        found: what the steps wrote down.
    """

    errors: list[str]
    title: str
    overflow: int
    found: dict[str, Any]


def opened(page: str, width: int, folder: Path, steps: str = "") -> Seen:
    """Open a page in a window of some width, its own policy in force.

    Args:
        page: HTML.
        width: pixels; it stands in a frame, since a window has a least width.
        folder: for files.
        steps: JavaScript that is run in the page when it is there: `page` is its document, `found` an object to fill.
    """
    outer = folder / "outer.html"
    outer.write_text(
        f"""<!doctype html><body style="margin:0"><iframe srcdoc="{html.escape(page)}"
        style="width:{width}px;height:3000px;border:0"></iframe><pre id="told"></pre><script>
        const frame = document.querySelector("iframe");
        frame.addEventListener("load", () => {{
          const page = frame.contentDocument, whole = page.documentElement, found = {{}};
          const overflow = whole.scrollWidth - whole.clientWidth;
          {steps}
          document.querySelector("#told").textContent = JSON.stringify({{ title: page.title, overflow, found }});
        }});</script>""",
        encoding="utf-8",
    )
    assert BROWSER is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    flags += ["--enable-logging=stderr", "--virtual-time-budget=5000", f"--window-size={max(width, 500)},3000"]
    command = [BROWSER, *flags, "--dump-dom", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stderr
    assert told[1], done.stderr
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(errors, **json.loads(html.unescape(told[1])))
