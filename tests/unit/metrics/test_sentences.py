from __future__ import annotations

import time

import pytest

from rl4lms.metrics.sentences import paragraphs, sentences


@pytest.mark.parametrize(
    "expected",
    [
        ["The ferry left.", "Nobody saw it!", "Did you?", "I did…", "Well."],
        ['He said "Stop."', "Then he left.", '"Why?"', "(She asked.)", "“Because.”", "Oh?!", "Yes."],
        ["Dr. Jones met Mrs. J. K. Smith on Mt. Etna.", "They talked."],
        ["It costs 3.50 in the U.S. Army store.", "See No. 5.", "It is cheap."],
        ["He works for Foo Inc. Bar at 5 p.m. Monday.", "So do I.", "We like it in the U.S.", "The end."],
        ["It rose to 1.", "Prices fell.", "Version 1.2 came out."],
        ["he asked what?! and left… again", "a second line."],
        ["the cat sat .", "it slept !", "and so on ."],
        ["これは文です。", "次の文！", "終わり"],
        ["no full stop"],
        ["..."],
    ],
)
def test_where_sentences_end(expected):
    separator = "" if expected[0].startswith("これ") else "\n" if "line" in expected[-1] else " "
    assert sentences(separator.join(expected)) == expected


def test_line_breaks_and_white_space():
    assert sentences("First line\nsecond line. Third\r\n\n  fourth  ") == [
        "First line",
        "second line.",
        "Third",
        "fourth",
    ]
    assert sentences(" \n\t") == sentences("") == []
    assert sentences("Half \ud800. Whole.") == ["Half \ud800.", "Whole."]


def test_paragraphs_are_blocks_or_else_lines():
    assert paragraphs("one\ntwo\n\nthree\n\n\n") == ["one\ntwo", "three"]
    assert paragraphs("one\n two \n") == ["one", "two"]
    assert paragraphs("") == []


@pytest.mark.parametrize("piece", [".", ". ", "A. ", '." ', '"', ".'", "! ", "x", "。"])
def test_what_broken_decoders_repeat_takes_no_time(piece):
    started = time.process_time()
    sentences(piece * 20_000)
    assert time.process_time() - started < 2
