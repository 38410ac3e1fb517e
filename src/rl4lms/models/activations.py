"""The tanh form of GELU, faster on CPUs than PyTorch's kernel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import NewGELUActivation

# gelu(x) = x sigmoid(u), u = x (_LINEAR + _CUBIC x^2): 0.5 (1 + tanh y) = sigmoid(2 y) (Hendrycks and Gimpel, 2016).
_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _LINEAR
_SMALLEST = 1e-30


class _Link(torch.autograd.Function):
    """Zeros of the shape of x that take no memory, with the gradient of x: what a second derivative reaches x by
    without keeping it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.new_zeros(()).expand(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _TanhGELU(torch.autograd.Function):
    """Keeps sigmoid(u) and the output, which the next layer keeps anyway: as much memory as keeping x. Twice
    differentiable.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, link: Tensor) -> Tensor:
        s = torch.addcmul(x.new_tensor(_LINEAR), x, x, value=_CUBIC).mul_(x).sigmoid_()
        out = x * s
        ctx.save_for_backward(s, out, link)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """D gelu / dx = s + out (1 - s) u', with u' = _LINEAR + 3 _CUBIC x^2 and x = out / s."""
        s, out, link = ctx.saved_tensors
        x = out.detach() / s.clamp(min=_SMALLEST)
        if torch.is_grad_enabled():  # a second derivative is wanted
            x = torch.where(s > _SMALLEST, x, -20.0) + link  # further down both derivatives are 0 in float32
            return torch.autograd.grad(nn.functional.gelu(x, approximate="tanh"), x, grad, create_graph=True)[0], None
        slope = torch.addcmul(x.new_tensor(_LINEAR), x, x, value=3 * _CUBIC).mul_(out)
        return slope.addcmul_(slope, s, value=-1).add_(s).mul_(grad), None


class TanhGELU(nn.Module):
    """GELU in its tanh form; by element-wise operations on float32 on the CPU, by PyTorch's fused kernel elsewhere.

    PyTorch's CPU kernel takes about twice as long, HF's `gelu_new` five times (`benchmarks/bench.py`, B).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        if x.device.type == "cpu" and x.dtype == torch.float32:
            return _TanhGELU.apply(x, _Link.apply(x))
        return nn.functional.gelu(x, approximate="tanh")


def fuse_activations(lm: nn.Module) -> None:
    """Replace `gelu_new` (GPT-2, gated T5), eight operations in HF's code, in place."""
    for module in list(lm.modules()):
        for name, child in module.named_children():
            if type(child) is NewGELUActivation:
                setattr(module, name, TanhGELU())
