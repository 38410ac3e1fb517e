"""Special tokens: which are part of a text, and that none is given twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    GPT2TokenizerFast,
    NllbTokenizer,
    PreTrainedTokenizerFast,
)

from rl4lms.config.data import PromptConfig
from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.mdp import TextGenEnv
from rl4lms.metrics.classifier import Classifier
from rl4lms.models.frame import Frame
from rl4lms.models.loading import SpecialTokens, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.models.text_nll import TextNll
from rl4lms.rewards.call import score_rollout
from rl4lms.rollout.engine import LocalEngine
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.rollout.texts import Decoder
from rl4lms.supervised.reward_model import fit_classifier, logits
from rl4lms.types import Sample
from tests.tiny import tiny_lm

_NAMES = (
    "<pad>",
    "</s>",
    "<s>",
    "[CLS]",
    "[SEP]",
    "<unk>",
    "<think>",
    "</think>",
    "<|im_end|>",
    "<tool>",
    "a",
    "b",
    "c",
)
PAD, EOS, BOS, CLS, SEP, UNK, THINK, UNTHINK, TURN, TOOL, A, B, C = range(len(_NAMES))
TOKENS = SpecialTokens((EOS,), PAD, (), len(_NAMES))


def tokenizer_of(template: str = "$A", **special: str) -> PreTrainedTokenizerFast:
    """Words, named special tokens, and four that mean something, of which Python's list of extra ones names none."""
    vocabulary = {name: i for i, name in enumerate(_NAMES)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([AddedToken(name) for name in ("<think>", "</think>", "<|im_end|>", "<tool>")])
    pieces = [(name, i) for name, i in vocabulary.items() if name in template]
    backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=pieces)
    names = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names | special)


# --- which are text
# ----------------------------------------------------------------------------------------------------------------------

WHOLE = [BOS, CLS, THINK, A, UNTHINK, B, UNK, TOOL, TURN, SEP, EOS, PAD]


def test_what_means_something_stays_and_what_frames_a_text_does_not() -> None:
    decoder = Decoder(tokenizer_of(), TOKENS)
    text = "<think> a </think> b <tool> <|im_end|>"
    assert decoder([WHOLE]) == decoder.prompts([WHOLE]) == [text]
    assert decoder.together([WHOLE], [[A, TURN, EOS]]) == [f"{text} a <|im_end|>"]
    assert decoder.beginnings([A], [[THINK], [THINK, B]]) == ["a <think>", "a <think> b"]
    assert Decoder(tokenizer_of(), TOKENS, keep_special_tokens=False)([WHOLE]) == ["a b"]


@pytest.mark.parametrize(
    ("eos", "text"),
    [
        ((EOS,), "<think> a <|im_end|> c"),
        ((EOS, TURN), "<think> a c"),  # every id that ends a completion
        ((TURN, THINK), "a c"),
        ((C,), "<think> a <|im_end|> c"),  # an EOS that is a word is read as one
    ],
)
def test_every_end_of_the_model_is_left_out(eos: tuple[int, ...], text: str) -> None:
    tokens = SpecialTokens(eos, PAD, (), len(_NAMES))
    assert Decoder(tokenizer_of(), tokens)([[THINK, A, TURN, C]]) == [text]


def test_what_a_decoder_starts_from_and_what_the_tokenizer_adds_is_left_out() -> None:
    assert Decoder(tokenizer_of(), SpecialTokens((EOS,), PAD, (THINK, TOOL), 13))([[THINK, TOOL, A, TURN]]) == [
        "a <|im_end|>"
    ]
    assert Decoder(tokenizer_of("<tool> $A <|im_end|>"), TOKENS)([[TOOL, THINK, A, TURN]]) == ["<think> a"]


def test_language_codes_are_no_text() -> None:
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "▁", *"abc"])}
    tokenizer: Any = NllbTokenizer(vocab=vocabulary, merges=[], src_lang="eng_Latn")
    code = tokenizer.convert_tokens_to_ids("deu_Latn")
    ids = tokenizer("abc", add_special_tokens=False)["input_ids"]
    assert Decoder(tokenizer, SpecialTokens((2,), 1, (2,), len(tokenizer)), two_texts=True)([[code, *ids, 2]]) == [
        "abc"
    ]


def test_rewards_read_what_the_policy_wrote() -> None:
    """In a rollout, where a prompt is cut, and in the environment."""
    tokenizer, lm = tokenizer_of(), tiny_lm("gpt2", vocab_size=len(_NAMES))
    prompt = PromptConfig(max_tokens=3)
    engine = LocalEngine.create(Policy(lm, special_tokens(lm, tokenizer)), tokenizer, prompt, seed=0)
    sample = Sample("1", "c c <think> a <tool>")
    settings = EvalGenerationConfig(max_new_tokens=20)
    rollout = engine.rollout([sample], settings, stream="evaluation", step=0, completions_per_prompt=16)
    seen: list[str] = []

    def reward(completions: list[str], prompts: list[str], texts: list[str], **columns: Any) -> list[float]:
        seen.extend([*completions, *prompts, *texts])
        return [0.0] * len(completions)

    score_rollout(reward, rollout)
    silent = {PAD, EOS, BOS, CLS, SEP, UNK}
    written = [
        " ".join(_NAMES[i] for i in row[mask].tolist() if i not in silent)
        for row, mask in zip(rollout.completion_ids, rollout.completion_mask, strict=True)
    ]
    assert seen[:16] == written
    assert seen[16:32] == ["<think> a <tool>"] * 16
    assert seen[32:] == [f"<think> a <tool> {text}".strip() for text in written]
    assert any("<think>" in text for text in written)
    texts: list[str] = []

    def final(completions: list[str], **columns: Any) -> list[float]:
        texts.extend(completions)
        return [0.0] * len(completions)

    env = TextGenEnv([sample], tokenizer, engine.policy.tokens, final, prompt=prompt, max_new_tokens=3)
    env.reset(seed=0)
    for token in (THINK, A, EOS):
        env.step(token)
    assert texts[-1] == "<think> a"


# --- which are given once
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "text", "ids"),
    [
        ("<s> $A", "<s> a b", [BOS, A, B]),
        ("<s> $A", "a b", [BOS, A, B]),
        ("<s> $A", "<s>", [BOS]),
        ("<s> $A", "", [BOS]),
        ("$A </s>", "a b </s>", [A, B, EOS]),
        ("<s> $A </s>", "<s> a </s>", [BOS, A, EOS]),
        ("[CLS] $A [SEP]", "[CLS] a [SEP]", [CLS, A, SEP]),
        ("$A </s> <tool>", "a </s>", [A, EOS, TOOL]),  # as mBART's, with a code behind EOS
        ("$A </s> <tool>", "a </s> <tool>", [A, EOS, TOOL]),
        ("$A", "<s> a </s>", [BOS, A, EOS]),  # nothing is added, and what is there stays
        ("$A", "<s> <s> a", [BOS, BOS, A]),
        ("<s> $A", "a <s> b", [BOS, A, BOS, B]),
    ],
)
def test_a_token_that_a_prompt_brings_is_not_added(template: str, text: str, ids: list[int]) -> None:
    encoder = PromptEncoder(tokenizer_of(template), TOKENS, PromptConfig(max_tokens=8))
    assert encoder([Sample("1", text)]) == [ids]
    policy = Policy(lm := tiny_lm("gpt2", vocab_size=len(_NAMES)), special_tokens(lm, None))
    assert TextNll(policy, tokenizer_of(template))._plain_prompts([text]) == [ids]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("most", [2, 3, 4])
def test_a_cut_prompt_fills_what_it_may(side: Any, most: int) -> None:
    encoder = PromptEncoder(tokenizer_of("<s> $A"), TOKENS, PromptConfig(max_tokens=most, truncation_side=side))
    words = [A, B, C, A, B, C]
    (row,) = encoder([Sample("1", "<s> a b c a b c")])
    assert row == [BOS, *(words[-most + 1 :] if side == "left" else words[: most - 1])]


def test_a_chat_templates_prompt_behind_a_prefix(caplog: pytest.LogCaptureFixture) -> None:
    config = PromptConfig(max_tokens=4, prefix="<s> c ", suffix=" b")
    assert PromptEncoder(tokenizer_of("<s> $A"), TOKENS, config)([Sample("1", "a a a a")]) == [[BOS, C, A, B]]


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    encoder = PromptEncoder(tokenizer_of("<s> $A"), TOKENS, PromptConfig())
    encoder([Sample("1", "a"), Sample("2", "b")])
    assert caplog.messages == []
    encoder([Sample("1", "<s> a"), Sample("2", "<s> b")])
    encoder([Sample("3", "<s> c")])
    assert caplog.messages == ["prompts bring <s>, which the tokenizer adds: they are not given a second one"]


def test_without_added_tokens_all_stays_as_it_is() -> None:
    encoder = PromptEncoder(tokenizer_of("<s> $A"), TOKENS, PromptConfig(add_special_tokens=False))
    assert encoder([Sample("1", "<s> <s> a")]) == [[BOS, BOS, A]]


def test_an_eos_that_a_text_brings_is_not_scored() -> None:
    policy = Policy(lm := tiny_lm("gpt2", vocab_size=len(_NAMES)), special_tokens(lm, None))
    scorer = TextNll(policy, tokenizer_of())
    assert scorer(["a", "a"], ["b c </s>", "b c"]) == scorer(["a", "a"], ["b c", "b c"])


def test_classifiers_and_reward_models_read_and_learn_the_same_ids(tmp_path: Path) -> None:
    """With and without the special tokens that their tokenizer adds."""
    tokenizer = tokenizer_of("[CLS] $A [SEP]")
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(_NAMES), **shape, num_labels=1, initializer_range=0.5, pad_token_id=PAD)
    bare, framed = ["a b", "c"], ["[CLS] a b [SEP]", "[CLS] c"]
    models_: list[Any] = []
    for texts in (bare, framed):
        torch.manual_seed(0)
        models_.append(BertForSequenceClassification(config))
        fit_classifier(models_[-1], tokenizer, texts, [0.0, 1.0], batch_size=2, learning_rate=1e-2, seed=0, steps=3)
    for one, other in zip(*(model.parameters() for model in models_), strict=True):
        assert torch.equal(one, other)
    assert logits(models_[0], tokenizer, framed).tolist() == logits(models_[0], tokenizer, bare).tolist()
    models_[0].save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    scorer = Classifier(model=str(tmp_path), output="logit", include_prompt=False, device="cpu")
    values = [scorer(prompts=["", ""], completions=texts)["classifier"] for texts in (bare, framed)]
    assert values[0] == values[1]
    assert len({len(column[0]) for column in scorer._runner.encode(framed).values()}) == 1


def test_real_tokenizers_have_the_frame_that_they_add(test_data: Path) -> None:
    gpt2 = GPT2TokenizerFast.from_pretrained(test_data / "gpt2_tokenizer")
    llama = AutoTokenizer.from_pretrained(test_data / "stories260K-hf")
    for tokenizer in (gpt2, llama):
        frame, bare = Frame(tokenizer, None), tokenizer("Once", add_special_tokens=False)["input_ids"]
        assert [*frame.before, *bare, *frame.after] == tokenizer("Once")["input_ids"]
    assert frame.before == llama("")["input_ids"]
