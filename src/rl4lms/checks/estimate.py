"""What an iteration needs, before it runs: memory and arithmetic, from the shapes of the model and the recipe alone.

`tests/unit/checks/test_estimate.py` holds it to what reports/speed.md measured. Nothing here knows how fast a machine
is, nor what a driver, an allocator or fragments of memory take.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D

from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.build import mask_of
from rl4lms.config.recipe import Recipe
from rl4lms.core.logprobs import chunks
from rl4lms.models.loading import DTYPES
from rl4lms.supervised import assets
from rl4lms.types import ModelSpec


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What an estimate needs of one language model.

    Attributes:
        parameters: count.
        cache_per_token: numbers in keys and values of one position of one row.
        vocab_size: V.
        hidden_size: of a position between two layers.
        layers: of an encoder-decoder, those of the decoder.
        linear: for every linear layer but the output layer, its name, its inputs, its outputs.
        is_encoder_decoder: whether the prompt goes through an encoder.
    """

    parameters: int
    cache_per_token: int
    vocab_size: int
    hidden_size: int
    layers: int
    linear: tuple[tuple[str, int, int], ...]
    is_encoder_decoder: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes by what they are for, and the arithmetic of one iteration.

    Attributes:
        copies: names of the language models that are held; with LoRA one, whose adapters are the others.
        weights: of all copies, adapters included.
        trained: numbers that are trained; `training_state` is their gradients and two moments of AdamW.
        cache: keys and values of a rollout.
        logits: of one chunk of the output layer.
        activations: of one micro-batch, kept for its backward pass.
        saving: of main memory, beside the model itself, at the end: what is saved, in float32 where LoRA is merged, and
            the same read back to be compared.
        flop: floating-point operations of rollout, log-prob passes and update, with matrix products alone.
    """

    copies: tuple[str, ...]
    weights: int
    trained: int
    training_state: int
    cache: int
    logits: int
    activations: int
    saving: int
    flop: int

    @property
    def memory(self) -> int:
        """Bytes of all of it: what the rollout took, a process keeps for the update (`models/allocator.py`)."""
        return self.weights + self.training_state + self.cache + self.activations + self.logits


def estimate(recipe: Recipe, size: ModelSize, algorithm: Algorithm | None) -> Estimate:
    """Return what one iteration of a recipe takes, with prompts and completions as long as they may be.

    Args:
        recipe: every setting.
        size: of its model.
        algorithm: None for a warm start alone, of which only the weights and their training are counted.
    """
    r, item = recipe, DTYPES[recipe.model.dtype].itemsize
    needs_value = algorithm is not None and algorithm.needs_value
    mask = mask_of(algorithm, recipe.mask)
    needs_mask = mask is not None and mask.source == "lagged"
    decoders = 1 + (mask is not None and mask.source != "policy")
    separate = needs_value and r.model.value == "separate"
    lms = ("policy", "reference", *(["value"] if separate else []), *(["mask"] if needs_mask else []))
    trained_lms = 1 + separate
    adapters = _adapter_parameters(r, size)
    if r.model.lora is None:
        copies, trained = lms, trained_lms * size.parameters
        weights, state = len(copies) * size.parameters * item, 3 * trained * item
    else:  # adapters are float32
        copies, trained = ("policy",), trained_lms * adapters
        weights, state = size.parameters * item + (trained_lms + needs_mask) * adapters * 4, 3 * trained * 4
    completions = r.training.prompts_per_iteration * r.rollout.completions_per_prompt
    rows, prompt, new = min(r.rollout.batch_size, completions), r.prompt.max_tokens, r.rollout.max_new_tokens
    minibatch = rows if algorithm is None else algorithm.minibatch_size
    piece = min(r.optimizer.micro_batch_size or minibatch, minibatch)
    epochs = 1 if algorithm is None else algorithm.n_epochs
    # In forward passes over every row: the rollout (twice with another model's mask), log-probs of policy and
    # reference, and of each epoch a forward and a backward pass. With LoRA the weights of the base get no gradient.
    of_update = epochs * (3 if r.model.lora is None else 2)
    passes = decoders + 2 + of_update
    of_value = separate * (1 + of_update)  # without the output layer
    body, head = _forward_flop(size, prompt, new)
    whole = algorithm is not None and algorithm.whole_sequences
    at_once = next(chunks(piece * new, size.vocab_size, few=r.device == "cpu" and not whole)).stop
    return Estimate(
        copies=copies,
        weights=weights,
        trained=trained,
        training_state=state,
        cache=rows * (prompt + new) * size.cache_per_token * item * decoders,
        logits=3 * 4 * at_once * size.vocab_size,  # with log-probs and gradients
        activations=piece * _kept(r, size, prompt, new),
        saving=size.parameters * (item if r.model.lora is None else 2 * 4),
        flop=completions * (passes * (body + head) + of_value * body),
    )


def _adapter_parameters(r: Recipe, size: ModelSize) -> int:
    if r.model.lora is None:
        return 0
    names = r.model.lora.target_modules
    named = [(i, o) for name, i, o in size.linear if names == "all-linear" or name.rpartition(".")[2] in names]
    return r.model.lora.r * sum(i + o for i, o in named)


def _positions(name: str, size: ModelSize, prompt: int, new: int) -> int:
    """Return how many positions of a row go through a linear layer."""
    if not size.is_encoder_decoder:
        return prompt + new
    return prompt if ".encoder." in f".{name}" or name.endswith(("EncDecAttention.k", "EncDecAttention.v")) else new


def _kept(r: Recipe, size: ModelSize, prompt: int, new: int) -> int:
    """Return the bytes that a row's backward pass needs: what goes into every linear layer, and what comes out."""
    item = 2 if r.model.autocast else DTYPES[r.model.dtype].itemsize
    numbers = sum(_positions(name, size, prompt, new) * (i + o) for name, i, o in size.linear)
    if r.model.gradient_checkpointing:  # what stands between layers, and one layer that is computed again
        numbers = numbers // size.layers + size.layers * (prompt + new) * size.hidden_size
    return numbers * item


def _forward_flop(size: ModelSize, prompt: int, new: int) -> tuple[int, int]:
    """Return the operations of one forward pass over a row: without the output layer, and in it, which sees the
    completion alone.
    """
    products = sum(_positions(name, size, prompt, new) * i * o for name, i, o in size.linear)
    return 2 * products, 2 * new * size.hidden_size * size.vocab_size


def model_size(recipe: Recipe, specs: Any) -> ModelSize | None:
    """Size of the recipe's model from its config alone, or of the asset that a task declares; None where neither is at
    hand.
    """
    path = recipe.model.path
    if path.startswith(assets.PREFIX):
        spec = specs.get(path.removeprefix(assets.PREFIX))
        if not isinstance(spec, ModelSpec):
            return None
        tokenizer = assets.word_tokenizer(assets.load_target(spec.vocabulary)())
        with torch.device("meta"):
            return size_of(assets.build_lm(spec, tokenizer))
    if not Path(path).is_dir():  # a Hub id; a dry run downloads nothing
        options: dict[str, Any] = {"local_files_only": True}
    else:
        options = {}
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, revision=recipe.model.revision, **options)
        return size_of(empty(config))
    except (OSError, ValueError):
        return None


def empty(config: PretrainedConfig) -> nn.Module:
    """Return a model without weights."""
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model: nn.Module = loader.from_config(copy.deepcopy(config))
    return model


def size_of(lm: Any) -> ModelSize:
    """Return the size of a language model, whose weights are not read."""
    config = lm.config.get_text_config(decoder=True) if hasattr(lm.config, "get_text_config") else lm.config
    layers = (
        getattr(config, "num_decoder_layers", None)
        or getattr(config, "decoder_layers", None)
        or config.num_hidden_layers
    )
    heads = getattr(config, "num_attention_heads", 1)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_size = getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads
    output = lm.get_output_embeddings()
    return ModelSize(
        parameters=sum(p.numel() for p in {id(p): p for p in lm.parameters()}.values()),
        cache_per_token=2 * layers * kv_heads * head_size,
        vocab_size=output.weight.shape[0],
        hidden_size=config.hidden_size,
        layers=layers,
        linear=tuple(_linear(lm, output)),
        is_encoder_decoder=bool(lm.config.is_encoder_decoder),
    )


def _linear(lm: nn.Module, output: nn.Module) -> Iterator[tuple[str, int, int]]:
    for name, module in lm.named_modules():
        if isinstance(module, nn.Linear) and module is not output:
            yield name, module.in_features, module.out_features
        elif isinstance(module, Conv1D):  # GPT-2's, with the weight the other way round
            yield name, *module.weight.shape
