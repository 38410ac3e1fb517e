"""Rows of a prompt and its completions, against rows of their own."""

from __future__ import annotations

import pytest
import torch

from rl4lms.core.packing import Packed
from rl4lms.core.padding import pad

PROMPTS = [[5, 6, 7], [8]]
COMPLETIONS = [[10, 11, 12], [13], [], [20, 21], [22, 23, 24, 25], [26, 27]]


def packed() -> tuple[Packed, torch.Tensor]:
    completions, mask = pad(COMPLETIONS, 0, "right")
    return Packed(*pad(PROMPTS, 0, "left"), completions, mask), mask


def test_what_stands_where() -> None:
    rows, _ = packed()
    assert rows.ids.tolist() == [[5, 6, 7, 10, 11, 0], [8, 20, 22, 23, 24, 26]]
    assert rows.positions.tolist() == [[0, 1, 2, 3, 4, 0], [0, 1, 1, 2, 3, 1]]
    assert rows.part.tolist() == [[0, 0, 0, 1, 1, -1], [0, 1, 2, 2, 2, 3]]


def test_every_token_is_predicted_by_the_one_before_it_in_its_own_text() -> None:
    rows, mask = packed()
    wanted = []
    for i, completion in enumerate(COMPLETIONS):
        text = PROMPTS[i // 3] + completion
        wanted += [text[: len(PROMPTS[i // 3]) + t] for t in range(len(completion))]
    assert len(rows.before) == int(mask.sum()) == len(wanted)
    seen, ids = rows.mask("sdpa", torch.float32), rows.ids.flatten()
    for place, text in zip(rows.before.tolist(), wanted, strict=True):
        row, column = divmod(place, rows.width)
        visible = seen[row, 0, column].nonzero()[:, 0].tolist()
        assert [int(rows.ids[row, c]) for c in visible] == text  # what it sees is its own text, in order
        assert int(ids[place]) == text[-1]
        assert [int(rows.positions[row, c]) for c in visible] == list(range(len(text)))


def test_eager_attention_gets_what_is_added() -> None:
    rows, _ = packed()
    seen, added = rows.mask("sdpa", torch.float32), rows.mask("eager", torch.float32)
    assert torch.equal(added == 0, seen)
    assert added.min() == torch.finfo(torch.float32).min
    assert seen.any(-1).all()  # no token sees nothing, which would be NaN


@pytest.mark.parametrize(
    ("prompt", "completion", "n", "pays"),
    [(64, 48, 4, True), (400, 20, 8, True), (2, 200, 8, False)],
)
def test_long_prompts_pay_and_long_completions_do_not(prompt: int, completion: int, n: int, pays: bool) -> None:
    ids, mask = pad([[1] * prompt] * 2, 0, "left")
    rows = Packed(ids, mask, *pad([[1] * completion] * 2 * n, 0, "right"))
    assert rows.pays(64) == pays
