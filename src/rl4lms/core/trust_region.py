"""What a step within a trust region is computed with: vectors alone, no matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def conjugate_gradient(product: Callable[[Tensor], Tensor], target: Tensor, steps: int) -> Tensor:
    """Solve A x = b approximately for a symmetric positive definite A that is known by its products (Hestenes and
    Stiefel, 1952).

    Starts at x = 0 and ends early where the residual is 1e-10 of the target, which more steps only fill with rounding.

    Args:
        product: maps (n,) to A times it.
        target: b (n,).
        steps: at most so many products.

    Returns:
        x (n,).
    """
    x, residual = torch.zeros_like(target), target.clone()
    direction, size = residual.clone(), residual @ residual
    enough = 1e-10**2 * size
    for _ in range(steps):
        if size <= enough:
            break
        moved = product(direction)
        along = size / (direction @ moved)
        x += along * direction
        residual -= along * moved
        size, before = residual @ residual, size
        direction = residual + (size / before) * direction
    return x


def longest_step(direction: Tensor, curved: Tensor, bound: float) -> float:
    """Return the factor with which a direction d ends where d' F d / 2 is the bound: sqrt(2 bound / d' F d) (TRPO,
    Schulman et al., 2015, appendix C).

    Args:
        direction: d (n,).
        curved: F d (n,).
        bound: positive, nats.

    Returns:
        The factor; 0 where the direction does not move the distribution.
    """
    curvature = float(direction @ curved)
    return (2 * bound / curvature) ** 0.5 if curvature > 0 else 0.0


def add_fisher_product(kl: Tensor, parameters: Sequence[Tensor], v: Tensor) -> None:
    """Add the second derivative of a KL times a vector to the gradients of the parameters.

    Of the KL from the policy itself it is the Fisher matrix times the vector: the gradient of (the gradient of the KL,
    times v), so that no matrix is made (Pearlmutter, 1994; TRPO, appendix C).

    Args:
        kl: scalar that can be differentiated twice.
        parameters: n numbers in all.
        v: (n,), in their order.
    """
    wanted: dict[str, Any] = {"create_graph": True, "allow_unused": True, "materialize_grads": True}
    slopes = torch.autograd.grad(kl, parameters, **wanted)
    parts = split_like(v, parameters)
    torch.stack([(slope * part).sum() for slope, part in zip(slopes, parts, strict=True)]).sum().backward(
        inputs=list(parameters)
    )


def flat_gradients(parameters: Sequence[Tensor]) -> Tensor:
    """Return the gradients of n numbers as one vector (n,); 0 where there is none."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])


def split_like(v: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Cut a vector (n,) into tensors of the shapes of the parameters."""
    pieces = v.split([p.numel() for p in parameters])
    return [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]
