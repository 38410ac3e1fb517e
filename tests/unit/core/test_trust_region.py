"""Conjugate gradients and Fisher-vector products, against matrices written out."""

from __future__ import annotations

import pytest
import torch

from rl4lms.core.kl import exact_kl
from rl4lms.core.trust_region import (
    add_fisher_product,
    conjugate_gradient,
    flat_gradients,
    longest_step,
    split_like,
)


def matrix(n: int) -> torch.Tensor:
    torch.manual_seed(0)
    half = torch.randn(n, n, dtype=torch.float64)
    return half @ half.T + 0.1 * torch.eye(n, dtype=torch.float64)


def test_conjugate_gradient_solves() -> None:
    a, b = matrix(12), torch.randn(12, dtype=torch.float64)
    assert torch.allclose(conjugate_gradient(lambda v: a @ v, b, 40), torch.linalg.solve(a, b), rtol=1e-8)


def test_it_stops_where_there_is_nothing_left() -> None:
    asked = []

    def product(v: torch.Tensor) -> torch.Tensor:
        asked.append(v)
        return 2 * v

    assert torch.equal(conjugate_gradient(product, torch.ones(3), 10), torch.full((3,), 0.5))
    assert len(asked) == 1
    assert not conjugate_gradient(product, torch.zeros(3), 10).any()
    assert len(asked) == 1


def test_each_step_is_closer_in_the_norm_of_the_matrix() -> None:
    a, b = matrix(8), torch.randn(8, dtype=torch.float64)
    x = torch.linalg.solve(a, b)
    errors = [conjugate_gradient(lambda v: a @ v, b, n) - x for n in range(8)]
    norms = [float(e @ a @ e) for e in errors]
    assert norms == sorted(norms, reverse=True)


def test_the_longest_step_ends_on_the_bound() -> None:
    a, d = matrix(5), torch.randn(5, dtype=torch.float64)
    length = longest_step(d, a @ d, 0.02)
    assert float((length * d) @ a @ (length * d)) / 2 == pytest.approx(0.02)
    assert longest_step(d, 0 * d, 0.02) == 0.0


def test_the_fisher_product_is_that_of_the_fisher_matrix() -> None:
    """Of three parameters, with the matrix as E[g g'] over every action."""
    torch.manual_seed(1)
    features = torch.randn(6, 4, 3, dtype=torch.float64)
    theta = torch.randn(3, dtype=torch.float64, requires_grad=True)
    logits = features @ theta
    probs = logits.detach().softmax(-1)
    fisher = torch.zeros(3, 3, dtype=torch.float64)
    for state in range(6):
        for action in range(4):
            (g,) = torch.autograd.grad(logits[state].log_softmax(-1)[action], theta, retain_graph=True)
            fisher += probs[state, action] * torch.outer(g, g) / 6
    v = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    add_fisher_product(exact_kl(logits, logits.detach()).mean(), [theta], v)
    assert torch.allclose(flat_gradients([theta]), fisher @ v, rtol=1e-5)  # exact_kl is float32


def test_vectors_and_tensors() -> None:
    parameters = [torch.zeros(2, 3), torch.zeros(4)]
    parts = split_like(torch.arange(10.0), parameters)
    assert [part.shape for part in parts] == [(2, 3), (4,)]
    parameters[1].grad = torch.ones(4)
    assert flat_gradients(parameters).tolist() == [0.0] * 6 + [1.0] * 4
