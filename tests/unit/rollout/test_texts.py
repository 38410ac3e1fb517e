"""Prompt and completion as one text: what their ids say, and never a rule on strings."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, GPT2TokenizerFast, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rl4lms import rewards
from rl4lms.config.data import PromptConfig
from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.data.rows import read_text
from rl4lms.evaluation.evaluator import Evaluator
from rl4lms.mdp import TextGenEnv
from rl4lms.models.loading import SpecialTokens, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.rewards.call import score_rollout
from rl4lms.rewards.composite import give_tokenizer
from rl4lms.rollout.engine import LocalEngine
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.rollout.texts import Decoder
from rl4lms.types import Sample
from tests.tiny import number_tokenizer, tiny_lm


@pytest.fixture(scope="module")
def gpt2(test_data: Path) -> PreTrainedTokenizerBase:
    return GPT2TokenizerFast.from_pretrained(test_data / "gpt2_tokenizer")


@pytest.fixture(scope="module")
def llama(test_data: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(test_data / "stories260K-hf")


def tokens_of(tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
    return SpecialTokens((tokenizer.eos_token_id,), 0, (), len(tokenizer))


def together(tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str, two_texts: bool = False) -> str:
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, completion)]
    return Decoder(tokenizer, tokens_of(tokenizer), two_texts).together([ids[0]], [[*ids[1], tokenizer.eos_token_id]])[
        0
    ]


@pytest.mark.parametrize(
    ("prompt", "completion", "text"),
    [
        ("The movie was good", ", and I liked it.", "The movie was good, and I liked it."),
        ("disapp", "ointed", "disappointed"),
        ("a great", " movie", "a great movie"),
        ("这部电影", "很好看。", "这部电影很好看。"),
        ("", "movie", "movie"),
        ("a great", "", "a great"),
    ],
)
def test_tokens_with_white_space_of_their_own(gpt2, prompt, completion, text):
    assert together(gpt2, prompt, completion) == text


def test_a_character_that_begins_in_the_prompt_is_whole(gpt2):
    ids = gpt2("看")["input_ids"]
    assert len(ids) > 1
    assert Decoder(gpt2, tokens_of(gpt2)).together([ids[:1]], [ids[1:]]) == ["看"]
    assert Decoder(gpt2, tokens_of(gpt2)).beginnings(ids[:1], [ids[1:]]) == ["看"]


@pytest.mark.parametrize("which", ["gpt2", "llama"])
def test_a_text_cut_between_any_two_tokens_is_whole_again(which, request, test_data):
    tokenizer = request.getfixturevalue(which)
    decoder = Decoder(tokenizer, tokens_of(tokenizer))
    file = sorted((test_data / "sst2").glob("test.tsv"))[0]
    texts = [line.rpartition("\t")[0] for line in read_text(str(file)).split("\n")[1:51]]
    texts += ["The movie was good, and I liked it.", "这部电影很好看。", 'He said: "don\'t!"']
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        prompts, completions = zip(*((ids[:cut], ids[cut:]) for cut in range(1, len(ids))), strict=True)
        assert set(decoder.together(prompts, completions)) == {text}
        middle = len(ids) // 2
        beginnings = [ids[middle:end] for end in range(middle, len(ids) + 1)]
        assert decoder.beginnings(ids[:middle], beginnings) == decoder.together(
            [ids[:middle]] * len(beginnings), beginnings
        )


def test_the_completion_of_an_encoder_decoder_is_a_second_text(gpt2, llama):
    assert together(llama, "a dog", "a cat", two_texts=True) == "a dog a cat"  # as of T5: marks where words begin
    assert together(number_tokenizer(), "1 2", "3", two_texts=True) == "1 2 3"
    assert together(gpt2, "a dog", "a cat", two_texts=True) == "a dog\na cat"  # as of BART
    assert together(gpt2, "a dog", "", two_texts=True) == "a dog"


# --- what a run gives to rewards, metrics and people
# ----------------------------------------------------------------------------------------------------------------------


def engine_of(family: str, prompt: PromptConfig, tokenizer: PreTrainedTokenizerBase | None = None) -> LocalEngine:
    tokenizer = tokenizer or number_tokenizer()
    lm = tiny_lm(family, vocab_size=len(tokenizer))
    return LocalEngine.create(Policy(lm, special_tokens(lm, tokenizer)), tokenizer, prompt, seed=0)


def glue_tokenizer() -> PreTrainedTokenizerFast:
    """Tokens that bring their own white space: `t3`, ` t4`, `t5`, ..."""
    names = {f"{' ' if i % 2 == 0 else ''}t{i}": i for i in range(3, 24)}
    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<s>": 2, **names, "<unk>": 24}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("|", "removed")
    tokenizer.decoder = decoders.Fuse()
    special = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=80, **special)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize("prompt", [PromptConfig(max_tokens=2), PromptConfig(max_tokens=4, prefix="7 ", suffix=" 8")])
def test_a_prompt_that_was_cut_is_given_as_it_was_seen_and_as_it_was(family, prompt):
    engine = engine_of(family, prompt)
    samples = [Sample("a", "1 2 3 4"), Sample("b", "5  6")]  # the second with its own spacing
    settings = EvalGenerationConfig(max_new_tokens=4)
    rollout = engine.rollout(samples, settings, stream="evaluation", step=0, completions_per_prompt=2)
    assert rollout.prompts == ["3 4", "3 4", "5  6", "5  6"]
    columns = rollout.columns()
    assert columns["prompts"] == rollout.prompts
    assert columns["full_prompts"] == ["1 2 3 4"] * 2 + ["5  6"] * 2
    for seen, completion, text in zip(["3 4", "3 4", "5 6", "5 6"], rollout.completions, rollout.texts, strict=True):
        assert text == f"{prompt.prefix}{seen}{prompt.suffix} {completion}".strip()


def test_ids_do_not_depend_on_who_asks_for_them():
    tokenizer = number_tokenizer()
    encoder = PromptEncoder(tokenizer, special_tokens(tiny_lm("gpt2"), tokenizer), PromptConfig(max_tokens=2))
    samples = [Sample("a", "1 2 3"), Sample("b", "")]
    rows, seen, _ = encoder.read(samples)
    assert rows == encoder(samples) == [encoder([sample])[0] for sample in samples]
    assert seen == ["2 3", ""]


def test_rewards_metrics_records_and_episodes_get_the_same_texts():
    given: dict[str, dict[str, Any]] = {}

    def spy(name: str, **also: Any) -> Any:
        def component(prompts, full_prompts, completions, texts, **columns):
            given[name] = {"prompts": prompts, "full_prompts": full_prompts, "texts": texts, "topic": columns["topic"]}
            return also or [float(len(text)) for text in completions]

        return component

    inner = spy("scaled")
    reward = rewards.build({"name": "scale", "reward": {"name": "clip", "low": 0, "reward": "increasing_numbers"}})
    reward.inner[0].inner = (inner,)
    engine = engine_of("gpt2", PromptConfig(max_tokens=2), glue_tokenizer())
    samples = [Sample(str(i), f"t3| t4|t{5 + 2 * i}", meta={"topic": i}) for i in range(4)]
    settings = EvalGenerationConfig(max_new_tokens=4)
    metrics = [spy("metric", key=1.0)]
    evaluator = Evaluator(engine, engine.policy, samples, settings, metrics, reward)
    records = evaluator().samples
    assert given["metric"] == given["scaled"]
    assert given["metric"]["prompts"] == [f" t4t{5 + 2 * i}" for i in range(4)] == [r["prompt"] for r in records]
    assert given["metric"]["full_prompts"] == [sample.prompt for sample in samples]
    assert given["metric"]["topic"] == [0, 1, 2, 3]
    texts = [record["text"] for record in records]
    assert given["metric"]["texts"] == texts == [r["prompt"] + r["completion"] for r in records]
    assert [record["full_prompt"] for record in records] == [sample.prompt for sample in samples]
    rollout = engine.rollout(samples, settings, stream="evaluation", step=0)
    score_rollout(spy("function"), rollout)
    assert given["function"] == given["metric"]

    prompt = PromptConfig(max_tokens=2)
    env = TextGenEnv(samples, engine.tokenizer, engine.policy.tokens, reward, prompt=prompt, max_new_tokens=2)
    env.reset(options={"index": 2})
    for token in (5, 6):
        env.step(token)
    assert given["scaled"] == {
        "prompts": [" t4t9"],
        "full_prompts": ["t3| t4|t9"],
        "texts": [" t4t9t5 t6"],
        "topic": [2],
    }


def test_prefixes_come_with_their_prompts():
    seen: list[str] = []

    def reward(completions, texts):
        seen.extend(texts)
        return [float(len(text)) for text in completions]

    engine = engine_of("gpt2", PromptConfig(max_tokens=8), glue_tokenizer())
    shaped = rewards.build({"name": "shaped", "every": "token", "reward": "increasing_numbers"})
    shaped.inner = (reward,)
    give_tokenizer([shaped], engine.decoder)
    samples = [Sample("a", "t3| t4"), Sample("b", "t5")]
    rollout = engine.rollout(samples, EvalGenerationConfig(max_new_tokens=4), stream="evaluation", step=0)
    score_rollout(shaped, rollout)
    rows = [ids[mask].tolist() for ids, mask in zip(rollout.completion_ids, rollout.completion_mask, strict=True)]
    decode = engine.decoder
    assert seen == list(
        itertools.chain.from_iterable(
            ["".join(decode([prompt, row[: end + 1]])) for end in range(len(row))]
            for prompt, row in zip(([3, 4], [5]), rows, strict=True)
        )
    )
