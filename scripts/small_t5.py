"""Write a small T5 or NLLB that knows nothing, with a vocabulary of a task's training texts: where real data is to be
learned from scratch, on a laptop.

    python scripts/small_t5.py commongen models/small-t5-commongen --data data/commongen
    python scripts/small_t5.py multi30k models/small-nllb --data data/multi30k --family nllb

The tokenizer is byte-level BPE of the prompts and references of the training split. The embeddings are drawn with a
standard deviation of 0.05: with 1, as `transformers` draws them, AdamW hardly moves them. The head is a matrix of its
own: T5 divides the logits of a head that is tied to the embeddings by the root of the width, and learns several times
more slowly. An NLLB has the architecture, the kind of tokenizer and the language codes of Costa-jussà et al. (2022).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    NllbTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from rl4lms.tasks import build
from rl4lms.types import Task

_PAD, _EOS, _UNK = "<pad>", "</s>", "<unk>"


def main() -> None:
    """Read the arguments and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", help="one with a full edition that is read from files")
    parser.add_argument("output", type=Path, help="folder of the model")
    parser.add_argument("--data", required=True, help="folder with the files of the data set")
    parser.add_argument("--family", choices=["t5", "nllb"], default="t5")
    parser.add_argument("--vocabulary", type=int, default=4096, help="tokens (default 4096)")
    parser.add_argument("--width", type=int, default=128, help="of the hidden states (default 128)")
    parser.add_argument("--layers", type=int, default=2, help="of the encoder, and as many of the decoder (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    task = build({"name": given.task, "edition": "full", "data_dir": given.data})
    torch.manual_seed(given.seed)
    if given.family == "nllb":
        tokenizer: PreTrainedTokenizerBase = _nllb_tokenizer(_texts(task), given.vocabulary)
        lm: PreTrainedModel = _nllb(len(tokenizer), given.width, given.layers)
    else:
        tokenizer = _tokenizer(_texts(task), given.vocabulary)
        lm = _t5(len(tokenizer), given.width, given.layers)
    lm.save_pretrained(given.output)
    tokenizer.save_pretrained(given.output)
    print(f"{lm.num_parameters():,} parameters, {len(tokenizer):,} tokens: {given.output}")


def _texts(task: Task) -> Iterator[str]:
    for sample in task.supervised("train"):
        yield sample.prompt
        yield from sample.references


def _tokenizer(texts: Iterator[str], size: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token=_UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[_PAD, _EOS, _UNK], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {_EOS}", special_tokens=[(_EOS, 1)])
    special = {"pad_token": _PAD, "eos_token": _EOS, "unk_token": _UNK}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **special)


def _nllb_tokenizer(texts: Iterator[str], size: int) -> NllbTokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    frame = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=frame))
    learned = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    return NllbTokenizer(vocab=learned["vocab"], merges=merges, src_lang="eng_Latn", model_max_length=512)


def _nllb(vocabulary: int, width: int, layers: int) -> M2M100ForConditionalGeneration:
    config = M2M100Config(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        max_position_embeddings=512,
        dropout=0.0,
        attention_dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        decoder_start_token_id=2,
    )
    return M2M100ForConditionalGeneration(config)


def _t5(vocabulary: int, width: int, layers: int) -> T5ForConditionalGeneration:
    config = T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=width // 4,
        num_heads=4,
        d_ff=2 * width,
        num_layers=layers,
        num_decoder_layers=layers,
        dropout_rate=0.0,
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    lm = T5ForConditionalGeneration(config)
    with torch.no_grad():
        lm.get_input_embeddings().weight.normal_(std=0.05)
        lm.get_output_embeddings().weight.normal_(std=0.02)
    return lm


if __name__ == "__main__":
    main()
