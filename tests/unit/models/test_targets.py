"""Tokenizers that treat targets otherwise than sources: what is learnt, measured and read is on the target's side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    NllbTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rl4lms.config.algorithms import SupervisedConfig
from rl4lms.config.data import PromptConfig
from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.config.model import ModelConfig
from rl4lms.errors import ModelError
from rl4lms.models.loading import load_lm, load_tokenizer, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.models.saving import save_lm
from rl4lms.models.targets import encode_targets
from rl4lms.models.text_nll import TextNll
from rl4lms.rollout.engine import LocalEngine
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.rollout.texts import Decoder
from rl4lms.supervised.warm_start import fit
from rl4lms.types import Sample
from tests.runs import save_tiny
from tests.tiny import number_tokenizer

_SOURCE = ["one dog", "two dogs", "three cats", "four birds", "five mice", "six cows"]
_TARGET = ["ein Hund", "zwei Hunde", "drei Katzen", "vier Vögel", "fünf Mäuse", "sechs Kühe"]
_SHAPE = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
_SHAPE |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64}


@pytest.fixture(scope="module", params=[True, False], ids=["two vocabularies", "one vocabulary"])
def marian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    sentencepiece = pytest.importorskip("sentencepiece")
    from transformers import MarianTokenizer

    folder, pieces = tmp_path_factory.mktemp("marian"), {}
    for side, texts in (("source", _SOURCE), ("target", _TARGET)):
        (folder / side).write_text("\n".join(texts * 20))
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / side),
            model_prefix=str(folder / side),
            vocab_size=40,
            minloglevel=2,
            hard_vocab_limit=False,
        )
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.model"))
        pieces[side] = [model.id_to_piece(i) for i in range(3, model.get_piece_size())]
    both = list(dict.fromkeys(pieces["source"] + pieces["target"]))
    for side in pieces:
        words = pieces[side] if request.param else both
        if side == "target":
            words = words[::-1]  # so that an id is never the same piece by chance
        vocabulary = {piece: i for i, piece in enumerate(["</s>", "<unk>", *words, "<pad>"])}
        (folder / f"{side}.json").write_text(json.dumps(vocabulary))
    files = {"source_spm": str(folder / "source.model"), "target_spm": str(folder / "target.model")}
    files |= {"vocab": str(folder / "source.json")}
    if request.param:
        files |= {"target_vocab_file": str(folder / "target.json")}
    return MarianTokenizer(**files, separate_vocabs=request.param)


def translator(tokenizer: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": len(tokenizer.encoder)}
    if tokenizer.separate_vocabs:
        sizes |= {"decoder_vocab_size": len(tokenizer.target_encoder), "share_encoder_decoder_embeddings": False}
    pad = tokenizer.pad_token_id
    start = tokenizer.target_encoder["<pad>"] if tokenizer.separate_vocabs else pad
    ids = {"pad_token_id": pad, "eos_token_id": 0, "decoder_start_token_id": start, "forced_eos_token_id": None}
    return MarianMTModel(MarianConfig(**_SHAPE, **sizes, **ids, dropout=0.0)).eval()


def test_targets_are_encoded_and_decoded_with_their_own_vocabulary(marian: Any) -> None:
    decoder = Decoder(marian, special_tokens(translator(marian), marian), two_texts=True)
    targets = encode_targets(marian, _TARGET, two_texts=True)
    assert not any(marian.unk_token_id in row for row in targets)
    assert decoder(targets) == _TARGET
    sources = marian(_SOURCE, add_special_tokens=False)["input_ids"]  # the target mode is left again
    assert decoder.prompts(sources) == _SOURCE
    pad = marian.target_encoder["<pad>"] if marian.separate_vocabs else marian.pad_token_id
    assert decoder([[pad, *row, 0] for row in targets]) == _TARGET
    if marian.separate_vocabs and (piece := marian.decoder.get(marian.pad_token_id)):  # a piece of the other side's
        assert decoder([[marian.pad_token_id]]) == [piece.replace("▁", " ").strip()]
    assert decoder.beginnings(sources[0], [[], targets[0]]) == ["one dog", "one dog\nein Hund"]
    assert decoder.together(sources, targets) == [f"{a}\n{b}" for a, b in zip(_SOURCE, _TARGET, strict=True)]


@pytest.mark.slow
def test_a_warm_start_learns_translations_that_are_read_as_they_were_written(marian: Any) -> None:
    """From the files to the texts that a reward gets."""
    lm = translator(marian)
    tokens = special_tokens(lm, marian)
    samples = [Sample(a, a, (b,)) for a, b in zip(_SOURCE, _TARGET, strict=True)]
    prompts = PromptEncoder(marian, tokens, PromptConfig(max_tokens=20))(samples)
    config = SupervisedConfig(max_steps=150, batch_size=6, learning_rate=1e-2)
    fit(lm, marian, samples, config, prompt_ids=prompts, seed=0)
    engine = LocalEngine.create(Policy(lm, tokens), marian, PromptConfig(max_tokens=20), seed=0)
    settings = EvalGenerationConfig(max_new_tokens=20, top_k=1)
    rollout = engine.rollout(samples, settings, stream="evaluation", step=0)
    assert rollout.completions == _TARGET
    assert rollout.prompts == _SOURCE
    assert rollout.terminated.all()
    nats, counts = TextNll(Policy(lm, tokens), marian)(_SOURCE, _TARGET)
    assert max(n / c for n, c in zip(nats, counts, strict=True)) < 0.1


def nllb(**options: Any) -> NllbTokenizer:
    """Byte pairs without merges: one token per character."""
    characters = ["▁", *"abcdefgh"]
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *characters])}
    return NllbTokenizer(vocab=vocabulary, merges=[], src_lang="eng_Latn", **options)


def m2m100(tokenizer: PreTrainedTokenizerBase, **ids: Any) -> PreTrainedModel:
    config = M2M100Config(vocab_size=len(tokenizer), **_SHAPE, pad_token_id=1, eos_token_id=2, bos_token_id=0, **ids)
    return M2M100ForConditionalGeneration(config)


def test_targets_begin_with_the_language_that_the_tokenizer_names() -> None:
    tokenizer = nllb(tgt_lang="deu_Latn")
    german, french = tokenizer.convert_tokens_to_ids(["deu_Latn", "fra_Latn"])
    lm = m2m100(tokenizer, decoder_start_token_id=2)
    assert special_tokens(lm, tokenizer).decoder_prefix == (2, german)
    assert special_tokens(lm, nllb()).decoder_prefix == (2,)  # none is named: the policy chooses it
    lm.generation_config.forced_bos_token_id = french
    assert special_tokens(lm, tokenizer).decoder_prefix == (2, french)


def test_the_language_is_the_start_where_the_model_has_none() -> None:
    """As mBART's, whose targets end on their code, which is shifted to the front."""
    tokenizer = nllb(tgt_lang="deu_Latn", legacy_behaviour=True)
    lm = m2m100(tokenizer)
    lm.config.decoder_start_token_id = lm.generation_config.decoder_start_token_id = None
    german = tokenizer.convert_tokens_to_ids("deu_Latn")
    assert special_tokens(lm, tokenizer).decoder_prefix == (german,)
    lm.generation_config.decoder_start_token_id = german
    assert special_tokens(lm, tokenizer).decoder_prefix == (german,)


@pytest.mark.parametrize("language", ["deu_Latn", None])
def test_codes_are_no_part_of_targets_and_sources_keep_theirs(language: str | None) -> None:
    tokenizer = nllb(tgt_lang=language)
    before = tokenizer("abc")["input_ids"]
    plain = tokenizer("abc", add_special_tokens=False)["input_ids"]
    assert encode_targets(tokenizer, ["abc"], two_texts=True) == [plain]
    assert tokenizer("abc")["input_ids"] == before
    assert tokenizer.tgt_lang == language


def test_a_completion_that_continues_its_prompt_has_the_prompts_vocabulary() -> None:
    class TwoModes:
        def __call__(self, text: Any = None, text_target: Any = None, **options: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[7]] if text is None else [[5]]}

        def _switch_to_target_mode(self) -> None: ...

    tokenizer: Any = TwoModes()
    assert encode_targets(tokenizer, ["a"], two_texts=True) == [[7]]
    assert encode_targets(tokenizer, ["a"], two_texts=False) == [[5]]
    assert encode_targets(number_tokenizer(), ["1 2"], two_texts=True) == [[4, 5]]


@pytest.fixture
def nllb_folder(tmp_path: Path) -> Path:
    tokenizer = nllb()
    m2m100(tokenizer, decoder_start_token_id=2).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def prefix_and_prompt(config: ModelConfig) -> tuple[tuple[int, ...], list[int]]:
    lm, tokenizer = load_lm(config, torch.device("cpu")), load_tokenizer(config)
    return special_tokens(lm, tokenizer).decoder_prefix, tokenizer("abc")["input_ids"]


def test_a_recipe_names_the_languages_and_the_saved_model_keeps_them(nllb_folder: Path, tmp_path: Path) -> None:
    french, german = nllb().convert_tokens_to_ids(["fra_Latn", "deu_Latn"])
    config = ModelConfig(path=str(nllb_folder), source_language="fra_Latn", target_language="deu_Latn")
    prefix, prompt = prefix_and_prompt(config)
    assert (prefix, prompt[0], prompt[-1]) == ((2, german), french, 2)

    lm, again = load_lm(config, torch.device("cpu")), tmp_path / "again"
    save_lm(lm, load_tokenizer(config), again)
    assert prefix_and_prompt(ModelConfig(path=str(again))) == (prefix, prompt)
    ids = torch.tensor([prompt])
    written = M2M100ForConditionalGeneration.from_pretrained(again).generate(ids, max_new_tokens=4)  # without us
    assert written[0, :2].tolist() == [2, german]


def test_a_named_language_wins_over_that_of_the_generation_config(nllb_folder: Path) -> None:
    french, german = nllb().convert_tokens_to_ids(["fra_Latn", "deu_Latn"])
    lm = M2M100ForConditionalGeneration.from_pretrained(nllb_folder)
    lm.generation_config.forced_bos_token_id = french
    lm.save_pretrained(nllb_folder)
    assert prefix_and_prompt(ModelConfig(path=str(nllb_folder)))[0] == (2, french)
    assert prefix_and_prompt(ModelConfig(path=str(nllb_folder), target_language="deu_Latn"))[0] == (2, german)
    # mBART's start token is a language
    lm.generation_config.forced_bos_token_id = None
    lm.generation_config.decoder_start_token_id = lm.config.decoder_start_token_id = french
    lm.save_pretrained(nllb_folder)
    assert prefix_and_prompt(ModelConfig(path=str(nllb_folder)))[0] == (french,)
    assert prefix_and_prompt(ModelConfig(path=str(nllb_folder), target_language="deu_Latn"))[0] == (german,)


def test_languages_that_the_tokenizer_does_not_know_are_refused(nllb_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.target_language: .* no language 'deu'; among its codes: deu_Latn"):
        load_tokenizer(ModelConfig(path=str(nllb_folder), target_language="deu"))
    with pytest.raises(ModelError, match=r"model\.source_language: .* no language '<pad>'"):
        load_tokenizer(ModelConfig(path=str(nllb_folder), source_language="<pad>"))
    plain = save_tiny(tmp_path / "t5", "t5")
    with pytest.raises(ModelError, match=r"model\.source_language: .* knows no languages"):
        load_tokenizer(ModelConfig(path=str(plain), source_language="deu_Latn"))
