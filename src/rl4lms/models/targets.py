"""Token ids of texts that a model writes, where its tokenizer treats them otherwise than those it reads."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rl4lms.errors import ModelError


def encode_targets(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], two_texts: bool) -> list[list[int]]:
    """Return token ids of completions, targets or references, without special tokens.

    Marian has another vocabulary for its targets, so the tokenizer's mode for target texts is used where there is one.
    M2M100, NLLB and mBART change nothing but their language code in it, and cannot do so without `tgt_lang`.

    Args:
        tokenizer: of the model.
        texts: to encode.
        two_texts: whether a completion is a text of its own, as for encoder-decoders, and does not continue its prompt.
    """
    if two_texts and has_target_mode(tokenizer):
        ids: list[list[int]] = tokenizer(text_target=list(texts), add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def target_language(tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    """Return the token of the targets' language (`tgt_lang`), None where the tokenizer names none."""
    if tokenizer is None or getattr(tokenizer, "tgt_lang", None) is None or not has_target_mode(tokenizer):
        return None
    frame = tokenizer(text_target="")["input_ids"]  # the code and EOS, in either order
    return next((i for i in frame if i not in (tokenizer.eos_token_id, tokenizer.bos_token_id)), None)


def name_languages(tokenizer: PreTrainedTokenizerBase, source: str | None, target: str | None) -> None:
    """Set the languages of prompts and completions, each where one is named.

    Raises:
        ModelError: the tokenizer knows no languages, or not this one.
    """
    for option, attribute, code in (("source_language", "src_lang", source), ("target_language", "tgt_lang", target)):
        if code is None:
            continue
        if not hasattr(tokenizer, "_switch_to_target_mode") or not hasattr(tokenizer, attribute):
            raise ModelError(f"model.{option}: {type(tokenizer).__name__} knows no languages; leave the option out")
        known = [name for token in tokenizer.all_special_tokens if (name := token.strip("_"))[0].isalpha()]  # __de__
        if code not in known:
            like = [name for name in known if name[:2].lower() == code[:2].lower()] or known[:3]
            raise ModelError(
                f"model.{option}: the tokenizer has no language {code!r}; among its codes: {', '.join(like)}"
            )
        setattr(tokenizer, attribute, code)


def begin_with_language(lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let completions of an encoder-decoder begin with the language that its tokenizer names, also where its own
    generation config names another, and once it is saved.
    """
    language, start = target_language(tokenizer), lm.generation_config.decoder_start_token_id
    start = lm.config.decoder_start_token_id if start is None else start
    frame = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    if start is None or (start in tokenizer.all_special_ids and start not in frame):  # mBART's start is a language
        lm.generation_config.decoder_start_token_id = lm.config.decoder_start_token_id = language
        lm.generation_config.forced_bos_token_id = None
    else:
        lm.generation_config.forced_bos_token_id = language


def has_target_mode(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer has a mode for target texts that works as it is set up."""
    return hasattr(tokenizer, "_switch_to_target_mode") and getattr(tokenizer, "tgt_lang", "") is not None


def sides(tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
    """Return what decodes sources and what decodes targets: the same tokenizer, but for Marian's with two vocabularies.

    That one looks every id up among its targets, and special tokens among its sources; its pad ids differ.
    """
    if not getattr(tokenizer, "separate_vocabs", False):
        return tokenizer, tokenizer
    source, target = copy.copy(tokenizer), copy.copy(tokenizer)
    source.decoder = {index: token for token, index in source.encoder.items()}
    special = {target.target_encoder.get(str(token)): token for token in tokenizer.added_tokens_decoder.values()}
    target._added_tokens_decoder = {index: token for index, token in special.items() if index is not None}
    target.encoder = target.current_encoder = target.target_encoder
    target._added_tokens_encoder = {str(token): index for index, token in target._added_tokens_decoder.items()}
    return source, target
