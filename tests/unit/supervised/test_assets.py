from __future__ import annotations

import dataclasses

import pytest

from rl4lms.supervised.assets import build_lm, word_tokenizer
from rl4lms.types import ModelSpec

SHAPE = {"hidden_size": 32, "layers": 1, "heads": 2, "max_positions": 16}
WORDS = [f"w{number}" for number in range(200)]


def test_a_t5_may_have_its_own_embeddings():
    tokenizer = word_tokenizer(WORDS)
    small = build_lm(ModelSpec("base", "t5", SHAPE, "", ""), tokenizer)
    own = ModelSpec("base", "t5", {**SHAPE, "t5_embeddings": 1}, "", "")
    large = build_lm(own, tokenizer)
    assert small.get_input_embeddings().weight.std() < 0.1
    assert 0.9 < large.get_input_embeddings().weight.std() < 1.1
    assert large.get_output_embeddings().weight is large.get_input_embeddings().weight
    with pytest.raises(ValueError, match="t5_embeddings is for a T5"):
        build_lm(dataclasses.replace(own, architecture="gpt2"), tokenizer)
