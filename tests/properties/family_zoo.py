"""Every family of text generators that `transformers` has, tiny: its own config, with small numbers put in by name."""

from __future__ import annotations

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
    (VOCAB, "vocab_size vocab_size_per_layer_input n_words src_vocab_size tgt_vocab_size shape_vocab_size"),
    (32, "hidden_size d_model n_embd dim embedding_size word_embed_proj_dim vision_feature_size lru_width"),
    (
        64,
        "intermediate_size d_ff ffn_dim n_inner encoder_ffn_dim decoder_ffn_dim dim_ff dff ffn_hidden_size mlp_dim "
        "intermediate_size_mlp mamba_d_ssm attention_hidden_size shared_expert_intermediate_size",
    ),
    (48, "moe_intermediate_size moe_shared_expert_intermediate_size"),
    (
        2,
        "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers "
        "num_encoder_layers num_key_value_heads num_kv_heads decoder_key_value_heads num_experts_per_tok moe_topk "
        "num_experts_per_token linear_num_key_heads moe_k moe_num_shared_experts layer_group_size",
    ),
    (
        4,
        "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads num_local_experts "
        "num_experts linear_num_heads linear_num_value_heads mamba_dt_rank index_n_heads n_routed_experts moe_num_experts",
    ),
    (
        8,
        "head_dim d_kv kv_channels qk_nope_head_dim qk_rope_head_dim v_head_dim attention_head_dim rotary_dim "
        "mamba_d_state state_size ssm_state_size mamba_d_head "
        "linear_key_head_dim linear_value_head_dim linear_head_dim mamba_n_heads mamba_chunk_size chunk_size "
        "index_head_dim local_attention_window_len conv1d_width mamba_headdim n_mamba_heads attention_window",
    ),
    (16, "q_lora_rank kv_lora_rank hidden_size_per_layer_input laurel_rank"),
    (1, "n_group topk_group n_shared_experts first_k_dense_replace num_shared_experts"),
    (WINDOW, "sliding_window attention_chunk_size attention_window_size window_size"),
    (
        128,
        "max_position_embeddings n_positions max_source_positions max_target_positions n_ctx "
        "index_topk max_encoder_position_embeddings max_decoder_position_embeddings max_seq_len",
    ),
    (0.0, "hidden_dropout_prob dropout attention_dropout embd_pdrop resid_pdrop attn_pdrop"),
    (True, "is_decoder"),
    (PAD, "pad_token_id"),
    (EOS, "eos_token_id"),
    (BOS, "bos_token_id decoder_start_token_id"),
)
SMALL = {name: size for size, names in _SIZES for name in names.split()}

# What a config needs beside, or instead
_LINEAR = {"num_hidden_layers": 4}  # three of four layers are recurrent
_HYBRID = {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2}
_NEMOTRON = {"mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 1}
_INDEXER = {f"indexer_{name}": size for name, size in [("n_heads", 4), ("kv_heads", 1), ("head_dim", 8)]}
_INDEXER |= {"indexer_budget": 4, "indexer_compress_ratio": 2}
_BERT = {"model_type": "bert", "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_BERT |= {"intermediate_size": 64, "max_position_embeddings": 128}
_DRAFT = {"num_kv_shared_layers": 2, "vocab_size_per_layer_input": 0, "hidden_size_per_layer_input": 0}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
OVERRIDES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), _LINEAR),
    **{n: {"text_config": _LINEAR} for n in ("qwen3_5", "qwen3_5_moe")},
    "qwen4_exp_text": _LINEAR | _INDEXER,
    "qwen4_exp": {"text_config": _LINEAR | _INDEXER},
    "bailing_hybrid": {"num_expert_group": 2},
    "bamba": {"attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 50},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8}},
    "dots3_note": {"text_config": {"per_layer_config": {"00": {"num_attention_heads": 4}}}},
    "dots3_note_text": {"per_layer_config": {}},
    "encoder-decoder": {
        "encoder": _BERT,
        "decoder": _BERT | {"is_decoder": True, "add_cross_attention": True},
        "decoder_start_token_id": BOS,
    },
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "gemma4_assistant": {"text_config": _DRAFT},
    "gemma4_unified_assistant": {"text_config": _DRAFT},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"zero_expert_num": 1, "expert_ffn_hidden_size": 32, "head_dim": 8},
    "mamba2": {"num_heads": 8, "n_groups": 1},
    "moshi": {"sliding_window": 128},  # as long as its positions, and its own forward knows no window
    "mpt": {"attn_config": {"attn_pdrop": 0}},
    "nemotron_h": _NEMOTRON,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"axial_pos_embds": False},
    "t5": {"decoder_start_token_id": PAD},
    "xlm": {"emb_dim": 32, "n_words": VOCAB, "n_layers": 2, "n_heads": 4},
    "xmod": {"default_language": "en_XX"},
    "zamba": _HYBRID,
    "zamba2": _HYBRID,
    "zaya": {"num_experts_per_tok": 1},
}


def _shrunk(config_class: type[PreTrainedConfig], extra: dict[str, Any]) -> PreTrainedConfig:
    """A config of small numbers; the configs inside it alike."""
    plain = config_class().to_dict()
    options: dict[str, Any] = {name: SMALL[name] for name in plain if name in SMALL}
    if "qk_rope_head_dim" in options:  # by which these configs compute it
        options.pop("head_dim", None)
        options["num_key_value_heads"] = options["num_attention_heads"]
    if plain.get("sliding_window", 0) is None:
        options.pop("sliding_window")
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
    model_type = name.split(":")[1]
    config_class = CONFIG_MAPPING[model_type]
    return _shrunk(config_class, OVERRIDES.get(name, OVERRIDES.get(model_type, {})))


def _without_windows(config: PreTrainedConfig) -> None:
    """Let every layer attend to all that is before, in the configs inside as well."""
    for key, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            _without_windows(value)
        elif key.endswith(("window", "window_size", "chunk_size")):
            setattr(config, key, None)
        elif key == "layer_types" and value is not None:
            windows = ("sliding_attention", "chunked_attention")
            setattr(config, key, ["full_attention" if kind in windows else kind for kind in value])


def zoo_lm(name: str, seed: int = 0, windows: bool = True) -> PreTrainedModel:
    """A randomly initialised model whose distributions are far from uniform, with or without the windows that a config
    of its family has.
    """
    torch.manual_seed(seed)
    kind, _ = name.split(":")
    config = zoo_config(name)
    if not windows:
        _without_windows(config)
    auto = transformers.AutoModelForCausalLM if kind == "causal" else transformers.AutoModelForSeq2SeqLM
    lm = auto.from_config(config)
    for module in lm.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.25)
    return lm.eval()
