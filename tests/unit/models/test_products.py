"""Linear layers by oneDNN compute what PyTorch's own do."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from rl4lms.models import products
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not torch.backends.mkldnn.is_available(),
    reason="this PyTorch has no oneDNN",
)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the products that were computed by oneDNN, on any processor and for any size."""
    found: list[tuple[int, ...]] = []
    plain = products._product

    def counted(x, weight, bias):
        found.append((*x.shape, weight.shape[-1]))
        return plain(x, weight, bias)

    monkeypatch.setattr(products, "pays", lambda: True)
    monkeypatch.setattr(products, "_LEAST", 0)
    monkeypatch.setattr(products, "_product", counted)
    return found


def layers() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    made = {"linear": nn.Linear(24, 40), "no bias": nn.Linear(24, 40, bias=False), "conv1d": Conv1D(40, 24)}
    nn.init.normal_(made["conv1d"].bias)
    return made


def fast(layer: nn.Module) -> nn.Module:
    products.fast_products(nn.ModuleList([layer]))
    return layer


@pytest.mark.parametrize("name", list(layers()))
@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (24,), (1, 24), (37, 24), (3, 101, 24)])
def test_values_and_gradients_are_those_of_double_precision(used: list, name: str, shape: tuple[int, ...]) -> None:
    layer = layers()[name]
    exact = copy.deepcopy(layer).double()
    x = torch.randn(shape, requires_grad=True)
    wide = x.detach().double().requires_grad_()
    out, expected = fast(layer)(x), exact(wide)
    assert len(used) == 1
    assert out.shape == expected.shape
    weights = torch.randn(out.shape)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    pairs = [(out, expected), (x.grad, wide.grad)]
    pairs += [(p.grad, q.grad) for p, q in zip(layer.parameters(), exact.parameters(), strict=True)]
    for ours, theirs in pairs:
        assert (ours.double() - theirs).abs().max() < 1e-6 * max(10, theirs.abs().max())


@pytest.mark.parametrize("name", list(layers()))
def test_second_derivatives_are_those_of_double_precision(used: list, name: str) -> None:
    """As TRPO needs them: of the gradient's product with a vector, through every parameter."""
    layer = layers()[name]
    exact = copy.deepcopy(layer).double()
    x, vectors = torch.randn(5, 24), [torch.randn(p.shape) for p in layer.parameters()]
    found = []
    for module, at in ((fast(layer), x), (exact, x.double())):
        parameters = list(module.parameters())
        value = module(at).sigmoid().square().sum()
        gradients = torch.autograd.grad(value, parameters, create_graph=True)
        product = sum((g * v.to(g.dtype)).sum() for g, v in zip(gradients, vectors, strict=True))
        found.append(torch.autograd.grad(product, parameters))
    assert used
    for ours, theirs in zip(*found, strict=True):
        assert (ours.double() - theirs).abs().max() < 1e-4


def test_views_that_are_not_contiguous_are_read_as_they_are(used: list) -> None:
    layer = layers()["linear"]
    x = torch.randn(24, 6).t()
    expected = layer(x)
    assert (fast(layer)(x) - expected).abs().max() < 1e-5
    assert used


def test_other_precisions_no_rows_and_small_layers_are_pytorch_s(used: list, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = fast(layers()["linear"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(2, 24)).dtype == torch.bfloat16
    assert layer(torch.randn(0, 24)).shape == (0, 40)
    assert copy.deepcopy(layer).double()(torch.randn(2, 24, dtype=torch.float64)).dtype == torch.float64
    monkeypatch.setattr(products, "_LEAST", 24 * 40 + 1)
    layer(torch.randn(2, 24))
    assert not used
    monkeypatch.setattr(products, "_LEAST", 24 * 40)
    layer(torch.randn(2, 24))
    assert len(used) == 1


def tiny() -> GPT2LMHeadModel:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 30, "n_positions": 32}
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None, pad_token_id=0)).eval()


def test_a_policy_s_layers_are_replaced_with_their_parameters(used: list) -> None:
    lm = tiny()
    plain, names = copy.deepcopy(lm), [name for name, _ in lm.named_parameters()]
    held = [p.data_ptr() for p in lm.parameters()]
    policy = Policy(lm, special_tokens(lm, None))
    assert [name for name, _ in lm.named_parameters()] == names
    assert [p.data_ptr() for p in lm.parameters()] == held
    ids = torch.randint(3, 30, (2, 9))
    real = torch.ones(2, 9, dtype=torch.bool)
    ours = policy(ids[:, :4], real[:, :4], ids[:, 4:], real[:, 4:]).logprobs
    theirs = plain(input_ids=ids).logits[:, 3:-1].log_softmax(-1).gather(-1, ids[:, 4:, None])[..., 0]
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert len(used) >= 2 * 4 + 1  # four layers of each block, and the output layer


def test_a_copy_of_a_model_has_layers_and_tied_weights_of_its_own(used: list) -> None:
    lm = tiny()
    products.fast_products(lm)
    copied = copy.deepcopy(lm)
    assert type(copied.lm_head) is products.FastLinear
    assert copied.lm_head.weight is copied.transformer.wte.weight
    assert copied.lm_head.weight is not lm.lm_head.weight


def test_where_it_does_not_pay_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "pays", lambda: False)
    lm = tiny()
    kinds = [type(module) for module in lm.modules()]
    products.fast_products(lm)
    assert [type(module) for module in lm.modules()] == kinds


@pytest.mark.parametrize(
    ("vendor", "instructions", "mkl", "expected"),
    [
        ("AuthenticAMD", "AVX512", True, True),
        ("GenuineIntel", "AVX512", True, False),
        ("AuthenticAMD", "AVX2", True, False),
        ("AuthenticAMD", "AVX512", False, False),
    ],
)
def test_it_pays_where_mkl_does_not_use_what_the_processor_has(
    monkeypatch: pytest.MonkeyPatch, vendor: str, instructions: str, mkl: bool, expected: bool
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *arguments, **options: f"vendor_id\t: {vendor}\n")
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    assert products.pays.__wrapped__() is expected


def test_a_rows_result_does_not_depend_on_the_number_of_rows(used: list) -> None:
    """Which of the two libraries computes is decided by the weights alone."""
    x, weight = torch.randn(9, 24), nn.Parameter(torch.randn(24, 40))
    for rows in (1, 2, 9):
        assert products._usable(x[:rows], weight)


class Products(TorchDispatchMode):
    """Shapes (M, K, N) of the products that oneDNN computes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "_linear_pointwise" in str(func):
            self.seen.append((*args[0].shape, args[1].shape[0]))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("name", list(layers()))
def test_batches_of_many_sizes_are_products_of_few_shapes(used: list, name: str) -> None:
    layer = fast(layers()[name])
    with Products() as products_of:
        for rows in range(500, 1000, 5):
            layer(torch.randn(rows, 24).requires_grad_()).sum().backward()
    assert len(products_of.seen) == 3 * 100  # the result, the gradient of the rows, that of the weight
    assert len(set(products_of.seen)) == 3 * 9


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 63, 64, 65, 1000, 1024, 1025, 4097])
def test_few_rows_of_zeros_are_added(rows: int) -> None:
    given = torch.randn(rows, 3)
    found = products._even(given)
    assert torch.equal(found[:rows], given)
    assert not found[rows:].any()
    assert len(found) <= 1.125 * rows
    assert products._even(found) is found
