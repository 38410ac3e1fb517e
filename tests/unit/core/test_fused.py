"""Losses over the vocabulary as scalars: against plain autograd, one tensor over the vocabulary at a time; and second
derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from rl4lms.core import logprobs, token_masks
from rl4lms.core.fused import fused_loss
from rl4lms.core.logprobs import TokenLogprobs, token_logprobs
from rl4lms.core.padding import pad
from rl4lms.models.activations import TanhGELU
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from tests.tiny import tiny_lm

N, D, V = 25, 8, 30
LOSSES: dict[str, Callable[[TokenLogprobs], Tensor]] = {
    "behaviour": lambda t: t.behaviour.exp().sum(),
    "entropy": lambda t: (t.behaviour.exp() + 0.3 * t.entropy**2).sum(),
    "full": lambda t: (t.behaviour * t.full.exp() + t.full**2).sum(),
    "everything": lambda t: (t.behaviour * t.full.exp() + t.entropy).sum(),
    "entropy alone": lambda t: t.entropy.sum(),
    "constant": lambda t: torch.zeros(()),
}


class Head(nn.Module):
    """A transform before the output layer, as BERT has one, a parameter that nothing uses, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.transform, self.out, self.unused = nn.Linear(D, D), nn.Linear(D, V), nn.Linear(1, 1)
        self.out.bias.requires_grad_(False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out(self.transform(hidden).tanh())


def inputs(masked: bool) -> tuple[Head, Tensor, Tensor, Tensor | None, Tensor | None]:
    torch.manual_seed(0)
    ids = torch.randint(V, (N,))
    allowed = (torch.rand(N, V) < 0.5) | nn.functional.one_hot(ids, V).bool() if masked else None
    return (
        Head(),
        torch.randn(N, D, requires_grad=True),
        ids,
        allowed,
        None if allowed is None else token_masks.pack(allowed),
    )


def plain(head: Head, hidden: Tensor, ids: Tensor, allowed: Tensor | None, temperature: float) -> TokenLogprobs:
    """The same quantities by `log_softmax` over everything at once."""
    logits = head(hidden)
    z = logits / temperature if allowed is None else (logits / temperature).masked_fill(~allowed, -1e9)
    logp = z.log_softmax(-1)
    pick = lambda x: x.gather(-1, ids[:, None])[:, 0]  # noqa: E731
    return TokenLogprobs(pick(logp), pick(logits.log_softmax(-1)), None, -(logp.exp() * logp).sum(-1))


@pytest.mark.parametrize("chunk", [1000, 4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradients_equal_plain_autograd(
    name: str, temperature: float, masked: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", chunk * V)
    head, hidden, ids, allowed, packed = inputs(masked)
    loss, calls = LOSSES[name], []

    def counted(tokens: TokenLogprobs, piece: slice) -> Tensor:
        calls.append(piece)
        return loss(tokens)

    options = {"full": name in ("full", "everything"), "entropy": name in ("entropy", "everything", "entropy alone")}
    got = fused_loss(head, list(head.parameters()), hidden, ids, counted, V, temperature, packed, **options)
    assert len(calls) == -(-N // min(chunk, N))
    expected = loss(plain(head, hidden, ids, allowed, temperature))
    assert got.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    if name == "constant":
        return
    (3 * got).backward()  # not 1: what comes from above must arrive
    found = {n: p.grad for n, p in head.named_parameters()} | {"hidden": hidden.grad}
    head.zero_grad()
    hidden.grad = None
    (3 * loss(plain(head, hidden, ids, allowed, temperature))).backward()
    wanted = {n: p.grad for n, p in head.named_parameters()} | {"hidden": hidden.grad}
    for key, gradient in wanted.items():
        if gradient is None:
            assert found[key] is None
        else:
            assert torch.allclose(found[key], gradient, atol=1e-5), key


@pytest.mark.parametrize("chunk", [1000, 4])
def test_a_loss_of_whole_sequences(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ratio of sequences (GSPO, arXiv 2507.18071): no sum over tokens, so the loss is called once, whatever the
    chunks.
    """
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", chunk * V)
    head, hidden, ids, allowed, packed = inputs(masked=True)
    sequence = torch.arange(N) % 3

    def loss(tokens: TokenLogprobs, piece: slice) -> Tensor:
        assert piece == slice(0, N)
        assert tokens.full is not None
        return (
            torch.zeros(3).index_add(0, sequence, tokens.behaviour).exp().sum()
            + (tokens.full * tokens.entropy).prod() * 1e-30
        )

    got = fused_loss(
        head, list(head.parameters()), hidden, ids, loss, V, 0.8, packed, full=True, entropy=True, whole=True
    )
    got.backward()
    found = [head.out.weight.grad.clone(), hidden.grad.clone()]
    head.zero_grad()
    hidden.grad = None
    loss(plain(head, hidden, ids, allowed, 0.8), slice(0, N)).backward()
    for ours, theirs in zip(found, (head.out.weight.grad, hidden.grad), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_without_gradients_it_is_the_value_alone() -> None:
    head, hidden, ids, _, packed = inputs(masked=True)
    options: dict[str, Any] = {"packed_mask": packed}
    for whole in (False, True):
        got = fused_loss(
            head, list(head.parameters()), hidden, ids, lambda t, piece: t.behaviour.sum(), V, whole=whole, **options
        )
        with torch.no_grad():
            value = fused_loss(
                head,
                list(head.parameters()),
                hidden,
                ids,
                lambda t, piece: t.behaviour.sum(),
                V,
                whole=whole,
                **options,
            )
        assert not value.requires_grad
        assert float(value) == pytest.approx(got.item(), rel=1e-6)


def test_frozen_parts_get_no_gradient() -> None:
    head, hidden, ids, *_ = inputs(masked=False)
    frozen = hidden.detach()
    fused_loss(head, list(head.parameters()), frozen, ids, lambda t, piece: t.behaviour.sum(), V).backward()
    assert frozen.grad is None
    assert head.out.weight.grad is not None
    head.requires_grad_(False)
    fused_loss(head, list(head.parameters()), hidden, ids, lambda t, piece: t.behaviour.sum(), V).backward()
    assert hidden.grad is not None


def test_a_kept_graph_gives_the_same_gradient_twice_and_a_freed_one_an_error() -> None:
    head, hidden, ids, *_ = inputs(masked=False)
    loss = fused_loss(head, list(head.parameters()), hidden, ids, lambda t, piece: t.behaviour.sum(), V)
    loss.backward(retain_graph=True)
    once = hidden.grad.clone()
    loss.backward()
    assert torch.equal(hidden.grad, 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_a_second_derivative_of_the_scalar_is_refused() -> None:
    head, hidden, ids, *_ = inputs(masked=False)
    loss = fused_loss(head, list(head.parameters()), hidden, ids, lambda t, piece: t.behaviour.sum(), V)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(loss, hidden, create_graph=True)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("masked", [False, True])
def test_log_probs_and_activation_pass_gradgradcheck(
    masked: bool, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numerical first and second derivatives in double precision."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)
    torch.manual_seed(0)
    logits, ids = torch.randn(3, 6, dtype=torch.float64, requires_grad=True), torch.tensor([0, 4, 2])
    allowed = torch.rand(3, 6) < 0.6
    allowed[range(3), ids] = True
    penalty = token_masks.penalty(token_masks.pack(allowed), 6).double() if masked else None

    def outputs(z: Tensor) -> tuple[Tensor, ...]:
        t = token_logprobs(z, ids, temperature, penalty)
        return t.behaviour, t.full, t.entropy

    assert torch.autograd.gradcheck(outputs, logits)
    assert torch.autograd.gradgradcheck(outputs, logits)


def test_second_derivative_of_the_fast_activation() -> None:
    x = torch.linspace(-6, 6, 41, requires_grad=True)
    reference = x.detach().double().requires_grad_()
    results = []
    for value, function in ((x, TanhGELU()), (reference, lambda v: nn.functional.gelu(v, approximate="tanh"))):
        (first,) = torch.autograd.grad(function(value).sin().sum(), value, create_graph=True)
        results.append((first.detach(), torch.autograd.grad((first**2).sum(), value)[0]))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours.double(), theirs, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "t5-untied", "bert"])
def test_a_hessian_vector_product_through_the_pass_equals_finite_differences(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm(family)
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", 5 * 40)  # several chunks, which are computed again
    policy = Policy(lm, special_tokens(lm, None)).double()
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)
    prompts = pad([[5, 6, 7], [4]], policy.tokens.pad, policy.family.padding_side)
    completions = pad([[5, 6, 9, 12], [7, 8, 9]], policy.tokens.pad, "right")
    packed = token_masks.pack((torch.rand(2, 4, 40) < 0.5).scatter(2, completions[0][..., None], True))
    parameters = [p for p in policy.parameters() if p.requires_grad]

    def gradient() -> Tensor:
        out = policy(*prompts, *completions, temperature=0.8, token_mask=packed)
        loss = (out.logprobs.exp() + out.entropy * out.full_logprobs).sum()
        found = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        return torch.cat(
            [
                torch.zeros_like(p).flatten() if g is None else g.flatten()
                for g, p in zip(found, parameters, strict=True)
            ]
        )

    torch.manual_seed(1)
    direction = torch.randn(sum(p.numel() for p in parameters), dtype=torch.float64)
    pieces = direction.split([p.numel() for p in parameters])
    with sdpa_kernel(SDPBackend.MATH):
        product = torch.autograd.grad(gradient() @ direction, parameters, allow_unused=True)
        product = torch.cat(
            [
                torch.zeros_like(p).flatten() if g is None else g.flatten()
                for g, p in zip(product, parameters, strict=True)
            ]
        )

        def moved(by: float) -> Tensor:
            with torch.no_grad():
                for p, d in zip(parameters, pieces, strict=True):
                    p.add_(by * d.view_as(p))
            return gradient().detach()

        # T5's norms compute in float32, whatever the weights; a larger step than this crosses a kink of its ReLU
        step, tolerance = (1e-5, 1e-3) if family == "t5-untied" else (1e-6, 1e-4)
        above, below = moved(step), moved(-2 * step)
    finite = (above - below) / (2 * step)
    assert (finite - product).abs().max() <= tolerance * product.abs().max()


@pytest.mark.parametrize("context", [nullcontext, lambda: torch.autocast("cpu", dtype=torch.bfloat16)])
def test_precision_of_the_context_is_used(context: Any) -> None:
    head, hidden, ids, *_ = inputs(masked=False)
    with context():
        loss = fused_loss(head, list(head.parameters()), hidden, ids, lambda t, piece: t.behaviour.sum(), V)
    loss.backward()
    found = head.out.weight.grad.clone()
    head.zero_grad()
    plain(head, hidden, ids, None, 1.0).behaviour.sum().backward()
    error = (found - head.out.weight.grad).abs().max() / found.abs().max()
    assert (1e-4 < error < 2e-2) == (context is not nullcontext)
