"""Who may see and do what; forms of others; hostile texts; what raters must not learn."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest
import sqlalchemy as sa

from rl4lms.human_eval.answers import MAX_TEXT
from rl4lms.human_eval.doors import MOST_ATTEMPTS
from rl4lms.human_eval.forms import find_form
from rl4lms.human_eval.schema import METADATA
from rl4lms.human_eval.web.guard import MAX_BYTES
from rl4lms.human_eval.web.routes import ROUTES
from rl4lms.plugins.databases import open_engine
from tests.human import answer_fields, make_study, outputs, parse, with_form
from tests.marks import slow_but

GOOD = {"fluency": "2", "quality": "3"}
FORM = "application/x-www-form-urlencoded"


def filled(path, made):
    """The address of a route, as rater A would call it."""
    values = {"name": "style.css" if "static" in path else "ratings.csv", "invite": made.created.invites[0]}
    values |= {"secret": made.created.platform, "position:int": "1", "rater:int": "1"}
    for name, value in values.items():
        path = path.replace("{" + name + "}", value)
    return path


# What each may do with each route; True is anything but a refusal or a way to a login.
MATRIX = {
    ("GET", "/static/{name}"): "anonymous rater admin",
    ("GET", "/i/{invite}"): "anonymous rater admin",
    ("POST", "/i/{invite}"): "anonymous rater admin",
    ("GET", "/p/{secret}"): "",  # without a participant
    ("POST", "/p/{secret}"): "",
    ("GET", "/"): "rater",
    ("GET", "/consent"): "rater",
    ("POST", "/consent"): "rater",
    ("GET", "/instructions"): "rater",
    ("GET", "/next"): "rater",
    ("GET", "/item/{position:int}"): "rater",
    ("POST", "/item/{position:int}"): "rater",
    ("POST", "/item/{position:int}/draft"): "rater",
    ("GET", "/done"): "rater",
    ("POST", "/done"): "",  # nobody has finished
    ("GET", "/withdraw"): "rater",
    ("POST", "/withdraw"): "rater",
    ("GET", "/admin/login"): "anonymous rater admin",
    ("POST", "/admin/login"): "",  # without the password
    ("POST", "/admin/logout"): "admin",
    ("GET", "/admin"): "admin",
    ("POST", "/admin/pause"): "admin",
    ("POST", "/admin/raters/{rater:int}/release"): "admin",
    ("GET", "/admin/raters/{rater:int}/withdraw"): "admin",
    ("POST", "/admin/raters/{rater:int}/withdraw"): "admin",
    ("GET", "/admin/export/{name}"): "admin",
}


def test_every_route_is_in_the_matrix():
    assert {(route.method, route.path) for route in ROUTES} == MATRIX.keys()


@pytest.fixture
def people(study, visit):
    """An anonymous visitor, rater A at their first item, and the administrator."""
    rater, admin = visit(study), visit(study)
    rater.enter(study.created.invites[0])
    rater.to("/next")
    admin.log_in(study.created.password)
    anonymous = visit(study)
    anonymous.get("/admin/login")
    return {"anonymous": anonymous, "rater": rater, "admin": admin}


@pytest.mark.parametrize("who", ["anonymous", "rater", "admin"])
def test_routes_are_open_to_whom_they_should(study, people, who):
    last = ("/withdraw", "/admin/logout")
    for route in sorted(ROUTES, key=lambda route: route.path in last):
        client, path = people[who], filled(route.path, study)
        if who == "rater" and path.startswith("/admin") and route.method == "POST":
            response = client.post(path)  # with a token that is theirs, for the other door
        elif route.method == "GET":
            response = client.get(path)
        else:
            if who == "anonymous" or (path.startswith("/i/") and who != "admin"):
                client.get(f"/i/{study.created.invites[0]}")
            if path.startswith("/i/") and who == "admin":
                client.get(path)
            if path.startswith("/admin") and who == "admin":
                client.get("/admin")
            response = client.post(path, GOOD if "item" in path else None)
            if path.startswith("/i/") and who != "rater":  # they were let in as the rater that they are not to be
                client.http.cookies.delete("rl4lms-rater")
            if path.startswith("/i/") and who == "rater":
                client.to("/next")
        refused = response.status_code in (400, 401, 403, 404) or response.headers.get("location") == "/admin/login"
        if route.path == "/admin/logout" and who == "admin":
            refused = response.status_code != 303
        allowed = who in MATRIX[route.method, route.path].split()
        assert refused != allowed, (who, route.method, route.path, response.status_code)


def test_a_rater_reaches_nothing_of_another(study, visit):
    one, other = visit(study), visit(study)
    one.enter(study.created.invites[0])
    other.enter(study.created.invites[1])
    one.to("/next")
    other.to("/next")
    one.post("/item/1", GOOD)
    before = study.open().ratings()
    assert other.post("/item/2", GOOD).status_code == 403  # theirs, and not open yet
    assert other.get("/item/99").status_code == 403
    assert other.get("/item/0").status_code == 403
    assert other.get("/item/-1").status_code == 404
    assert other.post("/item/1?rater=1", {**GOOD, "rater": "1", "rater_id": "1"}).status_code == 303
    found = {(rating.rater, rating.item): rating for rating in study.open().ratings()}
    assert {rating for rating, _ in found} == {1, 2}
    assert found[before[0].rater, before[0].item] == before[0]
    stolen = one.csrf
    assert other.http.post("/item/1", data={**GOOD, "csrf": stolen}, follow_redirects=False).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"origin": "http://testserver"}, 303),
        ({"origin": "http://testserver:80"}, 303),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://testserver.evil.example"}, 403),
        ({"origin": "http://testserver:81"}, 403),
        ({"origin": "http://[broken"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 303),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_forms_of_other_sites_are_refused(people, study, headers, status):
    client = people["rater"]
    assert client.post("/item/1", GOOD, headers=headers).status_code == status
    assert study.open().counts(1)[0] == (status == 303)


@pytest.mark.parametrize("token", ["", "0" * 64, "é", None])
def test_forms_without_the_token_of_the_session_are_refused(people, study, token):
    for who, paths in {"rater": ["/item/1", "/item/1/draft", "/withdraw"], "admin": ["/admin/pause"]}.items():
        client = people[who]
        for path in paths:
            data = GOOD if token is None else {**GOOD, "csrf": token}
            assert client.http.post(path, data=data, follow_redirects=False).status_code == 403
    study = study.open()
    assert (study.counts(1)[0], study.rater(1).state, study.paused) == (0, "rate", False)


def test_login_and_invitation_need_a_token_too(study, visit):
    client = visit(study)
    assert client.http.post("/admin/login", data={"password": study.created.password}).status_code == 403
    assert client.http.post(f"/i/{study.created.invites[0]}").status_code in (403, 415)


def test_a_session_that_was_planted_stays_worthless(study, visit):
    planted = "a-token-that-somebody-else-has-chosen-12345"
    client = visit(study)
    client.plant("rl4lms-rater", planted)
    client.enter(study.created.invites[0])
    assert client.http.cookies["rl4lms-rater"] != planted
    thief = visit(study)
    thief.plant("rl4lms-rater", planted)
    assert thief.get("/").status_code == 403
    first = client.http.cookies["rl4lms-rater"]
    client.get(f"/i/{study.created.invites[0]}")
    client.post(f"/i/{study.created.invites[0]}")  # a new session, and the one before is closed
    assert client.http.cookies["rl4lms-rater"] != first
    thief.plant("rl4lms-rater", first)
    assert thief.get("/").status_code == 403


def test_a_session_opens_its_own_door_only(people, study, visit):
    for name, who in (("rl4lms-admin", "rater"), ("rl4lms-rater", "admin")):
        client = visit(study)
        token = people[who].http.cookies[f"rl4lms-{who}"]
        client.plant(name, token)
        assert client.get("/admin").headers.get("location") == "/admin/login"
        assert client.get("/next").status_code == 403


def test_logging_out_ends_the_session_on_the_server(people, study, visit):
    client = people["admin"]
    token = client.http.cookies["rl4lms-admin"]
    client.get("/admin")
    assert client.post("/admin/logout").status_code == 303
    client.plant("rl4lms-admin", token)
    assert client.get("/admin").headers["location"] == "/admin/login"


@pytest.mark.parametrize(
    ("options", "headers", "is_secure"),
    [
        ({}, {}, False),
        ({}, {"x-forwarded-proto": "https"}, False),  # anybody can say so
        ({"behind_proxy": True}, {"x-forwarded-proto": "http, https"}, True),
        ({"behind_proxy": True}, {"x-forwarded-proto": "https, http"}, False),
        ({"secure": True}, {}, True),
    ],
)
def test_cookies_are_for_this_site_and_no_script(study, visit, options, headers, is_secure):
    client = visit(study, **options)
    sent = [client.get("/admin/login", headers=headers)]
    sent.append(client.get(f"/i/{study.created.invites[0]}", headers=headers))
    if not is_secure:  # else the client keeps the cookie to itself on http
        sent.append(client.post(f"/i/{study.created.invites[0]}", headers=headers))
    for response in sent:
        cookie = response.headers["set-cookie"]
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=lax", "path=/"} <= parts
        assert ("secure" in parts, cookie.startswith("__Host-")) == (is_secure, is_secure)
        assert not any(part.startswith("domain") for part in parts)


def test_wrong_passwords_are_counted_by_address(study, visit):
    proxied = visit(study, behind_proxy=True)
    mine = {"x-forwarded-for": "10.9.9.9, 203.0.113.7"}
    proxied.get("/admin/login")
    for _ in range(MOST_ATTEMPTS):
        assert proxied.post("/admin/login", {"password": "wrong"}, headers=mine).status_code == 403
    right = {"password": study.created.password}
    # whatever they say to the proxy
    refused = proxied.post("/admin/login", right, headers={"x-forwarded-for": "10.1.1.1, 203.0.113.7"})
    assert refused.status_code == 429
    other = proxied.post("/admin/login", right, headers={"x-forwarded-for": "203.0.113.8"})
    assert other.status_code == 303


def test_wrong_invitations_are_counted_and_networks_are_one_address(study, visit):
    client = visit(study, behind_proxy=True)
    for number in range(MOST_ATTEMPTS):
        headers = {"x-forwarded-for": f"2001:db8:1:2::{number}"}
        assert client.get(f"/{'ip'[number % 2]}/wrong{number}", headers=headers).status_code == 404
    path = f"/i/{study.created.invites[0]}"
    assert client.get(path, headers={"x-forwarded-for": "2001:db8:1:2:ffff::1"}).status_code == 429
    assert client.get(path, headers={"x-forwarded-for": "2001:db8:1:3::1"}).status_code == 200


def test_secrets_are_of_each_study_and_only_hashes_are_kept(tmp_path, visit):
    made = [make_study(tmp_path / f"{number}.sqlite") for number in (1, 2)]
    tokens = set()
    for one in made:
        client = visit(one)
        client.plant("rl4lms-rater", "the-same-token-in-both-of-the-studies")
        client.get(f"/i/{one.created.invites[0]}")
        tokens.add(client.csrf)
        client.enter(one.created.invites[0])
        engine = open_engine(one.where)
        with engine.connect() as connection:
            kept = " ".join(
                str(row) for table in METADATA.sorted_tables for row in connection.execute(sa.select(table))
            )
        for secret in (
            one.created.password,
            one.created.platform,
            *one.created.invites,
            client.http.cookies["rl4lms-rater"],
        ):
            assert secret not in kept
    assert len(tokens) == 2


PAGES = (
    "/i/{}",
    "/consent",
    "/instructions",
    "/item/1",
    "/withdraw",
    "/next",
    "/done",
    "/nowhere",
    "/admin/login",
    "/admin",
)


def every_page(made, visit):
    """Pages of all kinds, by what they are of; the study is rated to its end by rater 1."""
    pages = {}
    client, admin = visit(made), visit(made)
    invite = made.created.invites[0]
    pages["enter"] = client.get(f"/i/{invite}")
    client.post(f"/i/{invite}")
    pages["consent"] = client.to("/")
    pages["no consent"] = client.post("/consent")
    client.post("/consent", {"consent": "yes"})
    pages["instructions"] = client.to("/instructions")
    study, number = made.open(), 0
    while "/item/" in str((page := client.to("/next")).url):
        number = int(page.url.path.rpartition("/")[2])
        pages[f"item {number}"] = page
        pages[f"errors {number}"] = client.post(f"/item/{number}", {"errors_words": "elephant", "errors_kind": "x"})
        client.post(f"/item/{number}", answer_fields(made.form, study.read_page(1, number)))
        pages[f"answered {number}"] = client.to(f"/item/{number}")
    pages["not open"] = client.get(f"/item/{number + 9}")
    pages["done"] = page
    pages["withdraw"] = client.get("/withdraw")
    pages["nowhere"] = client.get("/nowhere")
    pages["style"] = client.get("/static/style.css")
    pages["script"] = client.get("/static/study.js")
    raters = dict(pages)
    pages["login"] = admin.get("/admin/login")
    pages["wrong"] = admin.post("/admin/login", {"password": "wrong"})
    admin.log_in(made.created.password)
    pages["admin"] = admin.get("/admin")
    pages["admin withdraw"] = admin.get("/admin/raters/1/withdraw")
    pages["csv"] = admin.get("/admin/export/ratings.csv")
    return pages, raters, client, admin


def test_every_page_has_its_policy_and_nothing_inline(study, visit):
    pages, _, client, _ = every_page(study, visit)
    pages["method"] = client.http.request("DELETE", "/item/1")
    pages["too large"] = client.http.post("/withdraw", content=b"x" * (MAX_BYTES + 1), headers={"content-type": FORM})
    for name, page in pages.items():
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'"), name
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["referrer-policy"] == "same-origin"
        if name not in ("style", "script"):
            assert page.headers["cache-control"] == "no-store", name
        if not page.headers["content-type"].startswith("text/html"):
            continue
        parsed = parse(page.text)
        for tag, attributes in parsed.elements:
            values = dict(attributes)
            assert not any(key.startswith("on") or key == "style" for key in values), (name, tag, attributes)
            assert tag not in ("style", "base", "iframe", "object", "embed")
            for key in ("src", "href", "action"):
                # nothing from elsewhere
                assert values.get(key, "/").startswith(("/", "#")), (name, tag, attributes)
                assert not values.get(key, "/").startswith("//")
        scripts = [dict(attributes) for tag, attributes in parsed.elements if tag == "script"]
        assert [set(script) for script in scripts] == [{"src", "defer"}], name


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' autofocus onfocus=alert(1) x='",
    "</textarea><script>alert(1)</script>",
    "</title></head><body onload=alert(1)>",
    "<!--", "-->", "]]>", "<![CDATA[",
    "{{ 7 * 7 }}{% raw %}", "${7*7}", "javascript:alert(1)", "&lt;script&gt;", "&#60;b&#62;",
    "\u202e\u2066<b>\u2069", "<a href='javascript:alert(1)'>x</a>", "`<iframe src=//evil.example>`", "\x00<b>", "<\x0bb>",
)  # fmt: skip


@pytest.mark.parametrize("kind", slow_but(["likert", "pairwise"], ["likert"]))
def test_texts_give_birth_to_no_element_and_no_attribute(tmp_path, visit, kind):
    """Pages of a study full of hostile texts have the elements and attributes of those of a harmless one."""

    def shape(page):
        return [(tag, tuple(name for name, _ in attributes)) for tag, attributes in parse(page.text).elements]

    def build(name, evil):
        def text(number, harmless):
            return (HOSTILE[number % len(HOSTILE)] + str(number)) if evil else harmless + str(number)

        whole = "".join(HOSTILE).replace("\x00", "") if evil else "harmless"
        base = find_form({"likert": "translation-likert", "pairwise": "commongen-pairwise"}[kind], None)
        questions = [
            {**one.model_dump(), "text": whole, "hint": whole, "labels": (whole, whole) if one.type == "scale" else ()}
            for one in base.questions
        ]
        for question in questions:
            question["categories"] = (whole,) if question["type"] == "spans" else ()
        example = {"prompt": whole, "completions": [whole] * (1 + (kind == "pairwise")), "why": whole}
        example["answers"] = {"choice": 1} if kind == "pairwise" else {"fluency": 5}
        words = {
            "save": whole,
            "text": whole,
            "back": whole,
            "draft_saved": whole,
            "required": whole,
            "finished": whole,
        }
        words |= {"no_page": whole, "withdraw": whole, "begin": whole}
        form = with_form(
            base, title=whole, instructions=[whole], consent=[whole], questions=questions, examples=[example],
            practice=[example], strings={key: re.sub("[{}]", "", value) for key, value in words.items()},
            context={"show": "turns" if kind == "pairwise" else "table", "label": whole},
            **({"question": whole} if kind == "pairwise" else {}),
        )  # fmt: skip
        cell = {"header": False, "marked": True, "columns": 1, "rows": 1}
        texts = [
            replace(
                one,
                completion=text(number, "text"),
                prompt=text(number // 2, "prompt"),
                prompt_id=text(number // 2, "id"),
                system=text(number % 2, "system"),
                stratum=text(0, "s"),
                context={
                    "text": whole, "turns": [text(at, "turn") for at in range(len(HOSTILE))], "title": whole,
                    "table": [[{**cell, "text": text(at, "cell")} for at in range(len(HOSTILE))]],
                },
            )
            for number, one in enumerate(outputs(len(HOSTILE)))
        ]  # fmt: skip
        settings = {"name": whole, "task": whole}
        made = make_study(tmp_path / f"{name}.sqlite", form, texts=texts, items=3, settings=settings, raters=2)
        pages, _, client, admin = every_page(made, visit)
        client.get("/done")
        client.post("/done", {"feedback": whole})
        if kind == "pairwise":
            client.get("/item/2")
            page = made.open().read_page(1, 2)
            client.post("/item/2", {**answer_fields(form, page), "reason": whole})
            pages["reason"] = client.get("/item/2")
        pages["feedback"] = admin.get("/admin")
        pages["csv"] = admin.get("/admin/export/ratings.csv")
        pages["participant"] = client.get(f"/p/{made.created.platform}?PROLIFIC_PID=abc")
        return pages

    evil, harmless = build("evil", True), build("harmless", False)
    table = list(csv.reader(io.StringIO(evil.pop("csv").text)))
    harmless.pop("csv")
    assert len({len(row) for row in table}) == 1
    assert evil.keys() == harmless.keys()
    seen = ""
    for name, page in evil.items():
        if page.headers["content-type"].startswith("text/html"):
            assert shape(page) == shape(harmless[name]), name
            seen += "".join(parse(page.text).texts)
    assert all(text.replace("\x00", "") in seen for text in HOSTILE)  # they were there, as texts


def test_hostile_requests_are_not_echoed_as_markup(study, visit):
    client = visit(study)
    for path in ("/<script>alert(1)</script>", "/i/<script>alert(1)</script>", "/p/<img src=x>?PROLIFIC_PID=<b>"):
        page = client.get(path)
        assert page.status_code == 404
        assert [tag for tag, _ in parse(page.text).elements].count("script") == 1
        assert "alert" not in page.text


def test_formulas_are_neutralised_in_the_export(tmp_path, visit):
    made = make_study(
        tmp_path / "s.sqlite",
        "commongen-pairwise",
        texts=[replace(one, prompt_id=f"=1+{one.prompt_id}") for one in outputs(3)],
    )
    client = visit(made)
    client.enter(made.created.invites[0])
    study = made.open()
    for position in (1, 2):
        client.to("/next")
        reason = {"reason": "=cmd|' /C calc'!A0\n+second\r\nthird"}
        client.post(f"/item/{position}", {**answer_fields(made.form, study.read_page(1, position)), **reason})
    admin = visit(made)
    admin.log_in(made.created.password)
    response = admin.get("/admin/export/ratings.csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert rows[0]["answer_reason"] == "'=cmd|' /C calc'!A0\n'+second\nthird"
    assert rows[1]["prompt_id"].startswith("'=1+")
    assert not any(cell[:1] in "=+-@\t\r" for row in csv.reader(io.StringIO(response.text)) for cell in row if cell)
    assert response.headers["content-disposition"] == 'attachment; filename="ratings.csv"'
    assert admin.get("/admin/export/other.csv").status_code == 404


def test_bodies_that_are_too_large_are_refused(people, study):
    client = people["rater"]
    headers = {"content-type": FORM}
    big = {"content-length": str(10**12), **headers}
    assert client.http.post("/item/1", content=b"a=1", headers=big).status_code == 413  # before it is read
    taken = 0

    def endless():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"a" * 65_536

    assert client.http.post("/item/1", content=endless(), headers=headers).status_code == 413
    many = "&".join(f"f{number}=1" for number in range(501)).encode()
    assert client.http.post("/item/1", content=many, headers=headers).status_code == 413
    assert (
        client.http.post(
            "/item/1", content=b"x", headers={"content-type": "multipart/form-data; boundary=x"}
        ).status_code
        == 415
    )
    assert client.http.post("/item/1", json=GOOD).status_code == 415
    assert study.open().counts(1)[0] == 0
    for number in range(8):
        assert client.post(f"/item/{number + 1}", GOOD).status_code == 303
    client.to("/next")
    assert client.post("/done", {"feedback": "x" * (MAX_TEXT + 1)}).status_code == 413


@pytest.mark.parametrize(
    "name",
    [
        "../site.py",
        "..%2fsite.py",
        "%2e%2e/site.py",
        "..%5csite.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "style.css%00",
        ".",
    ],
)
def test_no_other_file_is_served(study, visit, name):
    page = visit(study).get(f"/static/{name}")
    assert page.status_code == 404
    assert "Traceback" not in page.text


def test_only_known_hosts_are_answered(study, visit):
    client = visit(study, host_names=("study.example.org", "::1"))
    path = f"/i/{study.created.invites[0]}"
    for host, status in [("study.example.org", 200), ("STUDY.example.org:8443", 200), ("[::1]:8000", 200)]:
        assert client.get(path, headers={"host": host}).status_code == status
    for host in ("evil.example", "study.example.org.evil.example", "", "evil.example:80"):
        assert client.get(path, headers={"host": host}).status_code == 421


def test_nothing_leads_elsewhere(study, visit):
    client = visit(study)
    for path in ("//evil.example", "/i/x?next=//evil.example", "/admin/?next=http://evil.example", "/item/1/"):
        response = client.get(path)
        assert "evil.example" not in response.headers.get("location", "")
        assert response.status_code in (404, 403)
    client.enter(study.created.invites[0])
    for path in ("/?next=//evil.example", "/next?to=http://evil.example"):
        assert client.get(path).headers["location"].startswith(("/instructions", "/item/"))


@pytest.mark.parametrize("kind", slow_but(["likert", "pairwise"], ["pairwise"]))
def test_raters_learn_nothing_of_systems(tmp_path, visit, kind):
    made = make_study(
        tmp_path / "s.sqlite",
        kind,
        items=4,
        attention=1,
        repeats=2,
        settings={"task": "hidden-task", "seed": 9_753_124},
    )
    _, raters, client, _ = every_page(made, visit)
    secrets = (
        "zebra",
        "quokka",
        "hidden-",
        "hidden_",
        "hidden study",
        "7654321",
        "9753124",
        "metric",
        "stratum",
        "purpose",
        "attention",
        "repeat",
    )
    for name, page in raters.items():
        if name in ("style", "script"):
            continue
        said = page.text.replace(made.form.word("check", "").split(".")[0], "").lower()
        said += str(page.headers).lower()
        assert not [secret for secret in secrets if secret in said], name
    # a repeat is built like any other page, and so is a check but for the prompt that it has none of
    study, shapes = made.open(), {}
    for rating in study.ratings():
        (position,) = [at for at in range(1, study.counts(1)[1] + 1) if _shows(study.read_page(1, at), rating)][:1]
        page = client.get(f"/item/{position}").text
        page = re.sub(r'<section class="context".*?</section>', "", page, flags=re.DOTALL)
        tags = [(tag, tuple(name for name, _ in found)) for tag, found in parse(page).elements]
        links = {"/item/" in (dict(found).get("href") or "") for tag, found in parse(page).elements if tag == "a"}
        assert True in links
        shapes.setdefault(rating.purpose, []).append([one for one in tags if one[0] != "a"])
    assert shapes.keys() == {"rate", "check", "repeat"}
    assert len({str(sorted(shape)) for found in shapes.values() for shape in found}) <= 2  # which option is checked


def _shows(page, rating):
    return page.purpose == rating.purpose and list(page.texts) == list(rating.completions)


def test_sides_say_nothing_of_systems(tmp_path):
    made = make_study(tmp_path / "s.sqlite", "pairwise", items=40, per_item=2, raters=4)
    engine = open_engine(made.where)
    first = []
    with engine.connect() as connection:
        for row in connection.execute(sa.text("SELECT shown FROM human_assignments")):
            first.append(row.shown)
    assert abs(first.count("[0, 1]") - first.count("[1, 0]")) <= 1
