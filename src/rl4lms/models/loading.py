"""Loading language models and tokenizers, and the token ids that matter in decoding."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EncoderDecoderModel,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from rl4lms.config.model import ModelConfig
from rl4lms.data import hub
from rl4lms.errors import ConfigError, ModelError, UnreachableModelError
from rl4lms.models.adapter_folders import AdapterFolder, adapter_of, merge_adapter
from rl4lms.models.targets import begin_with_language, name_languages, target_language

# Otherwise transformers asks a service to convert pickles on the Hub, and takes whatever it proposes.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
_PICKLES, _NO_WEIGHTS = (
    ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"),
    ("training_args.bin", "optimizer.pt", "scheduler.pt"),
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Encoders that can be run as decoders: those that transformers knows both as masked and as causal language models.
_ENCODERS = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(MODEL_FOR_MASKED_LM_MAPPING_NAMES)


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Token ids that decoding depends on.

    Attributes:
        eos: every id that ends a completion; empty where the model has none (then only the token budget ends it).
        pad: id written into padded places; any id will do, since masks say what is real.
        decoder_prefix: first decoder tokens of encoder-decoders.
        vocab_size: V, the width of the output head, which may exceed the tokenizer.
    """

    eos: tuple[int, ...]
    pad: int
    decoder_prefix: tuple[int, ...]
    vocab_size: int


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is a device, else MPS, else CPU.

    Raises:
        ModelError: the named device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, ok in available.items() if ok)
    if not available[name]:
        raise ModelError(
            f"device: {name} is not available here; available: {', '.join(k for k, ok in available.items() if ok)}"
        )
    return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def load_lm(config: ModelConfig, device: torch.device) -> PreTrainedModel:
    """Load a causal or encoder-decoder LM from a folder or Hub id, in eval mode, from safetensors.

    A PEFT adapter folder is loaded onto its base model and merged, so that what RL starts from is one plain model.

    Raises:
        ModelError: not a language model, or not loadable; the message names the path and the cause.
    """
    found = _find(config)
    options = {"config": found.config, "dtype": DTYPES[config.dtype], "revision": config.revision}
    lm, missing = load_pretrained(found.loader, found.path, found.what, allow_pickle=config.allow_pickle, **options)
    if missing:
        raise ModelError(
            f"model.path: {found.base!r} lacks weights of a language model, such as {missing[0]}; they would be random"
        )
    freeze_computed(lm)  # the warm start trains it, too
    if config.target_language is not None:
        begin_with_language(lm, load_tokenizer(config))
    return lm.to(device).eval()


def empty_lm(config: ModelConfig) -> PreTrainedModel:
    """Return the LM that `load_lm` loads without its weights, for what its configuration alone says.

    An adapter is loaded all the same, since it may bring tokens of its own.

    Raises:
        ModelError: as `load_lm`.
    """
    found = _find(config)
    if found.base != found.path:
        return load_lm(config, torch.device("cpu"))
    make = found.loader if found.loader is EncoderDecoderModel else found.loader.from_config
    with torch.device("meta"):
        lm: PreTrainedModel = make(config=found.config)
    with contextlib.suppress(OSError):  # there need be no such file
        lm.generation_config = GenerationConfig.from_pretrained(found.base, revision=found.revision)
    return lm


class _Found(NamedTuple):
    """What is known of a model before its weights are read: the class that loads it, its configuration, where it is,
    where its base is if it is an adapter, and how messages about it begin.
    """

    loader: Any
    config: Any
    path: str
    base: str
    revision: str | None
    what: str


def _find(config: ModelConfig) -> _Found:
    path = here(config.path, f"model.path: cannot load {config.path!r} as a language model", config.revision)
    adapter = adapter_of(path, config.revision)
    base, revision = (path, config.revision) if adapter is None else adapter.model()
    of = "" if adapter is None else f", the base of the adapter {path!r},"
    what = f"model.path: cannot load {base!r}{of} as a language model"
    if adapter is not None and adapter.task_type == "SEQ_CLS":
        raise ModelError(f"model.path: {path!r} is the adapter of a classifier; name one of a language model")
    base = here(base, what, revision)
    try:
        hf_config = AutoConfig.from_pretrained(base, trust_remote_code=False, revision=revision)
        kind = (
            ("encoder-decoder" if hf_config.is_encoder_decoder else "causal")
            if config.architecture == "auto"
            else config.architecture
        )
        if kind == "causal" and hf_config.model_type in _ENCODERS:
            hf_config.is_decoder = True
        loader = {"causal": AutoModelForCausalLM, "encoder-decoder": AutoModelForSeq2SeqLM}[kind]
        if hf_config.model_type == "encoder-decoder":
            loader = EncoderDecoderModel
    except (OSError, ValueError) as error:
        raise ModelError(f"{what}: {_first_line(error)}") from error
    return _Found(loader, hf_config, path, base, revision, what)


def freeze_computed(lm: PreTrainedModel) -> None:
    """Take tables that a family computes rather than learns out of training: sinusoidal positions, which some versions
    of transformers hand over as parameters like any other, and make anew at every loading.
    """
    ignored = [re.compile(pattern) for pattern in lm._keys_to_ignore_on_save or ()]
    for name, parameter in lm.named_parameters():
        if any(pattern.search(name) for pattern in ignored) or _is_sinusoidal(parameter):
            parameter.requires_grad_(False)


def _is_sinusoidal(table: Tensor) -> bool:
    """Return whether this is a table of sines and cosines of the same angles: every row has the squared norm d / 2."""
    if table.ndim != 2 or len(table) < 2 or table.dtype not in DTYPES.values() or table.is_meta:
        return False
    first = table[:2].detach().float()  # what is none is recognised by two rows
    half = table.shape[1] / 2

    def fits(rows: Tensor) -> bool:
        return bool((((rows**2).sum(-1) - half).abs() <= 0.01 * half).all() and rows.abs().max() <= 1.01)

    return fits(first) and fits(table.detach().float())


def here(path: str, what: str, revision: str | None = None) -> str:
    """Return what to give to `from_pretrained`: the path, or, where the Hub does not answer, the folder of its cache.

    The Hub is asked once here; transformers asks five times for each file, also for those that need not be there.

    Args:
        path: Hub id or folder.
        what: begins the message.
        revision: of a Hub id.

    Raises:
        UnreachableModelError: the Hub does not answer, and its cache does not have the model.
    """
    why = hub.unreachable(path)
    if why is None:
        return path
    folder = hub.cached(path, revision)
    if folder is None:
        raise UnreachableModelError(what, hub.not_here(path, why))
    return folder


def load_pretrained(
    loader: Any, path: str, what: str, *, allow_pickle: bool = False, **options: Any
) -> tuple[PreTrainedModel, list[str]]:
    """Read model weights of others, which is done here alone: from safetensors, and without running code that comes
    with them. An adapter is merged into its base.

    Args:
        loader: a class with `from_pretrained`.
        path: Hub id or folder, of a model or of an adapter in PEFT's format.
        what: beginning of error messages, such as "the judge 'x' cannot be loaded".
        allow_pickle: read a pickle where there are no safetensors; `torch` then refuses whatever is not a plain tensor.
        options: of `from_pretrained`.

    Returns:
        The model, and the sorted names of parameters that the files lack: these are random.

    Raises:
        ModelError: it cannot be loaded.
    """
    path = here(path, what, options.get("revision"))
    adapter = adapter_of(path, options.get("revision"))
    if adapter is not None:
        return _load_adapted(loader, adapter, what, allow_pickle=allow_pickle, **options)
    if not allow_pickle:
        refuse_pickle(what, path)
    safe = None if allow_pickle else True  # None prefers safetensors
    try:
        model, info = loader.from_pretrained(
            path, use_safetensors=safe, trust_remote_code=False, output_loading_info=True, **options
        )
    except Exception as error:  # file formats, and models of all kinds, fail in their own ways
        if not Path(path).is_dir() and "cannot be loaded with `safetensors`" in str(error):
            raise ModelError(_only_pickle(what, "in its repository")) from error
        raise ModelError(f"{what}: {_first_line(error)}") from error
    return model, sorted(info["missing_keys"])


def refuse_pickle(what: str, path: str) -> None:
    """Do nothing unless `path` is a folder with weights that are not safetensors.

    Raises:
        ModelError: it is.
    """
    folder = Path(path)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        pickles = sorted(
            found.name for pattern in _PICKLES for found in folder.glob(pattern) if found.name not in _NO_WEIGHTS
        )
        if pickles:
            raise ModelError(_only_pickle(what, pickles[0]))


def _only_pickle(what: str, where: str) -> str:
    return (
        f"{what}: its weights are only there as a pickle ({where}), which can run code when it is read. "
        "Save it once with `save_pretrained`, which writes safetensors, or set allow_pickle: true beside its path if "
        "you trust its source"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _load_adapted(
    loader: Any, adapter: AdapterFolder, what: str, *, allow_pickle: bool, **options: Any
) -> tuple[PreTrainedModel, list[str]]:
    """Load the base of an adapter and merge the two in float32, whatever the precision that is wanted."""
    if adapter.weights is None and not allow_pickle:
        raise ModelError(_only_pickle(f"cannot load the adapter {adapter.path!r}", "adapter_model.bin"))
    dtype = options.get("dtype")
    options |= {"dtype": torch.float32, "revision": adapter.revision}
    labels = adapter.labels() if loader is AutoModelForSequenceClassification else None
    if labels is not None:  # the head comes with the adapter, so that of the base may be of any size
        options = {"num_labels": labels, **options, "ignore_mismatched_sizes": True}
    lm, missing = load_pretrained(loader, adapter.base, what, allow_pickle=allow_pickle, **options)
    lm, brought = merge_adapter(lm, adapter)
    return lm if dtype is None else lm.to(dtype), [name for name in missing if name not in brought]


def tokenizer_folder(path: str, what: str, revision: str | None = None) -> str:
    """Return where the tokenizer of a model is, for `from_pretrained`: with the base of an adapter that has none of its
    own. Arguments and errors are those of `here`.
    """
    path = here(path, what, revision)
    adapter = adapter_of(path, revision)
    return path if adapter is None or adapter.tokenizer == path else here(adapter.tokenizer, what)


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the model, or the one the config names.

    Raises:
        ModelError: there is none.
    """
    path = config.tokenizer or config.path
    missing = f"model.tokenizer: no tokenizer in {path!r}; name one with model.tokenizer"
    path = tokenizer_folder(path, f"model.tokenizer: cannot load the tokenizer of {path!r}", config.revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, revision=config.revision)
    except (OSError, ValueError) as error:
        raise ModelError(missing) from error
    name_languages(tokenizer, config.source_language, config.target_language)
    # transformers makes an empty tokenizer where there are no files
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ModelError(missing)
    return tokenizer


def special_tokens(lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> SpecialTokens:
    """Read EOS, pad and decoder start ids: the generation config first, then the model config, then the tokenizer.

    Where no config says with which language code the targets of a translation model begin, the tokenizer's `tgt_lang`
    does: as the start token (mBART), or behind it (NLLB, M2M100).

    Raises:
        ModelError: an encoder-decoder without a decoder start token.
    """
    vocab_size = lm.get_output_embeddings().weight.shape[0]

    def first(name: str) -> int | list[int] | None:
        for source in (lm.generation_config, lm.config, tokenizer):
            value = getattr(source, name, None)
            if value is not None:
                return value
        return None

    eos = first("eos_token_id")
    eos_ids = () if eos is None else tuple(eos) if isinstance(eos, list | tuple) else (eos,)
    eos_ids = tuple(dict.fromkeys(i for i in eos_ids if 0 <= i < vocab_size))
    tokenizer_pad = getattr(tokenizer, "pad_token_id", None)
    pads = [
        p for p in (tokenizer_pad, first("pad_token_id"), *eos_ids, 0) if isinstance(p, int) and 0 <= p < vocab_size
    ]
    prefix: tuple[int, ...] = ()
    if lm.config.is_encoder_decoder:
        start, language = first("decoder_start_token_id"), target_language(tokenizer)
        start = language if start is None else start
        start = first("bos_token_id") if start is None else start
        if not isinstance(start, int):
            raise ModelError(
                f"{type(lm).__name__} has no decoder_start_token_id: set it in its config.json or "
                f"generation_config.json"
            )
        forced = first("forced_bos_token_id")
        forced = language if forced is None and language != start else forced
        prefix = (start, forced) if isinstance(forced, int) else (start,)
    return SpecialTokens(eos_ids, pads[0], prefix, vocab_size)


def position_windows(lm: PreTrainedModel) -> tuple[int | None, ...]:
    """Return how many tokens fit: (prompt and completion,) for decoder-only models, (prompt, completion) for
    encoder-decoders.

    None where positions are relative and nothing limits them.
    """

    def window(config: object) -> int | None:
        positions = getattr(config, "max_position_embeddings", None)
        # RoBERTa's kin count positions from their pad id + 1.
        offset = config.pad_token_id + 1 if positions and "roberta" in getattr(config, "model_type", "") else 0  # type: ignore[attr-defined]
        return positions - offset if positions else None

    config = lm.config
    if not config.is_encoder_decoder:
        return (window(config),)
    prefix = len(special_tokens(lm, None).decoder_prefix)
    encoder, decoder = window(getattr(config, "encoder", config)), window(getattr(config, "decoder", config))
    return encoder, None if decoder is None else decoder - prefix + 1


def check_window(lm: PreTrainedModel, prompt_tokens: int, new_tokens: int) -> None:
    """Refuse lengths beyond the model's positions.

    Raises:
        ConfigError: the prompt, the completion or (for decoder-only models) both together do not fit.
    """
    if lm.config.is_encoder_decoder:
        needs = {"prompt": prompt_tokens, "completion": new_tokens}
    else:
        needs = {"prompt and completion": prompt_tokens + new_tokens}
    for (part, needed), window in zip(needs.items(), position_windows(lm), strict=True):
        if window is not None and needed > window:
            raise ConfigError(
                f"prompt.max_tokens {prompt_tokens} and max_new_tokens {new_tokens}: the {part} can need {needed} "
                f"positions, "
                f"but the model has {window}; lower {'max_new_tokens' if part == 'completion' else 'prompt.max_tokens'}"
            )
