from __future__ import annotations

import os
import time

import pytest

from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.errors import ConfigError, DataError, RewardError
from rl4lms.rewards import build, score
from tests.unit.rewards.server import Server
from tests.unit.rewards.words import batch

MASK = RewardFaultsConfig(exception="mask")


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


def http(server, **options):
    return build({"name": "http", "url": server.url, "backoff_s": 0.01, **options})


def test_rows_are_sent_in_batches_and_come_back_in_order(server):
    output = score(http(server, batch_size=2), **batch("a", "bbb", "cc", "dddd", "e"))
    assert output.scores == [1.0, 3.0, 2.0, 4.0, 1.0]
    assert sorted(len(body["completions"]) for body in server.requests) == [1, 2, 2]
    assert all(set(body) == {"prompts", "completions"} for body in server.requests)
    assert output.numbers == {"requests": 3.0, "retries": 0.0, "failed_requests": 0.0, "cached_rows": 0.0}


def test_texts_are_sent_where_they_are_known(server):
    reward = http(server, columns=["completions", "texts"])
    score(reward, **batch(", and"), texts=["good, and"])
    assert server.requests == [{"completions": [", and"], "texts": ["good, and"]}]
    with pytest.raises(DataError, match="sends the column 'texts', which the data does not have"):
        score(reward, **batch(", and"))


def test_columns_and_references_are_sent(server):
    score(http(server, columns=["completions", "references", "topic"]), **batch("a", topic=["t"]))
    assert server.requests == [{"completions": ["a"], "references": [["a b c d"]], "topic": ["t"]}]


def test_no_more_requests_at_once_than_allowed(server):
    server.slowness = 0.05
    score(http(server, batch_size=1, concurrency=3), **batch(*"abcdefghij"))
    assert server.most_at_once == 3


def test_known_rows_are_not_sent_again(server):
    reward, rows = http(server), batch("a", "bb", "a", prompts=["p", "p", "p"])
    assert score(reward, **rows).scores == [1.0, 2.0, 1.0]
    assert server.requests[0]["completions"] == ["a", "bb"]
    again = score(reward, **batch("bb", "ccc", prompts=["p", "q"]))
    assert again.scores == [2.0, 3.0]
    assert again.numbers["cached_rows"] == 1.0
    assert server.requests[1]["completions"] == ["ccc"]


def test_the_cache_is_bounded_and_can_be_off(server):
    reward = http(server, cache_size=1)
    for text in ("a", "bb", "a"):
        score(reward, **batch(text))
    assert len(server.requests) == 3
    off = http(server, cache_size=0)
    score(off, **batch("z"))
    score(off, **batch("z"))
    assert len(server.requests) == 5


@pytest.mark.parametrize("trouble", [503, 429, 408, "drop"])
def test_what_may_pass_is_tried_again(server, trouble):
    server.plan = [trouble, trouble]
    output = score(http(server), **batch("abc"))
    assert output.scores == [3.0]
    assert output.numbers == {"requests": 3.0, "retries": 2.0, "failed_requests": 0.0, "cached_rows": 0.0}
    assert output.faults == ()


def test_a_server_that_hangs_is_given_up_on(server):
    server.plan = ["hang"]
    start = time.perf_counter()
    assert score(http(server, timeout_s=0.2), **batch("abc")).scores == [3.0]
    assert 0.2 <= time.perf_counter() - start < 5


def test_the_server_may_say_how_long_to_wait(server):
    server.plan, server.retry_after = [429], "0.3"
    start = time.perf_counter()
    assert score(http(server), **batch("abc")).scores == [3.0]
    assert time.perf_counter() - start >= 0.3


def test_a_failure_for_good_is_an_error_that_says_what_happened(server):
    server.plan = [503] * 4
    with pytest.raises(
        RewardError, match=r"2 rows have no score: http://\S+/score answered 503 Service Unavailable, in 4 tries"
    ):
        score(http(server), **batch("a", "bb"))


def test_rows_of_a_failed_request_are_left_out_and_the_others_count(server):
    server.plan = [503]
    output = score(http(server, batch_size=2, concurrency=1, retries=0), **batch("a", "bb", "ccc"), faults=MASK)
    assert output.scores == [None, None, 3.0]
    assert [(fault.kind, fault.row) for fault in output.faults] == [("exception", None)]
    assert output.numbers["failed_requests"] == 1.0


def test_no_score_is_made_up_for_a_failed_request(server):
    server.plan = [503]
    constant = RewardFaultsConfig(exception="constant", constant=-5.0)
    assert score(http(server, retries=0), **batch("a"), faults=constant).scores == [None]


def test_failed_rows_are_asked_for_again(server):
    server.plan, reward = [503], http(server, retries=0)
    assert score(reward, **batch("a"), faults=MASK).scores == [None]
    assert score(reward, **batch("a"), faults=MASK).scores == [1.0]


def test_a_server_that_is_not_there():
    with pytest.raises(RewardError, match=r"1 rows have no score: http://127\.0\.0\.1:9/: ConnectError.*in 2 tries"):
        score(build({"name": "http", "url": "http://127.0.0.1:9/", "retries": 1, "backoff_s": 0}), **batch("a"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"score": [1.0]}, r'should answer \{"scores": \[...\]\}, and answered: \{"score": \[1.0\]\}'),
        ({"scores": [1.0, 2.0]}, "answered 2 scores for 1 rows"),
        ({"scores": ["good"]}, 'answered "good" where a number or null should be'),
        (b"<html>hello</html>", "is no JSON: <html>hello</html>"),
        (404, "answered 404 Not Found"),
        (401, "answered 401 Unauthorized"),
    ],
)
def test_an_answer_that_is_no_score_is_a_mistake_and_never_tried_again(server, answer, message):
    server.plan = [answer]
    with pytest.raises(RewardError, match=message):
        score(http(server), **batch("a"), faults=MASK)
    assert len(server.requests) == 1


def test_a_null_leaves_a_row_out_and_is_asked_for_again(server):
    server.plan, reward = [{"scores": [None, 1]}], http(server)
    assert score(reward, **batch("a", "bb")).scores == [None, 1.0]
    assert score(reward, **batch("a", "bb")).scores == [1.0, 1.0]


def test_numbers_that_are_not_finite_follow_their_own_policy(server):
    server.plan = [b'{"scores": [NaN]}']
    with pytest.raises(RewardError, match="row 1 is nan"):
        score(http(server), **batch("a"), faults=MASK)
    server.plan = [b'{"scores": [NaN]}']
    reward = http(server)
    assert score(reward, **batch("a"), faults=RewardFaultsConfig(non_finite="mask")).scores == [None]
    assert score(reward, **batch("a")).scores == [1.0]  # and was not kept


def test_headers_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("SCORE_TOKEN", "secret")
    score(http(server, headers={"Authorization": "Bearer $SCORE_TOKEN"}), **batch("a"))
    assert {name.lower(): value for name, value in server.headers[0].items()}["authorization"] == "Bearer secret"
    with pytest.raises(ConfigError, match="header 'X-Key': the environment variable NOT_SET_ANYWHERE is not set"):
        http(server, headers={"X-Key": "$NOT_SET_ANYWHERE"})


def test_a_column_that_is_not_there_is_named(server):
    with pytest.raises(
        DataError,
        match="sends the column 'topic', which the data does not have; there are: completion_ids, completions",
    ):
        score(http(server, columns=["topic"]), **batch("a"))


def test_urls_are_checked():
    with pytest.raises(ConfigError, match="url"):
        build({"name": "http", "url": "localhost:8000"})


def test_from_inside_a_running_event_loop(server):
    import asyncio

    async def notebook():
        return score(http(server), **batch("abc"))

    assert asyncio.run(notebook()).scores == [3.0]


def test_secrets_stay_out_of_messages(server, monkeypatch):
    monkeypatch.setenv("SCORE_TOKEN", "s3cr3t")
    url = server.url.replace("http://", "http://user:$SCORE_TOKEN@") + "?key=$SCORE_TOKEN"
    server.plan = [503]
    with pytest.raises(RewardError) as caught:
        score(http(server, url=url, retries=0), **batch("a"))
    assert "s3cr3t" not in str(caught.value)
    assert server.url in str(caught.value)


@pytest.mark.parametrize("secret", ["s3cr3t\nX: y", "s3cr3té", "s3\x00t"])
def test_headers_that_cannot_be_sent_are_refused_without_showing_them(server, monkeypatch, secret):
    monkeypatch.setattr("os.environ", {**os.environ, "SCORE_TOKEN": secret})
    with pytest.raises(ConfigError) as caught:
        http(server, headers={"Authorization": "Bearer $SCORE_TOKEN"})
    assert (
        str(caught.value)
        == "reward 'http', header 'Authorization': names and values of headers are printable ASCII on one line"
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://", "write http://HOST:PORT/PATH"),
        ("http://[::1", "this is no address"),
        ("http://host:99999/", "this is no address|ports go from 1 to 65535"),
    ],
)
def test_addresses_are_checked_when_the_reward_is_built(url, message):
    with pytest.raises(ConfigError, match=message):
        build({"name": "http", "url": url})


def test_any_text_can_be_sent(server):
    assert score(http(server), **batch("\ud800", "é\u2028")).scores == [1.0, 2.0]
    assert server.requests[0]["completions"] == ["\ud800", "é\u2028"]


def test_an_answer_that_cannot_be_decoded_may_pass(server):
    server.plan, server.encoding = [b"this is not gzip"], "gzip"
    output = score(http(server, retries=0), **batch("a"), faults=MASK)
    assert output.scores == [None]
    assert "DecodingError" in output.faults[0].message


def test_the_whole_call_has_the_time_of_reward_faults(server):
    server.plan = ["hang"] * 8
    limit = RewardFaultsConfig(timeout="mask", timeout_s=0.5)
    start = time.perf_counter()
    output = score(http(server, timeout_s=0.3, retries=5), **batch("a", "b"), faults=limit)
    assert time.perf_counter() - start < 3
    assert output.scores == [None, None]
    assert [fault.kind for fault in output.faults] == ["timeout"]
    assert "no time was left: the whole call may take 0.5 s" in output.faults[0].message
