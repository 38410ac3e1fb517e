"""Raters in a real browser: by mouse, by keyboard, without JavaScript, on a phone, in a script from right to left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rl4lms.human_eval.forms import find_form
from rl4lms.human_eval.outputs import context_of
from tests.chromium import BROWSER, needs_chromium
from tests.human import Made, make_study, outputs, serving, with_form

pytestmark = needs_chromium

ARABIC = {
    "begin": "ابدأ",
    "consent": "لقد قرأت هذا، وعمري 18 عامًا أو أكثر.",
    "item_of": "العنصر {} من {}",
    "done_of": "تم {} من {}",
    "text_n": "النص {}",
    "text": "النص",
    "tie": "كلاهما متساويان",
    "save": "احفظ وتابع",
    "finished": "شكرًا لك!",
}
AXE = os.environ.get("RL4LMS_TEST_AXE", "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser) -> Iterator[Callable[..., Any]]:
    """Opens a page; in the end nothing stood in its console, and nothing was asked of any other server."""
    told: list[str] = []
    contexts = []

    def begin(address: str, expected: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda message: told.append(message.text) if expected not in message.text or not expected else None,
        )
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(address) else told.append(request.url))
        return page

    yield begin
    for context in contexts:
        context.close()
    assert told == []


def rtl(kind: str) -> Any:
    return with_form(find_form(kind, None), language="ar", direction="rtl", title="أي النصين أفضل؟", strings=ARABIC)


def enter(page: Any, address: str, invite: str) -> None:
    """Go from the invitation to the first item, with what the page offers."""
    page.goto(f"{address}/i/{invite}")
    page.click("button.main")
    page.wait_for_url("**/consent")
    page.check("#consent")
    page.click("button.main")
    page.wait_for_url("**/instructions")
    page.click("a.main")
    page.wait_for_url("**/item/1")


def no_overflow(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def items(page: Any) -> Iterator[int]:
    """The items one after the other, until the last page."""
    position = 1
    while "/done" not in page.url:
        page.wait_for_url(f"**/item/{position}")
        no_overflow(page)
        yield position
        position += 1
        page.wait_for_url(lambda url, wanted=position: url.endswith(("/done", f"/item/{wanted}")))


def rate(page: Any, how: str) -> None:
    groups = page.locator("[role=radiogroup]").count()
    if how == "keyboard":
        for _ in range(groups):
            page.keyboard.press("2")
        page.keyboard.press("Enter")
        return
    for number in range(groups):
        page.locator("[role=radiogroup]").nth(number).locator("label").nth(1).click()
    page.click("button.main")


def finish(page: Any, made: Made) -> None:
    no_overflow(page)
    study = made.open()
    assert study.rater(1).code in page.inner_text("main")
    page.fill("#feedback", "All fine <b>.")
    page.click("button.main")
    page.wait_for_url("**/done?saved=1")
    done, planned = study.counts(1)
    assert done == planned > 0
    assert study.progress()[0].feedback == "All fine <b>."


WAYS = {
    "mouse": {},
    "keyboard": {},
    "no script": {"java_script_enabled": False},
    "phone": {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True},
}


@pytest.mark.parametrize(
    "how", [*(pytest.param(way, marks=pytest.mark.slow) for way in WAYS if way != "keyboard"), "keyboard"]
)
def test_a_rater_completes_a_study(tmp_path, tab, how):
    kinds = ["likert"] if how == "keyboard" else ["likert", "pairwise"]
    _complete(tmp_path, tab, how, kinds)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["keyboard", "mouse", "phone"])
def test_a_rater_completes_further_studies(tmp_path, tab, how):
    _complete(tmp_path, tab, how, ["pairwise", "best_worst"] if how == "keyboard" else [rtl("likert"), rtl("pairwise")])


def _complete(tmp_path: Path, tab: Callable[..., Any], how: str, forms: list[Any]) -> None:
    for number, form in enumerate(forms):
        texts = outputs(2, ("a", "b", "c"))
        made = make_study(tmp_path / f"{number}.sqlite", form, texts=texts, items=2, per_item=1, raters=1)
        with serving(made.where) as server:
            page = tab(server.address, **WAYS[how])
            enter(page, server.address, made.created.invites[0])
            for _ in items(page):
                if how == "keyboard" and made.form.kind == "best_worst":
                    page.keyboard.press("1")
                    page.keyboard.press("3")
                    page.keyboard.press("Enter")
                elif made.form.kind == "best_worst":
                    page.click("label:has(#best-1)")
                    page.click("label:has(#worst-2)")
                    page.click("button.main")
                else:
                    rate(page, how)
            finish(page, made)


@pytest.mark.slow
def test_keys_choose_a_tie_and_fields_keep_their_digits(tmp_path, tab):
    made = make_study(tmp_path / "s.sqlite", with_form(find_form("commongen-pairwise", None), tie=True, practice=()))
    with serving(made.where) as server:
        page = tab(server.address)
        enter(page, server.address, made.created.invites[0])
        for key, value in {"2": "2", "0": "tie", "1": "1", "t": "tie"}.items():
            page.locator("#choice-1").focus()
            page.keyboard.press(key)
            assert page.locator("input:checked").get_attribute("value") == value
        page.locator("#reason-1").focus()
        page.keyboard.type("12\n0 t")
        assert page.locator("#reason-1").input_value() == "12\n0 t"
        assert page.locator("input:checked").get_attribute("value") == "tie"
        page.close()


@pytest.mark.slow
def test_drafts_time_and_waiting(tmp_path, tab):
    form = with_form(find_form("translation-likert", None), wait_seconds=2)
    made = make_study(tmp_path / "s.sqlite", form)
    with serving(made.where) as server:
        page = tab(server.address)
        enter(page, server.address, made.created.invites[0])
        save = page.locator("button.main")
        assert save.is_disabled()
        page.click("label:has(#fluency-3)")
        # words that are selected go into a row
        page.evaluate("""() => { const text = document.querySelector('.output').firstChild, range = document.createRange();
            range.setStart(text, 2); range.setEnd(text, 6); getSelection().removeAllRanges(); getSelection().addRange(range); }""")
        page.click("button.mark")
        page.locator("select").first.select_option("added")
        page.wait_for_selector("#draft:not(:empty)")
        assert page.inner_text("#draft") == form.word("draft_saved")
        page.reload()
        assert page.locator("#fluency-3").is_checked()
        assert page.locator("#errors-1").input_value() == "text"
        page.wait_for_selector("button.main:enabled")
        page.click("label:has(#adequacy-1)")
        page.click("button.main")
        page.wait_for_url("**/item/2")
        (rating,) = made.open().ratings()
        assert rating.answers == {"fluency": 3, "adequacy": 1, "errors": [{"words": "text", "kind": "added"}]}
        assert 1.5 < rating.seconds < 60
        page.go_back()
        assert page.locator("#fluency-3").is_checked()
        page.close()


@pytest.mark.slow
def test_errors_get_the_focus_and_lead_to_their_question(tmp_path, tab):
    made = make_study(tmp_path / "s.sqlite")
    with serving(made.where) as server:
        page = tab(server.address, expected="422")
        enter(page, server.address, made.created.invites[0])
        page.click("button.main")
        page.wait_for_selector("#errors:focus")
        page.locator("#errors a").first.click()
        page.keyboard.press("2")
        assert page.locator("#fluency-2").is_checked()
        page.close()


def _dialogue() -> dict[str, Any]:
    return context_of("daily_dialog", "Good morning! <EOU> Did you sleep well? <EOU>", {})


def _table() -> dict[str, Any]:
    table = [
        [{"value": "Year", "is_header": True}, {"value": "A title", "is_header": True}],
        [{"value": "2001"}, {"value": "Film"}],
    ]
    return context_of(
        "totto", "a table", {"table": table, "highlighted_cells": [[1, 0]], "table_page_title": "Of films"}
    )


CASES = {
    "likert": ("likert", {}),
    "practice": ("commongen-pairwise", {}),
    "best_worst": ("best_worst", {}),
    "table": ("totto-likert", _table()),
    "dialogue": ("daily_dialog-likert", _dialogue()),
    "article": ("summarization-likert", {"text": "A long article. " * 400}),
    "spans": ("translation-likert", {}),
    "rtl": (rtl("pairwise"), {}),
}


@pytest.mark.skipif(not AXE, reason="RL4LMS_TEST_AXE is not set: no axe.min.js to test with")
@pytest.mark.parametrize(
    ("case", "scheme"),
    [
        pytest.param(case, scheme, marks=[] if (case, scheme) == ("practice", "light") else pytest.mark.slow)
        for case in CASES
        for scheme in ("light", "dark")
    ],
)
def test_axe_finds_nothing_serious(tmp_path, tab, case, scheme):
    form, context = CASES[case]
    texts = outputs(2, ("a", "b", "c"), context)
    made = make_study(tmp_path / "s.sqlite", form, texts=texts, items=2, per_item=1, raters=1, spares=1)

    def check(page: Any, what: str) -> None:
        page.evaluate(Path(AXE).read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        bad = [
            (what, one["id"], node["html"][:200], node["failureSummary"][:300])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]
        assert bad == []
        no_overflow(page)

    with serving(made.where) as server:
        page = tab(server.address, expected="Failed to load resource", color_scheme=scheme, bypass_csp=True)
        page.goto(f"{server.address}/i/{made.created.invites[0]}")
        check(page, "enter")
        page.click("button.main")
        page.wait_for_url("**/consent")
        check(page, "consent")
        page.click("button.main")
        page.wait_for_selector("#consent-error")
        check(page, "no consent")
        page.check("#consent")
        page.click("button.main")
        page.wait_for_url("**/instructions")
        check(page, "instructions")
        page.click("a.main")
        page.wait_for_url("**/item/1")
        check(page, "item")
        if not made.form.wait_seconds:
            page.click("button.main")
            page.wait_for_selector("#errors")
            check(page, "errors")
        for path in ("/withdraw", "/nowhere", "/done"):
            page.goto(server.address + path)
            check(page, path)
        page.goto(f"{server.address}/admin/login")
        check(page, "login")
        page.fill("#password", made.created.password)
        page.click("button.main")
        page.wait_for_url("**/admin")
        check(page, "admin")
        page.goto(f"{server.address}/admin/raters/1/withdraw")
        check(page, "admin withdraw")
