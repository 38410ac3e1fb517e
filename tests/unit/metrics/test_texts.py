from __future__ import annotations

import pytest

from rl4lms.metrics.texts import joined


@pytest.mark.parametrize(
    ("prompt", "completion", "text"),
    [
        ("a great", "movie", "a great movie"),
        ("a great", " movie", "a great movie"),
        ("a great ", "movie", "a great movie"),
        ("a great\n", "movie", "a great\nmovie"),
        ("", "movie", "movie"),
        ("a great", "", "a great"),
    ],
)
def test_white_space_between_prompt_and_completion(prompt, completion, text):
    assert joined(prompt, completion) == text
