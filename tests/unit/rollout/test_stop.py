"""Stop strings: where completions end, compared with decoding one token at a time."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from rl4lms.config.data import PromptConfig
from rl4lms.config.generation import EvalGenerationConfig, RolloutConfig, SamplingConfig
from rl4lms.core.token_masks import top_p_mask
from rl4lms.models.generate import MaskRule
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from rl4lms.rollout.engine import LocalEngine, log_prob_pass, sampler_error
from rl4lms.rollout.stop import stop_at
from rl4lms.rollout.texts import Decoder
from rl4lms.types import Rollout, Sample
from tests.tiny import BOS, EOS, PAD, number_tokenizer, tiny_lm

SAMPLES = [Sample(str(i), text) for i, text in enumerate(("ab", "c", "a b c", "bca", "cc", "b"))]


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes of a few letters, and pieces of several, so that a stop string is made of parts of tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = ["a", "b", "c", "Ġ", "ab", "bc", "Ġa", "Ġb", "ca", "cab", "aĠb", "abc", "Ċ", "bĊ", "Ċa"]
    vocab = {"<pad>": PAD, "</s>": EOS, "<s>": BOS, **{piece: i + 3 for i, piece in enumerate(pieces)}}
    made = Tokenizer(models.BPE(vocab, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", bos_token="<s>")


def engine(family: str = "gpt2", seed: int = 0) -> LocalEngine:
    names = tokenizer()
    lm = tiny_lm(family, vocab_size=len(names), seed=seed)
    return LocalEngine.create(Policy(lm, special_tokens(lm, names)), names, PromptConfig(), seed)


def rows(rollout: Rollout) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(rollout.completion_ids, rollout.completion_mask, strict=True)]


def completes(decode: Decoder, row: list[int], stop: list[str]) -> bool:
    """Whether the last token of a row completes a stop string: the text has one more with it than without."""
    text, before = decode([row, row[:-1]])
    return any(text.count(string) > before.count(string) for string in stop)


def cut(decode: Decoder, row: list[int], stop: list[str], least: int = 0) -> list[int]:
    """What is left of a completion that was decoded without stop strings, token by token."""
    return next((row[:t] for t in range(max(1, least), len(row) + 1) if completes(decode, row[:t], stop)), row)


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
@pytest.mark.parametrize("stop", [["ab"], ["b\n", "c a"], ["abcab", "bb"]])
def test_completions_end_where_decoding_token_by_token_says(family: str, stop: list[str]) -> None:
    one = engine(family)
    how: dict[str, Any] = {"stream": "train", "step": 0, "completions_per_prompt": 3}
    free = one.rollout(SAMPLES, RolloutConfig(max_new_tokens=12), **how)
    stopped = one.rollout(SAMPLES, RolloutConfig(max_new_tokens=12, stop=stop), **how)
    wanted = [cut(one.decoder, row, stop) for row in rows(free)]
    assert rows(stopped) == wanted
    assert any(len(row) > len(short) for row, short in zip(rows(free), wanted, strict=True))  # something stops
    assert stopped.terminated.tolist() == [row[-1] == EOS or completes(one.decoder, row, stop) for row in wanted]
    again = one.rollout(SAMPLES, RolloutConfig(max_new_tokens=12, stop=stop, batch_size=2), **how)
    assert rows(again) == wanted  # compaction and batches change nothing
    sampler_error(one.policy, stopped, log_prob_pass(one.policy, stopped))  # raises where they differ


def test_a_mask_and_a_least_length_go_with_stop_strings() -> None:
    one, other = engine(), engine(seed=1)
    rule = MaskRule(other.policy, functools.partial(top_p_mask, top_p=0.8))
    settings = {"max_new_tokens": 12, "min_new_tokens": 4, "temperature": 1.5}
    how: dict[str, Any] = {"stream": "train", "step": 0, "completions_per_prompt": 4, "mask_rule": rule}
    free = one.rollout(SAMPLES, RolloutConfig(**settings), **how)
    stopped = one.rollout(SAMPLES, RolloutConfig(**settings, stop=["b"]), **how)
    assert rows(stopped) == [cut(one.decoder, row, ["b"], least=4) for row in rows(free)]
    assert min(map(len, rows(stopped))) == 4
    sampler_error(one.policy, stopped, log_prob_pass(one.policy, stopped, temperature=1.5))


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_beams_end_with_a_stop_string(family: str) -> None:
    one = engine(family)
    settings = EvalGenerationConfig(max_new_tokens=8, num_beams=3, stop=["c", "ab"])
    found = one.rollout(SAMPLES, settings, stream="evaluation", step=0)
    for row, ended in zip(rows(found), found.terminated.tolist(), strict=True):
        assert cut(one.decoder, row, ["c", "ab"]) == row
        assert ended or len(row) == 8
    assert any(row[-1] != EOS for row, ended in zip(rows(found), found.terminated.tolist(), strict=True) if ended)


def test_nothing_is_asked_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl4lms.rollout.engine.stop_at", None)
    engine().rollout(SAMPLES, SamplingConfig(max_new_tokens=3), stream="train", step=0)


def test_a_string_that_overlaps_with_itself_is_found_again_after_the_least_length() -> None:
    names = tokenizer()
    stop = stop_at(Decoder(names, engine().policy.tokens), ["aa"])
    a, b = names.convert_tokens_to_ids(["a", "b"])
    for n in range(2, 30):  # as far as the window slides
        assert stop(torch.tensor([[a] * n, [a] * (n - 1) + [b]])).tolist() == [True, False]


def test_word_level_tokenizers_have_stop_strings_too() -> None:
    names = number_tokenizer()
    ids = torch.tensor([names.convert_tokens_to_ids(text.split()) for text in ("1 2 3", "1 3 2", "2 3 3")])
    assert stop_at(Decoder(names, engine().policy.tokens), ["2 3", "13"])(ids).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"stop": [""]}, "at least 1"), ({"stop": ["a"], "num_beams": 2, "min_new_tokens": 1}, "at any length")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvalGenerationConfig(**settings)
    assert torch.is_grad_enabled()
