"""Many raters at the same time, a server that is killed, a disk that is full: what was acknowledged is there, once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa

from rl4lms.human_eval.forms import find_form
from rl4lms.human_eval.schema import ASSIGNMENTS
from rl4lms.plugins.databases import open_engine
from tests.human import Client, Made, free_port, make_study, outputs, serving
from tests.unit.grue import postgres

RATERS, RATINGS = 30, 100


def big_study(where: str, raters: int = RATERS, ratings: int = RATINGS) -> Made:
    """Each item is rated by three, and every rater has as many."""
    form = find_form("likert", None)
    items = raters * ratings // 6
    return make_study(where, form, texts=outputs(items), items=items, per_item=3, raters=raters)


def rate(address: str, made: Made, number: int, acknowledged: list[tuple[int, int, int]], limit: int = 10_000) -> None:
    """Rate to the end, or until the server is gone; notes what the server has acknowledged."""
    with httpx2.Client(base_url=address, timeout=60) as http, contextlib.suppress(httpx2.TransportError):
        client = Client(http)
        client.enter(made.created.invites[number - 1])
        for _ in range(limit):
            page = client.to("/next")
            assert page.status_code == 200, page.text
            if "/item/" not in str(page.url):
                return
            position = int(page.url.path.rpartition("/")[2])
            value = (number + position) % 5 + 1
            answer = client.post(f"/item/{position}", {"fluency": str(value), "quality": "3"})
            assert answer.status_code == 303, answer.text
            acknowledged.append((number, position, value))


def kept(where: str) -> dict[tuple[int, int], int]:
    import json

    engine = open_engine(where)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(ASSIGNMENTS).where(ASSIGNMENTS.c.answers.is_not(None))).all()
    engine.dispose()
    found = {(row.rater_id, row.position): json.loads(row.answers)["fluency"] for row in rows}
    assert len(found) == len(rows)
    return found


def check_all_rated(address: str, made: Made) -> None:
    acknowledged: list[tuple[int, int, int]] = []
    with ThreadPoolExecutor(RATERS) as pool:
        for done in [pool.submit(rate, address, made, number, acknowledged) for number in range(1, RATERS + 1)]:
            done.result()
    assert len(acknowledged) == len(set(acknowledged)) == RATERS * RATINGS
    assert {(rater, position): value for rater, position, value in acknowledged} == kept(made.where)
    study = made.open()
    assert study.open_ratings() == (0, 0)
    ratings = study.ratings()
    assert len(ratings) == RATERS * RATINGS
    assert set(Counter(rating.item for rating in ratings).values()) == {3}
    assert set(Counter(rating.rater for rating in ratings).values()) == {RATINGS}
    assert len({(rating.rater, rating.item) for rating in ratings}) == len(ratings)
    assert not any(rating.edits for rating in ratings)
    assert all(one.state == "finished" for one in study.progress())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_thirty_raters_with_a_hundred_ratings_each(tmp_path, database):
    with contextlib.ExitStack() as stack:
        where = str(tmp_path / "study.sqlite")
        if database == "postgresql":
            url = stack.enter_context(postgres.server())
            where = url.replace("NAME", "postgres")
        made = big_study(where)
        server = stack.enter_context(serving(where))
        began = time.monotonic()
        check_all_rated(server.address, made)
        print(f"{database}: {RATERS} x {RATINGS} ratings in {time.monotonic() - began:.1f} s")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_acknowledged_survives_a_kill(tmp_path):
    made = big_study(str(tmp_path / "study.sqlite"), raters=12, ratings=40)
    acknowledged: list[tuple[int, int, int]] = []
    port = free_port()
    for after in (40, 200):
        with serving(made.where, port=port) as server, ThreadPoolExecutor(12) as pool:
            running = [pool.submit(rate, server.address, made, number, acknowledged) for number in range(1, 13)]
            until = time.monotonic() + 120
            while len(acknowledged) < after and time.monotonic() < until:
                time.sleep(0.01)
            os.kill(server.process.pid, signal.SIGKILL)
            for one in running:
                one.exception()  # refused connections
        assert len(acknowledged) >= after
        found = kept(made.where)
        for rater, position, value in acknowledged:
            assert found[rater, position] == value
        # no more than one rating of each rater was on its way
        assert len(found) <= len(set(acknowledged)) + 2 * 12
    with serving(made.where, port=port) as server, ThreadPoolExecutor(12) as pool:
        for one in [pool.submit(rate, server.address, made, number, acknowledged) for number in range(1, 13)]:
            one.result()
    assert made.open().open_ratings() == (0, 0)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        _fill(disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(disk: Path) -> None:
    made = make_study(disk / "study.sqlite", "commongen-pairwise", items=12, raters=1, per_item=1)
    with serving(made.where) as server, httpx2.Client(base_url=server.address, timeout=90) as http:
        client = Client(http)
        client.enter(made.created.invites[0])
        position, words = 1, "reason " * 600
        study = made.open()
        ballast = disk / "ballast"

        def answer() -> tuple[int, str]:
            order, purpose = study.read_page(1, position).order, study.read_page(1, position).purpose
            choice = str(order.index(1) + 1) if purpose == "practice" else "1"
            response = client.post(f"/item/{position}", {"choice": choice, "reason": words})
            return response.status_code, response.text

        client.to("/next")
        for _ in range(3):
            assert answer()[0] == 303
            position += 1
            client.to("/next")
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        statuses = []
        for _ in range(40):  # what is left of the log's pages takes a few
            status, text = answer()
            statuses.append(status)
            if status != 303:
                break
            position += 1
            client.to("/next")
        assert statuses[-1] == 507, statuses
        assert made.form.word("not_saved") in text
        assert "reason reason" in text
        done = position - 1
        assert study.counts(1)[0] == done
        ballast.unlink()
        assert answer()[0] == 303
        assert study.counts(1)[0] == done + 1


def test_the_same_answer_sent_by_several_at_once_is_one(study):
    """Two windows of one rater, without a server between."""
    one = study.open()
    rater = one.doors.rater_of_invite(study.created.invites[0])
    one.consent(rater)
    one.open_page(rater, one.next_position(rater))
    barrier = threading.Barrier(4)

    def save(number: int) -> None:
        barrier.wait()
        one.save(rater, 1, {"fluency": 1, "quality": 1})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(4)))
    (rating,) = one.ratings()
    assert (rating.edits, one.counts(rater)[0]) == (0, 1)
