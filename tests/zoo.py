"""Every family of text generators that `transformers` has, tiny: its own config, with small numbers put in by name."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from tests.tiny import BOS, EOS, PAD

ARCHITECTURES = {"causal": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "seq2seq": MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES}
NAMES = [f"{kind}:{name}" for kind, names in ARCHITECTURES.items() for name in names]
VOCAB, WINDOW = 99, 6

_SIZES: tuple[tuple[int | float | bool, str], ...] = (
    (VOCAB, "vocab_size"),
    (32, "hidden_size d_model n_embd dim embedding_size word_embed_proj_dim vision_feature_size"),
    (
        64,
        "intermediate_size d_ff ffn_dim n_inner encoder_ffn_dim decoder_ffn_dim dim_ff dff ffn_hidden_size mlp_dim "
        "intermediate_size_mlp shared_expert_intermediate_size",
    ),
    (48, "moe_intermediate_size moe_shared_expert_intermediate_size"),
    (
        2,
        "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers "
        "num_encoder_layers num_key_value_heads num_kv_heads decoder_key_value_heads num_experts_per_tok moe_topk "
        "num_experts_per_token",
    ),
    (
        4,
        "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads num_local_experts "
        "num_experts n_routed_experts moe_num_experts",
    ),
    (
        8,
        "head_dim d_kv kv_channels qk_nope_head_dim qk_rope_head_dim v_head_dim attention_head_dim rotary_dim "
        "mamba_d_state state_size ssm_state_size mamba_d_head",
    ),
    (16, "q_lora_rank kv_lora_rank"),
    (1, "n_group topk_group n_shared_experts first_k_dense_replace num_shared_experts"),
    (WINDOW, "sliding_window attention_chunk_size"),
    (
        128,
        "max_position_embeddings n_positions max_source_positions max_target_positions n_ctx "
        "max_encoder_position_embeddings max_decoder_position_embeddings max_seq_len",
    ),
    (0.0, "hidden_dropout_prob dropout attention_dropout embd_pdrop resid_pdrop attn_pdrop"),
    (True, "is_decoder"),
    (PAD, "pad_token_id"),
    (EOS, "eos_token_id"),
    (BOS, "bos_token_id decoder_start_token_id"),
)
SMALL = {name: size for size, names in _SIZES for name in names.split()}

# What a config needs beside, or instead
OVERRIDES: dict[str, dict[str, Any]] = {}


def _shrunk(config_class: type[PreTrainedConfig], extra: dict[str, Any]) -> PreTrainedConfig:
    """A config of small numbers; the configs inside it alike."""
    plain = config_class().to_dict()
    options: dict[str, Any] = {name: SMALL[name] for name in plain if name in SMALL}
    for name in list(options):  # a window or a rank that a config leaves out stays out
        if plain[name] is None and name not in ("pad_token_id", "eos_token_id", "bos_token_id", "vocab_size"):
            del options[name]
    for name, inner in config_class.sub_configs.items():
        own = extra.get(name, {})
        if isinstance(plain.get(name), dict) and inner.__name__ != "AutoConfig":
            options[name] = _shrunk(inner, own).to_dict()
        elif isinstance(plain.get(name), dict):
            options[name] = _shrunk(CONFIG_MAPPING[plain[name]["model_type"]], own).to_dict()
    options |= {name: value for name, value in extra.items() if name not in config_class.sub_configs}
    return config_class(**options)


def zoo_config(name: str) -> PreTrainedConfig:
    """The config of a family, such as `causal:llama`."""
    kind, model_type = name.split(":")
    architecture = getattr(transformers, ARCHITECTURES[kind][model_type])
    config_class = CONFIG_MAPPING[model_type]
    return _shrunk(config_class, OVERRIDES.get(name, OVERRIDES.get(model_type, {})))


def zoo_lm(name: str, seed: int = 0) -> PreTrainedModel:
    """A randomly initialised model whose distributions are far from uniform."""
    torch.manual_seed(seed)
    kind, _ = name.split(":")
    config = zoo_config(name)
    auto = transformers.AutoModelForCausalLM if kind == "causal" else transformers.AutoModelForSeq2SeqLM
    lm = auto.from_config(config)
    for module in lm.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.25)
    return lm.eval()
