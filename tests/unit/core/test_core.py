"""The maths: sampling, masks, KL, whitening, padding, each against something independent."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rl4lms.core import token_masks
from rl4lms.core.advantages import masked_mean, place_last, whiten
from rl4lms.core.kl import exact_kl, k1, k3, next_kl_coef
from rl4lms.core.logprobs import TokenLogprobs, chunked_token_logprobs, chunks, token_logprobs
from rl4lms.core.losses import ppo_policy_loss, value_loss
from rl4lms.core.padding import GROUP_TOKENS, group_by_length, pad, trim, unpad
from rl4lms.core.sampling import derive_key, draw, draw_keys, exponential_noise, permutation


class TestSampling:
    def test_draws_follow_the_distribution(self) -> None:
        probs = np.array([0.5, 0.3, 0.15, 0.0499, 0.0001])
        keys = draw_keys(3, 0, 0, torch.arange(20_000))
        logits = torch.tensor(probs).log().float().expand(len(keys), 5)
        counts = sum(np.bincount(draw(logits, keys, t).numpy(), minlength=5) for t in range(20))
        assert stats.chisquare(counts, probs * counts.sum()).pvalue > 1e-3

    def test_rare_tokens_of_a_large_vocabulary_are_drawn_with_their_own_probability(self) -> None:
        """A flat tail of 10,000 tokens that holds 1 % of the mass."""
        probs = np.concatenate([[0.99], np.full(10_000, 1e-6)])
        keys = draw_keys(1, 0, 0, torch.arange(2000))
        logits = torch.tensor(probs).log().float().expand(len(keys), -1)
        drawn = torch.cat([draw(logits, keys, t) for t in range(5)])
        rare = int((drawn > 0).sum())
        assert stats.binomtest(rare, len(drawn), 0.01).pvalue > 1e-3
        assert len(set(drawn[drawn > 0].tolist())) > 0.9 * rare  # spread over the tail

    def test_noise_is_exponential_and_independent_between_rows_positions_and_tokens(self) -> None:
        keys = draw_keys(0, 0, 7, torch.arange(64))
        first, second = exponential_noise(keys, 0, 2000), exponential_noise(keys, 1, 2000)
        assert stats.kstest(first.flatten().numpy(), "expon").pvalue > 1e-3
        assert float(first.min()) > 0
        for a, b in ((first, second), (first[:-1], first[1:]), (first[:, :-1], first[:, 1:])):
            correlation = np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1]
            assert abs(correlation) < 4 / math.sqrt(a.numel())

    def test_noise_is_a_pure_function_of_its_counters(self) -> None:
        keys = draw_keys(5, 1, 2, torch.tensor([0, 9, 4]))
        alone = draw_keys(5, 1, 2, torch.tensor([4]))
        assert torch.equal(exponential_noise(keys, 3, 50)[2:], exponential_noise(alone, 3, 50))
        assert len({derive_key(a, b) for a in range(50) for b in range(50)}) == 2500
        assert derive_key(1, 2) != derive_key(2, 1)

    def test_banned_tokens_are_never_drawn(self) -> None:
        logits = torch.tensor([[0.0, -torch.inf, 1.0]]).expand(5000, -1)
        assert set(draw(logits, draw_keys(0, 0, 0, torch.arange(5000)), 0).tolist()) == {0, 2}

    @pytest.mark.parametrize("offset", [-(2.0**21), 0.0, 1e4, 2.0**21])
    def test_draws_do_not_depend_on_what_is_added_to_all_logits(self, offset: float) -> None:
        """Logits in steps that float32 holds at every offset; banned tokens stay banned."""
        logits = torch.tensor([0.0, 1.0, 0.5, 0.75, -1.0])
        keys = draw_keys(2, 0, 0, torch.arange(50_000))
        moved = torch.cat([logits + offset, torch.tensor([token_masks.LOG_ZERO, -torch.inf])]).expand(len(keys), -1)
        counts = np.bincount(draw(moved, keys, 3).numpy(), minlength=7)
        assert stats.chisquare(counts[:5], logits.double().softmax(-1).numpy() * len(keys)).pvalue > 1e-3
        assert not counts[5:].any()

    def test_permutation_is_one_and_is_reproducible(self) -> None:
        order = permutation(100, 3, 1)
        assert sorted(order.tolist()) == list(range(100))
        assert torch.equal(order, permutation(100, 3, 1))
        assert not torch.equal(order, permutation(100, 3, 2))


class TestTokenMasks:
    @given(st.integers(1, 70), st.integers(0, 2**32 - 1))
    def test_pack_round_trips_and_counts(self, vocab_size: int, seed: int) -> None:
        mask = torch.from_numpy(np.random.default_rng(seed).random((3, 4, vocab_size)) < 0.5)
        packed = token_masks.pack(mask)
        assert packed.shape == (3, 4, math.ceil(vocab_size / 8))
        assert torch.equal(token_masks.unpack(packed, vocab_size), mask)
        assert torch.equal(token_masks.size(packed), mask.sum(-1))
        assert torch.equal(token_masks.penalty(packed, vocab_size), torch.where(mask, 0.0, token_masks.LOG_ZERO))

    @given(st.floats(0.01, 1.0), st.integers(1, 5), st.integers(0, 2**32 - 1))
    def test_top_p_is_the_smallest_sufficient_set(self, top_p: float, at_least: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        logits = torch.from_numpy(rng.normal(size=(6, 30)) * 3).float()
        kept = token_masks.top_p_mask(logits, top_p, at_least)
        probs = logits.double().softmax(-1)
        for row in range(6):
            inside, outside = probs[row][kept[row]], probs[row][~kept[row]]
            assert len(inside) >= at_least
            assert float(inside.sum()) >= top_p - 1e-5
            if len(outside):
                assert float(inside.min()) >= float(outside.max()) - 1e-9
            if len(inside) > at_least:  # without its last token it would not do
                assert float(inside.sum() - inside.min()) < top_p + 1e-5

    @pytest.mark.parametrize("top_p", [0.5, 0.9, 0.99])
    @pytest.mark.parametrize("spread", [0.1, 1.0, 6.0])
    def test_top_p_equals_a_search_token_by_token(self, spread: float, top_p: float) -> None:
        """Flat and peaked distributions, in Python, one token after the other in double precision."""
        logits = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 900)) * spread).float()
        logits[:, 13:20] = -torch.inf
        kept = token_masks.top_p_mask(logits, top_p)
        for row, probs in enumerate(logits.double().softmax(-1).tolist()):
            mass, expected = 0.0, set()
            for token in sorted(range(len(probs)), key=lambda i: -probs[i]):
                if mass >= top_p - 1e-6:
                    break
                expected.add(token)
                mass += probs[token]
            assert set(kept[row].nonzero()[:, 0].tolist()) == expected

    def test_ties_are_kept_in_the_order_of_the_vocabulary(self) -> None:
        kept = token_masks.top_p_mask(torch.zeros(2, 64), 0.5)
        assert kept.tolist() == [[True] * 32 + [False] * 32] * 2
        logits = torch.tensor([[1.0, 3.0, 3.0, 1.0, 3.0, 1.0]])  # three equal leaders of 29 % each
        assert token_masks.top_p_mask(logits, 0.5).tolist() == [[False, True, True, False, False, False]]

    def test_top_p_just_below_one_and_low_precision(self) -> None:
        logits = torch.randn(3, 500)
        assert token_masks.top_p_mask(logits, 1 - 1e-7).sum(-1).min() >= 495
        low = logits.bfloat16()
        assert torch.equal(token_masks.top_p_mask(low, 0.8), token_masks.top_p_mask(low.float(), 0.8))

    def test_never_empty_and_never_outside_what_is_allowed(self) -> None:
        logits = torch.randn(8, 12)
        allowed = torch.zeros(8, 12, dtype=torch.bool)
        allowed[:, 7] = True
        for kept in (token_masks.top_p_mask(logits, 1e-6, 5, allowed), token_masks.top_k_mask(logits, 3, allowed)):
            assert torch.equal(kept, allowed)

    def test_top_p_of_one_keeps_everything_whatever_rounding_does(self) -> None:
        assert token_masks.top_p_mask(torch.tensor([[100.0, 0.0, -100.0]]), 1.0).all()

    def test_top_p_must_be_positive(self) -> None:
        with pytest.raises(ValueError, match="top_p"):
            token_masks.top_p_mask(torch.zeros(1, 3), 0.0)


class TestLogprobs:
    def test_equals_torch_distributions(self) -> None:
        logits, ids = torch.randn(20, 11) * 3, torch.randint(11, (20,))
        out = token_logprobs(logits, ids)
        reference = torch.distributions.Categorical(logits=logits)
        assert torch.allclose(out.full, reference.log_prob(ids), atol=1e-5)
        assert torch.allclose(out.entropy, reference.entropy(), atol=1e-5)
        tempered = torch.distributions.Categorical(logits=logits / 0.4)
        assert torch.allclose(token_logprobs(logits, ids, 0.4).behaviour, tempered.log_prob(ids), atol=1e-5)

    @pytest.mark.parametrize("allowed_share", [None, 0.6])
    def test_values_and_gradients_equal_those_of_torch_distributions(
        self, monkeypatch: pytest.MonkeyPatch, allowed_share: float | None
    ) -> None:
        """In one piece, and in chunks that are recomputed."""
        from rl4lms.core import logprobs as module

        torch.manual_seed(0)
        n, d, vocab_size, temperature = 25, 8, 30, 0.7
        weight = torch.randn(vocab_size, d, requires_grad=True)
        hidden = torch.randn(n, d, requires_grad=True)
        ids, factors = torch.randint(vocab_size, (n,)), torch.randn(n)
        allowed = packed = None
        if allowed_share is not None:
            allowed = (torch.rand(n, vocab_size) < allowed_share) | torch.nn.functional.one_hot(ids, vocab_size).bool()
            packed = token_masks.pack(allowed)

        # Row by row over the allowed tokens alone, in double precision, through other code.
        logp, entropy = [], []
        for i in range(n):
            kept = torch.arange(vocab_size) if allowed is None else allowed[i].nonzero()[:, 0]
            categorical = torch.distributions.Categorical(
                logits=(hidden[i].double() @ weight.double()[kept].T) / temperature
            )
            logp.append(categorical.log_prob((kept == ids[i]).nonzero()[0, 0]))
            entropy.append(categorical.entropy())
        expected_loss = (torch.stack(logp) * factors).sum() + 0.3 * torch.stack(entropy).sum()
        expected = torch.autograd.grad(expected_loss, (weight, hidden))

        def loss(tokens: TokenLogprobs, part: slice) -> torch.Tensor:
            assert tokens.entropy is not None
            return (tokens.behaviour * factors[part]).sum() + 0.3 * tokens.entropy.sum()

        args = (ids, vocab_size, temperature, packed)
        for chunk_elements in (1 << 24, vocab_size * 4):
            monkeypatch.setattr(module, "CHUNK_ELEMENTS", chunk_elements)
            weight.grad, leaf = None, hidden.detach().requires_grad_()
            out = chunked_token_logprobs(lambda h: h @ weight.T, leaf, *args)
            loss(out, slice(None)).backward()
            assert torch.allclose(out.behaviour.double(), torch.stack(logp), atol=1e-5)
            assert out.entropy is not None
            assert torch.allclose(out.entropy.double(), torch.stack(entropy), atol=1e-5)
            for got, want in zip((weight.grad, leaf.grad), expected, strict=True):
                assert got is not None
                assert torch.allclose(got, want, atol=1e-4)

    def test_no_tokens(self) -> None:
        out = chunked_token_logprobs(
            lambda h: h @ torch.zeros(4, 9), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 9
        )
        assert out.behaviour.shape == (0,)


@pytest.mark.parametrize(
    ("vocab_size", "few", "tokens"),
    [
        (4_096, True, 256),
        (50_257, True, 256),
        (250_000, True, 67),
        (40, True, 26_214),
        (4_096, False, 4_096),
        (50_257, False, 333),
    ],
)
def test_pieces_are_equal_and_hold_no_more_logits_than_they_may(vocab_size: int, few: bool, tokens: int) -> None:
    for n in (0, 1, tokens, tokens + 1, 5 * tokens - 3):
        pieces = list(chunks(n, vocab_size, few))
        sizes = [min(piece.stop, n) - piece.start for piece in pieces]
        assert [piece.start for piece in pieces] == [sum(sizes[:i]) for i in range(len(sizes))]
        assert sum(sizes) == n
        assert len(pieces) == max(1, -(-n // tokens))
        assert max(sizes) - min(sizes) < len(sizes) + 1


class TestKL:
    def test_estimators_agree_with_the_closed_form(self) -> None:
        torch.manual_seed(0)
        p_logits, q_logits = torch.randn(6), torch.randn(6)
        p, q = p_logits.softmax(-1).double().numpy(), q_logits.softmax(-1).double().numpy()
        expected = float(stats.entropy(p, q))
        assert float(exact_kl(p_logits, q_logits)) == pytest.approx(expected, abs=1e-6)
        ids = torch.distributions.Categorical(logits=p_logits).sample((200_000,))
        log_ratio = (p_logits.log_softmax(-1) - q_logits.log_softmax(-1))[ids]
        for estimate in (k1(log_ratio), k3(log_ratio)):
            assert float(estimate.mean()) == pytest.approx(
                expected, abs=5 * float(estimate.std()) / math.sqrt(len(ids))
            )
        assert (k3(log_ratio) >= 0).all()
        assert k3(log_ratio).std() < k1(log_ratio).std()

    def test_controller_moves_by_at_most_two_percent_toward_the_target(self) -> None:
        """Ziegler et al. (2019), section 2.2, by hand: e = clip(KL / target - 1, +-0.2), beta (1 + 0.1 e)."""
        assert next_kl_coef(0.2, 0.1, kl=0.11) == pytest.approx(0.2 * 1.01)
        assert next_kl_coef(0.2, 0.1, kl=5.0) == pytest.approx(0.2 * 1.02)
        assert next_kl_coef(0.2, 0.1, kl=-3.0) == pytest.approx(0.2 * 0.98)

    def test_fixed_coefficient_stays(self) -> None:
        assert next_kl_coef(0.3, None, kl=99.0) == 0.3


class TestWhitening:
    @given(st.integers(2, 6), st.integers(2, 9), st.integers(0, 2**32 - 1))
    def test_mean_is_zero_and_deviation_one_over_real_tokens(self, rows: int, columns: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        values, mask = (
            torch.from_numpy(rng.normal(3, 5, (rows, columns))),
            torch.from_numpy(rng.random((rows, columns)) < 0.7),
        )
        mask[0, :2] = True
        out = whiten(values, mask)
        assert out[mask].mean().abs() < 1e-9
        assert out[mask].std().item() == pytest.approx(1, abs=1e-6)
        assert not out[~mask].any()

    def test_one_value_or_equal_values_become_zero(self) -> None:
        assert not whiten(torch.tensor([[4.0, 9.0]]), torch.tensor([[True, False]])).any()
        assert not whiten(torch.full((2, 2), 3.0), torch.ones(2, 2, dtype=torch.bool)).any()

    def test_masked_mean_of_nothing(self) -> None:
        assert masked_mean(torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.bool)) == 0


class TestLosses:
    def test_gradient_accumulation_adds_up(self) -> None:
        torch.manual_seed(0)
        logprobs = torch.randn(24, requires_grad=True)
        old, advantages, returns = torch.randn(24), torch.randn(24), torch.randn(24)
        count = 24
        whole = ppo_policy_loss(logprobs, old, advantages, 0.2, count)[0] + value_loss(logprobs, returns, count)
        expected = torch.autograd.grad(whole, logprobs)[0]
        total = torch.zeros_like(logprobs)
        for part in torch.arange(24).split(7):
            loss = ppo_policy_loss(logprobs[part], old[part], advantages[part], 0.2, count)[0]
            loss = loss + value_loss(logprobs[part], returns[part], count)
            total += torch.autograd.grad(loss, logprobs)[0]
        assert torch.allclose(total, expected, atol=1e-6)

    def test_clipping_stops_the_gradient_of_what_went_far_enough(self) -> None:
        """Ratio 1.5 with a positive advantage is clipped, with a negative one it is not."""
        logprobs = torch.full((2,), math.log(1.5), requires_grad=True)
        loss, stats = ppo_policy_loss(logprobs, torch.zeros(2), torch.tensor([1.0, -1.0]), 0.2, 2)
        assert loss.item() == pytest.approx(-(1.2 - 1.5) / 2)
        assert torch.autograd.grad(loss, logprobs)[0].tolist() == pytest.approx([0.0, 0.75])
        assert stats["clip_fraction"] == 1


class TestGroupByLength:
    @given(st.lists(st.integers(1, 60), min_size=1, max_size=7), st.integers(1, 7))
    def test_no_other_cut_of_the_sorted_rows_costs_less(self, lengths: list[int], most: int) -> None:
        """Against every way to cut the rows, in order of length, into groups of at most `most`."""
        groups = group_by_length(lengths, most)
        assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
        assert max(len(group) for group in groups) <= most

        def cost(cut: list[list[int]]) -> int:
            return sum(GROUP_TOKENS + len(group) * max(group) for group in cut)

        ordered, costs = sorted(lengths), []
        for cuts in itertools.product([False, True], repeat=len(lengths) - 1):
            cut = [[ordered[0]]]
            for length, starts_new in zip(ordered[1:], cuts, strict=True):
                if starts_new:
                    cut.append([])
                cut[-1].append(length)
            if max(map(len, cut)) <= most:
                costs.append(cost(cut))
        assert cost([[lengths[i] for i in group] for group in groups]) == min(costs)

    def test_rows_of_one_length_stay_together(self) -> None:
        assert group_by_length([30] * 16, 16) == [list(range(16))]

    def test_short_rows_leave_a_long_one_alone(self) -> None:
        assert group_by_length([10, 200, 11, 12, 9, 10, 8], 16) == [[6, 4, 0, 5, 2, 3], [1]]

    def test_of_nothing(self) -> None:
        assert group_by_length([], 4) == []


class TestPadding:
    @given(
        st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=4), st.sampled_from(["left", "right"])
    )
    def test_round_trip(self, rows: list[list[int]], side: str) -> None:
        ids, mask = pad(rows, 7, side)  # type: ignore[arg-type]
        assert unpad(ids, mask) == rows
        kept = trim(mask)
        assert unpad(ids[:, kept], mask[:, kept]) == rows

    def test_place_last(self) -> None:
        mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
        assert place_last(torch.tensor([5.0, -1.0, 9.0]), mask).tolist() == [[0, 5, 0], [-1, 0, 0], [0, 0, 0]]
