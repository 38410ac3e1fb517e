from __future__ import annotations

import pytest

from rl4lms.metrics.toy import Dates, IncreasingNumbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 2 3 4 5 6 7 8 9 10", 1.0),
        ("1 2 3", 0.3),  # ten is the least length that counts in full
        ("1 2 2 3 4 5 6 7 8 9", 0.2),
        ("9 1 2 3 4 5 6 7 8 10", 0.1),
        ("one 1 two 2 three 3 a b c d", 0.3),  # words between numbers do not end the prefix
        ("1 2 3 4 5 a b c d e f g h i j k l m n o", 0.25),
        ("9 10 100", 0.3),  # numbers, not strings
        ("1.5 -2 3", 0.1),  # tokens of digits only
        ("", 0.0),
        ("none at all", 0.0),
    ],
)
def test_increasing_numbers(text, value):
    assert IncreasingNumbers(min_tokens=20)(completions=[text]) == {"increasing_numbers": [pytest.approx(value)]}


def test_dates():
    texts = ["on 2024-02-29 we met", "on 29-02-2024 we met", "2024-2-9", "", "x1999-12-31y"]
    assert Dates()(completions=texts) == {"dates": [1.0, 0.0, 0.0, 0.0, 1.0]}
