"""Matrix products of linear layers in float32, faster on the CPUs that PyTorch's library for them is slow on."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

# Products with smaller weights are over before what is gained pays for the call. Not by the number of rows: a row's
# result is not to depend on what else is in its batch.
_LEAST = 1 << 16


@functools.cache
def pays() -> bool:
    """Return whether oneDNN, a part of PyTorch, multiplies float32 matrices faster than MKL, which PyTorch takes.

    MKL uses AVX-512 on Intel's processors only; oneDNN on any that has it: 2.2 times the rate on an AMD EPYC
    (`reports/peers.md`).
    """
    info = Path("/proc/cpuinfo")
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and info.is_file()
        and "GenuineIntel" not in info.read_text()
    )


def _even(a: Tensor) -> Tensor:
    """Return a matrix with rows of zeros below, so that their number is one of 8 in each octave.

    oneDNN keeps something of every shape it has met. Where each batch has a shape of its own that costs time, and
    memory far beyond what is kept: it lies between results, and what is freed there does not fit the next one.
    """
    step = 1 << max(0, a.shape[0].bit_length() - 4)
    return nn.functional.pad(a, (0, 0, 0, -a.shape[0] % step)) if a.shape[0] % step else a


class _Product(torch.autograd.Function):
    """A product a @ b (M, N) of (M, K) and (K, N), plus a bias (N,) or None; any number of times differentiable."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(a, b)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(_even(a), b.t(), bias, "none", [], "")
        return out[: a.shape[0]]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        for_a, for_b, for_bias = ctx.needs_input_grad
        return (
            _Product.apply(grad, b.t(), None) if for_a else None,
            _Product.apply(_even(a).t(), _even(grad), None) if for_b else None,
            grad.sum(0) if for_bias else None,
        )


def _usable(x: Tensor, weight: Tensor) -> bool:
    """Return whether a layer's product is one that `_Product` computes, and large enough."""
    return (
        type(weight) is nn.Parameter  # not a piece of one that is divided between processes
        and x.numel() > 0
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and weight.numel() >= _LEAST
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return out.view(*x.shape[:-1], weight.shape[-1])


class FastLinear(nn.Linear):
    """`nn.Linear` by oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., K) to (..., N)."""
        return _product(x, self.weight.t(), self.bias) if _usable(x, self.weight) else super().forward(x)


class FastConv1D(Conv1D):
    """GPT-2's linear layer, whose weight is transposed, by oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., K) to (..., N)."""
        if _usable(x, self.weight):
            return _product(x, self.weight, self.bias)
        out: Tensor = super().forward(x)
        return out


_FAST: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: FastLinear, Conv1D: FastConv1D}


def fast_products(lm: nn.Module) -> None:
    """Make the linear layers of a model, those of its adapters included, use oneDNN where that pays; in place, with the
    same parameters.
    """
    if pays():
        for module in lm.modules():
            module.__class__ = _FAST.get(type(module), type(module))
