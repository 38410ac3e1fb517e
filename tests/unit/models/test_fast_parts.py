"""Parts that replace HF's or PyTorch's own for speed do the same."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import MistralConfig
from transformers.activations import NewGELUActivation

from rl4lms.config.model import ModelConfig
from rl4lms.core import token_masks
from rl4lms.core.padding import pad
from rl4lms.models.activations import TanhGELU
from rl4lms.models.build import build_models
from rl4lms.models.cache import RoomyLayer, roomy_cache
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from tests.runs import save_tiny
from tests.tiny import tiny_lm


def test_gelu_and_its_gradient_equal_the_formula_in_double_precision() -> None:
    x = torch.cat(
        [torch.linspace(-40, 40, 20_001), torch.tensor([0.0, -0.0, 1e-30, -1e-30, -1e4, 1e4])]
    ).requires_grad_()
    exact = x.detach().double().requires_grad_()
    y, expected = TanhGELU()(x), NewGELUActivation()(exact)
    weights = torch.rand(len(x))
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    assert (y.double() - expected).abs().max() < 3e-6
    assert torch.allclose(x.grad.double(), exact.grad, atol=2e-6)


def test_gelu_passes_the_numerical_gradient_check_around_zero() -> None:
    x = torch.linspace(-3, 3, 13).requires_grad_()
    assert torch.autograd.gradcheck(TanhGELU(), (x,), eps=1e-2, atol=1e-3)


def test_a_policy_computes_what_its_language_model_did() -> None:
    """GPT-2 with HF's own activation, as loaded, against the policy's log-probs."""
    lm = tiny_lm("gpt2")
    plain = copy.deepcopy(lm)
    assert any(isinstance(m, NewGELUActivation) for m in plain.modules())
    policy = Policy(lm, special_tokens(lm, None))
    assert not any(isinstance(m, NewGELUActivation) for m in policy.modules())
    ids = torch.randint(3, 20, (3, 9))
    mask = torch.ones(3, 4, dtype=torch.bool)
    ours = policy(ids[:, :4], mask, ids[:, 4:], torch.ones(3, 5, dtype=torch.bool)).logprobs
    theirs = plain(input_ids=ids).logits[:, 3:-1].log_softmax(-1).gather(-1, ids[:, 4:, None])[..., 0]
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_cache_holds_what_the_concatenating_one_holds() -> None:
    """Appending, repeating and dropping rows, also beyond the room."""
    torch.manual_seed(0)
    ours = RoomyLayer(5)
    reference_keys, reference_values = torch.zeros(2, 3, 0, 4), torch.zeros(2, 3, 0, 4)
    for n in (3, 1, 1, 2, 4):
        keys, values = torch.randn(len(reference_keys), 3, n, 4), torch.randn(len(reference_keys), 3, n, 4)
        got = ours.update(keys, values)
        reference_keys, reference_values = (
            torch.cat([reference_keys, keys], 2),
            torch.cat([reference_values, values], 2),
        )
        assert torch.equal(got[0], reference_keys)
        assert torch.equal(got[1], reference_values)
        assert ours.get_seq_length() == reference_keys.shape[2]
        if n == 3:
            ours.batch_repeat_interleave(2)
            reference_keys, reference_values = (
                reference_keys.repeat_interleave(2, 0),
                reference_values.repeat_interleave(2, 0),
            )
        if n == 2:
            rows = torch.tensor([0, 3])
            ours.batch_select_indices(rows)
            reference_keys, reference_values = reference_keys[rows], reference_values[rows]


def test_appending_within_the_room_copies_nothing_old() -> None:
    layer = RoomyLayer(8)
    layer.update(torch.randn(1, 1, 4, 2), torch.randn(1, 1, 4, 2))
    place = layer.keys.data_ptr()
    layer.update(torch.randn(1, 1, 1, 2), torch.randn(1, 1, 1, 2))
    assert layer.keys.data_ptr() == place


def test_sliding_windows_stay_with_the_model_s_own_layers() -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    windows = roomy_cache(MistralConfig(**sizes, sliding_window=4), 9)
    plain = roomy_cache(MistralConfig(**sizes, sliding_window=None), 9)
    assert [isinstance(layer, RoomyLayer) for layer in windows.layers] == [False, False]
    assert [isinstance(layer, RoomyLayer) for layer in plain.layers] == [True, True]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
@pytest.mark.slow
def test_a_large_block_is_not_given_back_to_the_kernel() -> None:
    code = """
import torch
from pathlib import Path
from rl4lms.models.build import build_models
from rl4lms.models.allocator import keep_freed_memory
def resident(): return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
def given_back():
    block = torch.ones(50_000_000)
    held = resident()
    del block
    return held - resident()
before = given_back()
assert keep_freed_memory()
print(before, given_back())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    given_back = [int(figure) for figure in done.stdout.split()]
    assert given_back[0] > 190_000_000
    assert given_back[1] < 1_000_000


@pytest.mark.parametrize("family", ["gpt2", "llama", "roberta", "t5-untied", "bart"])
@pytest.mark.parametrize("value", ["shared", "separate"])
def test_gradients_of_a_padded_pass_equal_those_of_each_row_alone(
    family: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses backpropagated chunk by chunk inside the pass, against plain autograd through HF's forward, row by row
    without padding.
    """
    from rl4lms.core import logprobs

    torch.manual_seed(0)
    lm = tiny_lm(family)
    vocab_size = lm.get_output_embeddings().weight.shape[0]
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", 4 * vocab_size)
    policy = Policy(lm, special_tokens(lm, None))
    policy.add_value(copy.deepcopy(lm) if value == "separate" else None)
    assert policy.value_head is not None
    torch.nn.init.normal_(policy.value_head.linear.weight)
    prompts = [torch.randint(3, vocab_size, (n,)) for n in (5, 1, 3)]
    completions = [torch.randint(3, vocab_size, (n,)) for n in (2, 6, 4)]
    n_tokens = sum(map(len, completions))
    factors, targets = torch.randn(n_tokens), torch.randn(n_tokens)

    def loss(tokens: logprobs.TokenLogprobs, part: slice) -> torch.Tensor:
        return (tokens.behaviour * factors[part]).sum()

    prompt_batch = pad([p.tolist() for p in prompts], policy.tokens.pad, policy.family.padding_side)
    completion_batch = pad([c.tolist() for c in completions], policy.tokens.pad, "right")
    out = policy(*prompt_batch, *completion_batch, values=True, loss=loss)
    (out.loss + ((out.values[completion_batch[1]] - targets) ** 2).sum()).backward()
    got = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()

    total, done = torch.zeros(()), 0
    for prompt, completion in zip(prompts, completions, strict=True):
        n = len(completion)
        if lm.config.is_encoder_decoder:
            decoder_ids = torch.cat([torch.tensor(policy.tokens.decoder_prefix), completion[:-1]])[None]
            inputs, start = (
                {"input_ids": prompt[None], "decoder_input_ids": decoder_ids},
                len(policy.tokens.decoder_prefix) - 1,
            )
        else:
            inputs, start = {"input_ids": torch.cat([prompt, completion[:-1]])[None]}, len(prompt) - 1
        logits = lm(**inputs, use_cache=False).logits[0, start:]
        chosen = logits.log_softmax(-1)[torch.arange(n), completion]
        value_lm = lm if policy.value_lm is None else policy.value_lm
        out = value_lm(**inputs, use_cache=False, output_hidden_states=True)
        states = (out.decoder_hidden_states if lm.config.is_encoder_decoder else out.hidden_states)[-1][0, start:]
        total = (
            total
            + (chosen * factors[done : done + n]).sum()
            + ((policy.value_head(states) - targets[done : done + n]) ** 2).sum()
        )
        done += n
    total.backward()
    expected = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    assert got.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():  # some are sums that cancel, so rounding is judged against the largest
        assert (got[name] - gradient).abs().max() <= 1e-5 * largest, name


MODES = {
    "separate": {"value": "separate"},
    "lora-separate": {"value": "separate", "lora": {"r": 2, "alpha": 4}},
    "lora-separate-recomputed": {"value": "separate", "lora": {"r": 2, "alpha": 4}, "gradient_checkpointing": True},
    "lora-shared-recomputed": {"value": "shared", "lora": {"r": 2, "alpha": 4}, "gradient_checkpointing": True},
    "recomputed": {"value": "separate", "gradient_checkpointing": True},
    "bf16": {"value": "shared", "autocast": "bfloat16"},
}


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
@pytest.mark.parametrize("mode", MODES)
def test_gradients_inside_a_mask_with_entropy_and_temperature(
    tmp_path: Path, family: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunked backward pass against plain autograd over masked logits, with every mode that changes how a pass is
    run.
    """
    from rl4lms.core import logprobs

    torch.manual_seed(0)
    policy = build_models(
        ModelConfig(path=str(save_tiny(tmp_path / "lm", family)), **MODES[mode]), torch.device("cpu")
    ).policy
    assert policy.value_head is not None
    torch.nn.init.normal_(policy.value_head.linear.weight)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:  # adapters start as the identity
            torch.nn.init.normal_(parameter, std=0.1)
    vocab_size = policy.tokens.vocab_size
    prompts = pad([[5, 6, 7], [4], [9, 8, 7, 6, 5]], policy.tokens.pad, policy.family.padding_side)
    completions = pad([[5, 6], [7, 8, 9, 10, 11], [3]], policy.tokens.pad, "right")
    allowed = (torch.rand(3, 5, vocab_size) > 0.3).scatter(2, completions[0][..., None], True)
    mask, n, temperature = completions[1], 8, 0.7
    factors, weights, targets = torch.randn(n), torch.randn(n), torch.randn(n)

    def loss(tokens: logprobs.TokenLogprobs, part: slice) -> torch.Tensor:
        assert tokens.entropy is not None
        return (tokens.behaviour * factors[part]).sum() + (tokens.entropy * weights[part]).sum()

    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", 3 * vocab_size)
    options = {"temperature": temperature, "token_mask": token_masks.pack(allowed), "values": True}
    out = policy(*prompts, *completions, **options, loss=loss)
    # What is active when a backward pass begins must not matter
    with policy.running("policy" if policy.adapter else None):
        (out.loss + ((out.values[mask] - targets) ** 2).sum()).backward()
    got = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()

    with policy.running():
        logits = policy.family.head(policy.family.hidden(*prompts, *completions)).float() / temperature
    logp = logits.masked_fill(~allowed[mask], -1e9).log_softmax(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    ((logp.gather(-1, completions[0][mask][:, None])[:, 0] * factors).sum() + (entropy * weights).sum()).backward()
    with policy.running(policy.value_adapter):
        values = policy.value_head(policy.value_family.hidden(*prompts, *completions))
    ((values - targets) ** 2).sum().backward()
    expected = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    assert got.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert (got[name] - gradient).abs().max() <= (2e-2 if mode == "bf16" else 1e-5) * largest, name
