"""Nuclei and the k most probable tokens, against a sort of everything in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl4lms.core import token_masks
from rl4lms.core.token_masks import LOG_ZERO, top_k_mask, top_p_mask

Given = tuple[Tensor, Tensor]
SEEDS = st.integers(0, 2**32 - 1)
TOP_P = st.sampled_from([1e-6, 0.1, 0.5, 0.9, 0.99, 0.999, 1 - 1e-7])


def ranked(logits: list[float], allowed: list[bool]) -> list[int]:
    """The allowed tokens, the most probable first and equal ones in their order: Python's sort is stable."""
    return sorted((i for i, a in enumerate(allowed) if a), key=lambda i: -logits[i])


def nucleus(logits: list[float], top_p: float, at_least: int, allowed: list[bool]) -> set[int]:
    """One token after the other, in double precision, until they hold `top_p` of the mass."""
    order = ranked(logits, allowed)
    top = logits[order[0]]
    weights = [math.exp(logits[i] - top) if logits[i] > -math.inf else 0.0 for i in order]
    enough, mass, kept = top_p * math.fsum(weights), 0.0, set()
    for token, weight in zip(order, weights, strict=True):
        if mass >= enough and len(kept) >= at_least:
            break
        kept.add(token)
        mass += weight
    return kept


def chosen(mask: Tensor) -> list[set[int]]:
    return [set(row.nonzero()[:, 0].tolist()) for row in mask]


@st.composite
def rows(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Logits (3, V) with what makes ranking hard, and the allowed tokens: at least one per row has a finite logit."""
    rng = np.random.default_rng(draw(SEEDS))
    size = draw(st.sampled_from([1, 2, 9, 40, 300]))
    spread = draw(st.sampled_from([0.0, 1e-4, 1.0, 6.0, 60.0, 1e4]))
    logits = rng.normal(size=(3, size)) * spread + draw(st.sampled_from([0.0, -300.0, 5e3]))
    if draw(st.booleans()):
        logits = logits.round()  # ties
    for low in (-np.inf, LOG_ZERO):
        if draw(st.booleans()):
            logits[rng.random(logits.shape) < 0.3] = low
    allowed = rng.random(logits.shape) < draw(st.sampled_from([0.05, 0.6, 1.0]))
    sure = rng.integers(0, size, 3)
    logits[range(3), sure], allowed[range(3), sure] = rng.normal(size=3), True
    return torch.from_numpy(logits).float(), torch.from_numpy(allowed)


class TestTopP:
    @settings(max_examples=300)
    @given(rows(), TOP_P, st.sampled_from([1, 2, 5, 30, 1000]), st.booleans())
    def test_it_equals_a_sort(self, given_rows: Given, top_p: float, at_least: int, restricted: bool) -> None:
        logits, allowed = given_rows
        kept = top_p_mask(logits, top_p, at_least, allowed if restricted else None)
        flags = (allowed if restricted else torch.ones_like(allowed)).tolist()
        expected = [nucleus(row, top_p, at_least, flag) for row, flag in zip(logits.tolist(), flags, strict=True)]
        assert chosen(kept) == expected

    @pytest.mark.parametrize("top_p", [0.5, 0.9, 0.999])
    @pytest.mark.parametrize("spread", [0.0, 1e-3, 0.1, 3.0])
    def test_so_do_vocabularies_of_many_tokens(self, spread: float, top_p: float) -> None:
        """In float32 a sum over so many is off by the mass of a token or two. Two rows are more than one chunk."""
        logits = torch.from_numpy(np.random.default_rng(3).normal(size=(2, 262_144)) * spread).float()
        kept = top_p_mask(logits, top_p)
        probs = logits.double().softmax(-1)
        order = logits.sort(dim=-1, descending=True, stable=True).indices
        mass = probs.gather(1, order).cumsum(-1)
        size = (mass < top_p * mass[:, -1:]).sum(-1) + 1
        assert kept.sum(-1).tolist() == size.tolist()
        for row in range(2):
            assert kept[row, order[row, : int(size[row])]].all()

    @pytest.mark.parametrize("allowed", [None, torch.tensor([[False, True, True, False, True, True]])])
    def test_tokens_whose_probability_underflows_are_ranked_by_logit(self, allowed: Tensor | None) -> None:
        """Below 104 nats float32 probabilities are 0, and all alike."""
        logits = torch.tensor([[900.0, 800.0, 200.0, 650.0, 700.0, -300.0]])
        if allowed is None:
            assert chosen(top_p_mask(logits, 0.9, 4)) == [{0, 1, 4, 3}]
        else:
            assert chosen(top_p_mask(logits, 0.9, 3, allowed)) == [{1, 4, 2}]
            assert chosen(top_p_mask(logits, 0.9, 100, allowed)) == [{1, 2, 4, 5}]

    @given(rows(), st.integers(1, 50))
    def test_as_many_allowed_tokens_are_kept_as_asked_for(self, given_rows: Given, at_least: int) -> None:
        logits, allowed = given_rows
        kept = top_p_mask(logits, 0.3, at_least, allowed)
        assert not (kept & ~allowed).any()
        assert (kept.sum(-1) >= allowed.sum(-1).clamp(max=at_least)).all()

    @pytest.mark.parametrize("bad", [-math.inf, math.nan, math.inf])
    def test_rows_without_a_distribution_keep_an_allowed_token_and_leave_others_alone(self, bad: float) -> None:
        logits = torch.tensor([[bad] * 4, [0.0, 3.0, 1.0, 9.0], [1.0, 2.0, bad, bad]])
        allowed = torch.tensor([[False, True, True, False], [True, True, True, False], [True, True, False, True]])
        for kept in (top_p_mask(logits, 0.6, 1, allowed), top_k_mask(logits, 1, allowed)):
            assert kept.any(-1).all()
            assert not (kept & ~allowed).any()
            assert chosen(kept)[1] == {1}
        assert top_p_mask(logits, 0.6).any(-1).all()

    def test_rows_are_independent_of_those_beside_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logits = torch.from_numpy(np.random.default_rng(1).normal(size=(7, 50)) * 3).float()
        whole = top_p_mask(logits, 0.8, 3)
        monkeypatch.setitem(token_masks._CHUNK_ELEMENTS, "cpu", 100)  # two rows at a time, and one
        assert torch.equal(top_p_mask(logits, 0.8, 3), whole)
        assert top_p_mask(logits[:0], 0.8).shape == (0, 50)

    @pytest.mark.parametrize("top_p", [0.0, -1.0, math.nan])
    def test_a_share_that_is_not_positive_is_refused(self, top_p: float) -> None:
        with pytest.raises(ValueError, match="top_p"):
            top_p_mask(torch.zeros(1, 3), top_p)


class TestTopK:
    @settings(max_examples=300)
    @given(rows(), st.sampled_from([1, 2, 5, 30, 1000]), st.booleans())
    @example((torch.tensor([[0.0, -math.inf, -math.inf]]), torch.tensor([[True, False, True]])), 2, True)
    def test_it_equals_the_first_of_a_stable_sort(self, given_rows: Given, top_k: int, restricted: bool) -> None:
        logits, allowed = given_rows
        kept = top_k_mask(logits, top_k, allowed if restricted else None)
        flags = (allowed if restricted else torch.ones_like(allowed)).tolist()
        expected = [set(ranked(row, flag)[:top_k]) for row, flag in zip(logits.tolist(), flags, strict=True)]
        assert chosen(kept) == expected

    @pytest.mark.parametrize("size", [64, 50_257])
    def test_of_equal_logits_the_first_are_kept(self, size: int) -> None:
        """Also in low precision, where most logits have equals."""
        assert chosen(top_k_mask(torch.zeros(2, size), 5)) == [{0, 1, 2, 3, 4}] * 2
        low = torch.from_numpy(np.random.default_rng(0).normal(size=(2, size))).bfloat16()
        expected = [set(ranked(row, [True] * size)[:20]) for row in low.tolist()]
        assert chosen(top_k_mask(low, 20)) == expected

    def test_it_does_not_change_what_it_is_given(self) -> None:
        allowed = torch.tensor([[True, False, True]])
        top_k_mask(torch.zeros(1, 3), 9, allowed).fill_(True)
        assert allowed.tolist() == [[True, False, True]]

    def test_no_tokens_are_refused(self) -> None:
        with pytest.raises(ValueError, match="top_k"):
            top_k_mask(torch.zeros(1, 3), 0)
