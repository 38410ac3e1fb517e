"""Tiny models of every supported family, built from configs; nothing is downloaded."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertLMHeadModel,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    MT5Config,
    MT5ForConditionalGeneration,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

PAD, EOS, BOS = 0, 1, 2
CAUSAL = ("gpt2", "llama", "qwen2", "opt", "bert", "roberta")
ENCODER_DECODER = ("t5", "t5-untied", "mt5", "bart", "marian", "bert2bert")
FAMILIES = CAUSAL + ENCODER_DECODER
_IDS = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS}


def tiny_lm(family: str, vocab_size: int = 40, width: int = 32, layers: int = 2, seed: int = 0) -> PreTrainedModel:
    """A randomly initialised model of `family`; its logits are scaled up so that distributions are far from uniform."""
    torch.manual_seed(seed)
    v, d, n = vocab_size, width, layers
    bert = {
        "hidden_size": d,
        "num_hidden_layers": n,
        "num_attention_heads": 4,
        "intermediate_size": 2 * d,
        "max_position_embeddings": 80,
    }
    t5 = {
        "d_model": d,
        "d_kv": 8,
        "d_ff": 2 * d,
        "num_layers": n,
        "num_heads": 4,
        "decoder_start_token_id": PAD,
        "vocab_size": v,
    }
    bart = {
        "d_model": d,
        "encoder_layers": n,
        "decoder_layers": n,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    }
    bart |= {"encoder_ffn_dim": 2 * d, "decoder_ffn_dim": 2 * d, "max_position_embeddings": 80, "vocab_size": v}
    llama = {
        "hidden_size": d,
        "num_hidden_layers": n,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 2 * d,
    }
    if family == "gpt2":
        lm: PreTrainedModel = GPT2LMHeadModel(
            GPT2Config(vocab_size=v, n_embd=d, n_layer=n, n_head=4, n_positions=80, **_IDS)
        )
    elif family == "llama":
        lm = LlamaForCausalLM(LlamaConfig(vocab_size=v, max_position_embeddings=80, **llama, **_IDS))
    elif family == "qwen2":
        lm = Qwen2ForCausalLM(Qwen2Config(vocab_size=v, max_position_embeddings=80, **llama, **_IDS))
    elif family == "opt":
        options = {
            "hidden_size": d,
            "word_embed_proj_dim": d // 2,
            "ffn_dim": 2 * d,
            "num_hidden_layers": n,
            "num_attention_heads": 4,
        }
        lm = OPTForCausalLM(OPTConfig(vocab_size=v, max_position_embeddings=80, **options, **_IDS))
    elif family == "bert":
        lm = BertLMHeadModel(BertConfig(vocab_size=v, is_decoder=True, **bert, **_IDS))
    elif family == "roberta":
        lm = RobertaForCausalLM(RobertaConfig(vocab_size=v, is_decoder=True, **bert, **_IDS))
    elif family in ("t5", "t5-untied"):
        lm = T5ForConditionalGeneration(T5Config(**t5, tie_word_embeddings=family == "t5", **_IDS))
    elif family == "mt5":
        lm = MT5ForConditionalGeneration(MT5Config(**t5, **_IDS))
    elif family == "bart":
        lm = BartForConditionalGeneration(BartConfig(decoder_start_token_id=EOS, **bart, **_IDS))
        lm.generation_config.forced_bos_token_id = BOS
    elif family == "marian":
        lm = MarianMTModel(MarianConfig(decoder_start_token_id=PAD, **bart, **_IDS))
        lm.final_logits_bias.normal_()
    elif family == "bert2bert":
        encoder, decoder = (
            BertConfig(vocab_size=v, **{**bert, "hidden_size": d // 2}, **_IDS),
            BertConfig(vocab_size=v, **bert, **_IDS),
        )
        config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = BOS, PAD, EOS
        lm = EncoderDecoderModel(config=config)
    else:
        raise ValueError(family)
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if parameter.ndim > 1 and "norm" not in name.lower():
                parameter.normal_(std=0.3 if "t5" not in family else 0.15)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
    return lm.eval()


def word_tokenizer(vocab_size: int = 40, pad: bool = True) -> PreTrainedTokenizerFast:
    """Words `w3`, `w4`, ... beside pad, EOS, BOS; one id per word."""
    vocab = {
        "<pad>": PAD,
        "</s>": EOS,
        "<s>": BOS,
        **{f"w{i}": i for i in range(3, vocab_size - 1)},
        "<unk>": vocab_size - 1,
    }
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"} | ({"pad_token": "<pad>"} if pad else {})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=80, **special)


def number_tokenizer(numbers: int = 20) -> PreTrainedTokenizerFast:
    """Tokens are the numbers 0..n-1 as words, for the `increasing_numbers` reward."""
    vocab = {"<pad>": PAD, "</s>": EOS, "<s>": BOS, **{str(i): i + 3 for i in range(numbers)}, "<unk>": numbers + 3}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=80, **names)


CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}> {{ message.content }} </s> {% endfor %}"
    "{% if loud %}! {% endif %}{% if add_generation_prompt %}<assistant> {% endif %}"
)


def chat_tokenizer(template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """The numbers 0 to 19 and what the chat template writes; one id per word."""
    words = [*map(str, range(20)), "<system>", "<user>", "<assistant>", "<tool>", "!", "<unk>"]
    vocab = {"<pad>": PAD, "</s>": EOS, "<s>": BOS, **{word: i + 3 for i, word in enumerate(words)}}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=80, **names)
    made.chat_template = template
    return made
