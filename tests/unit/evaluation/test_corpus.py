"""What metrics and rewards get from a run: corpora and the tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rl4lms.config.data import DataConfig
from rl4lms.data.files import FileTask
from rl4lms.errors import DataError
from rl4lms.evaluation.corpus import corpus, give_corpora
from rl4lms.models.loading import SpecialTokens
from rl4lms.rewards import nested, state_of
from rl4lms.rewards.composite import Container, give_tokenizer
from rl4lms.rollout.texts import Decoder
from tests.tiny import number_tokenizer


def write(path: Path, *rows: tuple[str, list[str]]) -> str:
    path.write_text("".join(json.dumps({"prompt": prompt, "references": texts}) + "\n" for prompt, texts in rows))
    return str(path)


class Fitted(Container):
    def __init__(self, corpus: str | None = None, *inner: object) -> None:
        self.corpus, self.inner, self.given = corpus, inner, None

    def fit(self, references, name):
        self.given = (name, references)


@pytest.fixture
def task(tmp_path):
    train = write(tmp_path / "train.jsonl", ("p", ["a", "b"]), ("q", ["c"]), ("p", ["b", "d"]), ("r", []))
    return FileTask(DataConfig(train=train, validation=write(tmp_path / "dev.jsonl", ("v", ["e"]))))


def test_rows_of_one_prompt_are_one_document(task):
    assert corpus(task, "train") == [("a", "b", "d"), ("c",)]
    assert corpus(task, "validation") == [("e",)]


def test_a_file_is_read_whole(task, tmp_path):
    other = write(tmp_path / "other.jsonl", *((str(i), [f"text {i}"]) for i in range(30)))
    assert len(corpus(task, other)) == 30


def test_everything_inside_gets_what_it_names(task):
    innermost, beside = Fitted("validation"), Fitted(None)
    give_corpora([None, Fitted("train", Fitted(None, innermost), beside)], task)
    assert innermost.given == ("validation", [("e",)])
    assert beside.given is None


def test_the_tokenizer_decodes_without_special_tokens():
    class Decoding:
        def use_tokenizer(self, decode):
            self.decode = decode

    tokenizer, part = number_tokenizer(), Decoding()
    give_tokenizer([part], Decoder(tokenizer, SpecialTokens((1,), 0, (), 24)))
    ids = tokenizer("1 2 3", add_special_tokens=False)["input_ids"]
    assert part.decode([ids, [*ids, tokenizer.eos_token_id], []]) == ["1 2 3", "1 2 3", ""]


def test_a_corpus_without_references_is_told(tmp_path):
    task = FileTask(DataConfig(train=write(tmp_path / "train.jsonl", ("p", [])), holdout=0))
    with pytest.raises(DataError, match="the corpus 'train' has no references to take document frequencies from"):
        corpus(task, "train")


def test_rewards_of_others_may_use_these_names_for_themselves(task):
    class Own(torch.nn.Module):
        corpus = "my texts"
        inner = torch.nn.Linear(1, 1)

        def __call__(self, completions, **columns):
            return [0.0] * len(completions)

    reward = Own()
    give_corpora([reward], task)
    give_tokenizer([reward], Decoder(number_tokenizer(), SpecialTokens((1,), 0, (), 24)))
    assert list(nested(reward)) == [reward]
    assert state_of(reward) == []
