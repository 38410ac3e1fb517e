"""Training that gives the same weights on every processor, for the small models that tasks declare.

Processors add in different orders. A training in float32 makes the last bit of a sum into another model within some
hundred steps, so scores by such a model would be other ones elsewhere. Here everything is computed in float64, and
what reaches the optimiser is rounded so coarsely that differences of 1e-15 vanish at every step: two trainings differ
only where a number lies on the very edge between two roundings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

# Of a gradient: 5 bits are plenty for Adam. Below the smallest, terms that cancel leave nothing but noise.
_GRADIENT_BITS, _SMALLEST_GRADIENT = 5, 2.0**-20
_WEIGHT_BITS = 15


class _StaysDouble(TorchFunctionMode):
    """Leaves float64 as it is where models ask for float32, as for the softmax of attention."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], Tensor) and args[0].dtype is torch.float64:
            if func is torch.Tensor.float:
                return args[0]
            if kwargs.get("dtype") is torch.float32:
                del kwargs["dtype"]
            if func is torch.Tensor.to:
                args = tuple(argument for argument in args if argument is not torch.float32)
                if len(args) == 1 and not kwargs:
                    return args[0]
        return func(*args, **kwargs)


@contextmanager
def portable() -> Iterator[None]:
    """Build and train models inside of this; `portable_weights` is the last step."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    hook = register_optimizer_step_pre_hook(_round_gradients)
    try:
        with _StaysDouble():
            yield
    finally:
        hook.remove()
        torch.set_default_dtype(before)


@torch.no_grad()
def portable_weights(model: nn.Module) -> None:
    """Round the weights of a model that was trained inside of `portable`, and make it one of float32."""
    for parameter in model.parameters():
        parameter.copy_(_rounded(parameter, _WEIGHT_BITS))
    model.float()


@torch.no_grad()
def _round_gradients(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                gradient = torch.where(parameter.grad.abs() < _SMALLEST_GRADIENT, 0.0, parameter.grad)
                parameter.grad.copy_(_rounded(gradient, _GRADIENT_BITS))


def _rounded(numbers: Tensor, bits: int) -> Tensor:
    """Round float64 to so many binary digits after the first one, wherever the point is."""
    dropped = 52 - bits  # of the 52 that are stored
    return (numbers.view(torch.int64) + (1 << (dropped - 1)) >> dropped << dropped).view(torch.float64)
