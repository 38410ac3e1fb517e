from __future__ import annotations

import json
import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertModel, RobertaConfig, RobertaModel, RobertaTokenizer, T5Config, T5EncoderModel, T5Model

from rl4lms.errors import ConfigError, DataError, MissingPartError
from rl4lms.metrics import build
from rl4lms.metrics.bert_score import default_layer
from rl4lms.rewards import build as build_reward
from tests.unit.metrics.encoders import (
    bert_tokenizer,
    check_any_text_has_a_finite_value,
    check_rows_do_not_see_each_other,
    saved_bert,
    values_of,
)

COMPLETIONS = ["w0 w1 w2", "w3 w4 w5 w6 w7 w8", "w9", "w1 w1 w20", "w4 w5"]
REFERENCES = [("w0 w2 w1",), ("w3 w8", "w4 w5 w6"), ("w10 w11 w12", "w9 w13", "w14"), ("w21",), ("w4 w5",)]
KEYS = ("bert_score", "bert_score_precision", "bert_score_recall")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return saved_bert(tmp_path_factory.mktemp("bert"), BertModel, num_hidden_layers=3)


def bert_score(folder, layer=2, **options):
    return build({"name": "bert_score", "model": folder, "layer": layer, "device": "cpu", **options})


def slow(model, tokenizer, layer, candidate, reference, weight=lambda token: 1.0):
    """One pair: states of the whole model, one text at a time, token by token."""
    sides = []
    for text in (candidate, reference):
        ids = tokenizer(text)["input_ids"]
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
        sides.append((ids, [state.tolist() for state in states]))

    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

    def mean(own, other):
        total = weights = 0.0
        for token, state in zip(*own, strict=True):
            w = 0.0 if token in (tokenizer.cls_token_id, tokenizer.sep_token_id) else weight(token)
            total += w * max(cosine(state, its) for its in other[1])
            weights += w
        return total / weights

    precision, recall = mean(sides[0], sides[1]), mean(sides[1], sides[0])
    return 2 * precision * recall / (precision + recall), precision, recall


def slow_values(*args, **options):
    """Of all rows: the best of each of the three over the references."""
    columns = []
    for text, texts in zip(COMPLETIONS, REFERENCES, strict=True):
        columns.append(
            [max(values) for values in zip(*(slow(*args, text, other, **options) for other in texts), strict=True)]
        )
    return {key: [column[i] for column in columns] for i, key in enumerate(KEYS)}


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_greedy_matching_of_the_states_of_a_layer(bert, layer):
    folder, model, tokenizer = bert
    values = values_of(bert_score(folder, layer), COMPLETIONS, REFERENCES)
    assert list(values) == list(KEYS)
    for key, expected in slow_values(model, tokenizer, layer).items():
        assert values[key] == pytest.approx(expected, abs=1e-5)


def test_weights_of_rare_tokens(bert):
    folder, model, tokenizer = bert
    metric = bert_score(folder, idf="train")
    assert metric.corpus == "train"
    with pytest.raises(ConfigError, match="fit"):
        values_of(metric, COMPLETIONS, REFERENCES)
    # W0 is in all three of them, w1, w4 and w5 in one each
    metric.fit([("w0 w1", "w0 w0 w4"), ("w0 w5",)], "three texts")
    assert "three texts" in metric.signature
    assert "documents:3" in metric.signature
    known = {"w0": 0.0, "w1": math.log(2), "w4": math.log(2), "w5": math.log(2)}
    by_token = {tokenizer.convert_tokens_to_ids(word): value for word, value in known.items()}
    expected = slow_values(model, tokenizer, 2, weight=lambda token: by_token.get(token, math.log(4)))
    values = values_of(metric, COMPLETIONS, REFERENCES)
    for key in KEYS:
        assert values[key] == pytest.approx(expected[key], abs=1e-5)
    # a text of w0 alone weighs nothing
    for text, texts in (("w0", ("w1",)), ("w1", ("w0",)), ("w0", ("w0",))):
        assert values_of(metric, [text], [texts])["bert_score"] == [0.0]


def test_without_tokens_there_is_nothing_to_match(bert):
    metric = bert_score(bert[0])
    for text, texts in (("", ("w1",)), ("w1", (" \n",)), ("", ("",)), ("w1 w2", ("", " "))):
        assert values_of(metric, [text], [texts]) == {key: [0.0] for key in KEYS}
    # but another reference counts
    assert values_of(metric, ["w1"], [("", "w1")])["bert_score"] == pytest.approx([1.0])


def test_rescaling_with_a_baseline(bert, tmp_path):
    folder = bert[0]
    plain = values_of(bert_score(folder), COMPLETIONS, REFERENCES)
    for separator in (",", "\t"):
        lines = [["LAYER", "P", "R", "F"], ["0", "0.9", "0.9", "0.9"], ["2", "0.5", "0.2", "-1"]]
        (tmp_path / "baseline.tsv").write_text("\n".join(separator.join(line) for line in lines) + "\n")
        metric = bert_score(folder, baseline=str(tmp_path / "baseline.tsv"))
        values = values_of(metric, COMPLETIONS, REFERENCES)
        assert values["bert_score_precision"] == pytest.approx(
            [2 * value - 1 for value in plain["bert_score_precision"]]
        )
        assert values["bert_score_recall"] == pytest.approx(
            [1.25 * value - 0.25 for value in plain["bert_score_recall"]]
        )
        assert values["bert_score"] == pytest.approx([(value + 1) / 2 for value in plain["bert_score"]])
        assert "baseline:0.5/0.2/-1" in metric.signature


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("P,R,F\n2,1,1,1\n", "does not begin with the line LAYER,P,R,F"),
        ("LAYER,P,R,F\n1,0,0,0\n", "no line for layer 2"),
        ("LAYER,P,R,F\n2,0,0\n", "three numbers below 1"),
        ("LAYER,P,R,F\n2,0,0,1\n", "three numbers below 1"),
        ("LAYER,P,R,F\n2,0,0,nan\n", "three numbers below 1"),
    ],
)
def test_a_baseline_that_cannot_be_used(bert, tmp_path, content, message):
    if content is not None:
        (tmp_path / "baseline").write_text(content)
    with pytest.raises(ConfigError, match=message):
        bert_score(bert[0], baseline=str(tmp_path / "baseline"))


def test_layers(bert):
    assert (default_layer("roberta-large"), default_layer("FacebookAI/roberta-large")) == (17, 17)
    assert default_layer("microsoft/deberta-xlarge-mnli") == 40
    with pytest.raises(ConfigError, match="say with `layer` which layer"):
        build({"name": "bert_score", "model": bert[0]})
    with pytest.raises(ConfigError, match="layers 0 to 3, and no layer 4"):
        bert_score(bert[0], layer=4)


def test_a_model_that_is_nowhere():
    with pytest.raises(
        MissingPartError,
        match=r"the encoder 'nobody/has-this', which bert_score needs, is missing; .* or leave the metric out",
    ):
        build({"name": "bert_score", "model": "nobody/has-this", "layer": 1})


def test_the_encoder_of_an_encoder_decoder(tmp_path):
    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    shape = {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_heads": 2,
        "num_layers": 2,
        "initializer_factor": 3.0,
        "pad_token_id": 0,
    }
    T5Model(T5Config(vocab_size=len(tokenizer), **shape)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = T5EncoderModel.from_pretrained(tmp_path).eval()
    expected = slow(encoder, tokenizer, -1, COMPLETIONS[0], REFERENCES[0][0])
    values = values_of(bert_score(str(tmp_path)), COMPLETIONS[:1], REFERENCES[:1])
    assert [values[key][0] for key in KEYS] == pytest.approx(expected, abs=1e-5)


def test_the_first_word_of_byte_level_tokenizers_is_like_the_others(tmp_path):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = ["a cat and a cat", "cat cat cat"]
    trained.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "<pad>", "</s>"], initial_alphabet=alphabet)
    )
    described = json.loads(trained.to_str())["model"]
    tokenizer = RobertaTokenizer(vocab=described["vocab"], merges=[tuple(pair) for pair in described["merges"]])
    assert tokenizer("cat")["input_ids"] != tokenizer(" cat")["input_ids"]
    torch.manual_seed(0)
    config = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.7,
    }
    model = RobertaModel(RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=40, **config)).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    values = values_of(bert_score(str(tmp_path), layer=1), ["cat"], [("  a cat\n",)])
    assert [values[key][0] for key in KEYS] == pytest.approx(slow(model, tokenizer, 1, " cat", " a cat"), abs=1e-5)


def test_rows_do_not_see_each_other(bert):
    check_rows_do_not_see_each_other(
        [bert_score(bert[0], batch_size=size) for size in (64, 2)], COMPLETIONS, REFERENCES
    )


def test_nothing_beats_the_reference_itself(bert):
    metric = bert_score(bert[0])
    for reference in COMPLETIONS:
        others = values_of(metric, [*COMPLETIONS, ""], [(reference,)] * 6)["bert_score"]
        (itself,) = values_of(metric, [reference], [(reference,)])["bert_score"]
        assert itself == pytest.approx(1)
        assert max(others) <= itself + 1e-6


def test_another_reference_never_lowers_the_score(bert):
    metric = bert_score(bert[0])
    before = values_of(metric, COMPLETIONS, REFERENCES)
    for another in ("w0", "w4 w6 w9", ""):
        after = values_of(metric, COMPLETIONS, [(*texts, another) for texts in REFERENCES])
        for key in KEYS:
            assert all(more >= few - 1e-6 for few, more in zip(before[key], after[key], strict=True))


def test_any_text_has_a_finite_value(bert):
    check_any_text_has_a_finite_value(bert_score(bert[0]))


def test_rows_need_references(bert):
    with pytest.raises(DataError, match="row 2 has none"):
        values_of(bert_score(bert[0]), ["w1", "w2"], [("w1",), ()])
    with pytest.raises(DataError, match="row 1 has none"):
        bert_score(bert[0], idf="train").fit([()], "train")


def test_references_are_encoded_once(bert, monkeypatch):
    metric = bert_score(bert[0])
    first = values_of(metric, COMPLETIONS, REFERENCES)
    read = []
    run = metric._runner.run
    monkeypatch.setattr(metric._runner, "run", lambda texts, *args: read.extend(texts) or run(texts, *args))
    assert values_of(metric, COMPLETIONS, REFERENCES) == {
        key: pytest.approx(values, abs=1e-5) for key, values in first.items()
    }
    assert sorted(read) == sorted(set(COMPLETIONS) - {"w4 w5"})  # this one is also a reference


def test_as_a_reward_it_is_f1(bert):
    reward = build_reward({"name": "bert_score", "model": bert[0], "layer": 2, "device": "cpu"})
    scores = reward(prompts=[""] * 5, completions=COMPLETIONS, references=REFERENCES)
    assert scores == pytest.approx(values_of(bert_score(bert[0]), COMPLETIONS, REFERENCES)["bert_score"])
