from __future__ import annotations

import pytest
from transformers import AutoModel, BertModel

from rl4lms.errors import MissingPartError, ModelError
from rl4lms.metrics.pretrained import Memory, load_runner
from rl4lms.metrics.runner import RunnerOptions
from tests.unit.metrics.encoders import saved_bert


def test_memory_forgets_what_was_used_longest_ago():
    memory: Memory[str] = Memory(6, len)
    memory.put("a", "xx")
    memory.put("b", "yy")
    memory.put("c", "zz")
    assert memory.get("a") == "xx"
    memory.put("d", "w")
    assert [memory.get(key) for key in "abcd"] == ["xx", None, "zz", "w"]
    memory.put("a", "longer")  # takes all the room, and the place of its older value
    assert [memory.get(key) for key in "acd"] == ["longer", None, None]
    memory.put("e", "too long")
    assert [memory.get(key) for key in "ae"] == ["longer", None]


def test_models_that_are_not_there_and_models_that_are_broken(tmp_path):
    with pytest.raises(MissingPartError, match="the encoder 'nobody/has-this', which some_metric needs, is missing"):
        # The Hub cannot be reached here
        load_runner("some_metric", AutoModel, "nobody/has-this", "encoder", RunnerOptions())
    # A mistake, not a part that is missing
    with pytest.raises(ModelError, match=r"the encoder '.*absent' cannot be loaded"):
        load_runner("some_metric", AutoModel, str(tmp_path / "absent"), "encoder", RunnerOptions())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_runner("some_metric", AutoModel, str(tmp_path), "encoder", RunnerOptions())


def test_texts_without_tokens_are_read_all_the_same(tmp_path):
    folder, _, tokenizer = saved_bert(tmp_path, BertModel)
    runner = load_runner("some_metric", AutoModel, folder, "encoder", RunnerOptions(device="cpu"))
    tokenizer.backend_tokenizer.post_processor = None  # as tokenizers of decoders, which add nothing
    runner.tokenizer = tokenizer
    assert runner.encode(["", "w0"])["input_ids"] == [[tokenizer.pad_token_id], [4]]
    sizes = runner.run(["", " "], lambda output, inputs: [len(row) for row in output.last_hidden_state])
    assert sizes == [1, 1]
    assert runner.run([], lambda output, inputs: []) == []
