from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, GPT2Config, GPT2ForSequenceClassification

from rl4lms.errors import ConfigError, DataError, ModelError
from rl4lms.metrics import build
from rl4lms.metrics.classifier import Classifier
from rl4lms.rewards import build as build_reward
from rl4lms.rewards import score
from tests.unit.metrics.words import word_tokenizer

WORDS = [f"w{number}" for number in range(30)]
PROMPTS = ["w0 w1", "w2", "w3 w4 w5 w6"]
COMPLETIONS = ["w7 w8 w9 w10 w11", "w12", ""]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 24,
    }
    labels = {0: "negative", 1: "neutral", 2: "positive"}
    config = BertConfig(
        vocab_size=len(WORDS) + 3,
        **shape,
        initializer_range=0.7,
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    tokenizer = word_tokenizer(WORDS)
    tokenizer.save_pretrained(folder)
    return str(folder), model, tokenizer


def one_by_one(model, tokenizer, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits for text in texts])


def test_probability_of_a_label_with_the_prompt(bert):
    folder, model, tokenizer = bert
    texts = ["w0 w1 w7 w8 w9 w10 w11", "w2 w12", "w3 w4 w5 w6"]
    expected = one_by_one(model, tokenizer, texts).softmax(-1)
    for label, column in (("positive", 2), ("Negative", 0), (1, 1)):
        for batch_size in (1, 2, 64):
            scorer = Classifier(model=folder, label=label, batch_size=batch_size, device="cpu")
            scores = scorer(PROMPTS, COMPLETIONS, texts)["classifier"]
            assert scores == pytest.approx(expected[:, column].tolist(), abs=1e-5)


def test_where_only_strings_are_known(bert):
    folder, model, tokenizer = bert
    expected = one_by_one(model, tokenizer, ["w0 w1 w7 w8 w9 w10 w11", "w2 w12", "w3 w4 w5 w6"]).softmax(-1)[:, 2]
    scorer = Classifier(model=folder, label="positive", device="cpu")
    with pytest.raises(DataError, match=r"row 1 .* 'w0 w1' and 'w7 w8 w9 w10 w11'; give .*`text` .* option `join`"):
        scorer(PROMPTS, COMPLETIONS)
    spaced = [prompt + " " for prompt in PROMPTS]  # nothing is left to say
    assert scorer(spaced, COMPLETIONS)["classifier"] == pytest.approx(expected.tolist(), abs=1e-5)
    joining = Classifier(model=folder, label="positive", device="cpu", join=" ")
    assert joining(PROMPTS, COMPLETIONS)["classifier"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert joining.signature != scorer.signature


def test_logit_of_the_completion_alone(bert):
    folder, model, tokenizer = bert
    expected = one_by_one(model, tokenizer, ["w7 w8 w9 w10 w11", "w12"])[:, 2]
    scorer = Classifier(model=folder, label="positive", output="logit", include_prompt=False, device="cpu")
    assert scorer(PROMPTS[:2], COMPLETIONS[:2])["classifier"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_whether_the_label_is_the_most_likely_one(bert):
    folder, model, tokenizer = bert
    winners = one_by_one(model, tokenizer, ["w7 w8 w9 w10 w11", "w12", "w1 w1 w2"]).argmax(-1)
    for label in range(3):
        scorer = Classifier(model=folder, label=label, output="match", include_prompt=False, device="cpu")
        assert (
            scorer(PROMPTS, ["w7 w8 w9 w10 w11", "w12", "w1 w1 w2"])["classifier"]
            == (winners == label).float().tolist()
        )


@pytest.mark.parametrize(("side", "kept"), [("left", " ".join(WORDS[-8:])), ("right", " ".join(WORDS[:8]))])
def test_which_end_of_a_long_text_is_cut(bert, side, kept):
    folder, model, tokenizer = bert
    expected = one_by_one(model, tokenizer, [kept]).softmax(-1)[:, 2]
    scorer = Classifier(model=folder, label="positive", max_tokens=8, truncation_side=side, device="cpu", join=" ")
    assert scorer([" ".join(WORDS[:10])], [" ".join(WORDS[10:])])["classifier"] == pytest.approx(
        expected.tolist(), abs=1e-5
    )


def test_texts_longer_than_the_position_embeddings(bert):
    folder, model, tokenizer = bert
    expected = one_by_one(model, tokenizer, [" ".join(WORDS[-24:])]).softmax(-1)[:, 2]
    scorer = Classifier(model=folder, label="positive", device="cpu")
    assert scorer([""], [" ".join(WORDS)])["classifier"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_metric_and_reward_agree(bert):
    folder = bert[0]
    metric = build({"name": "classifier", "model": folder, "label": "positive", "key": "sentiment", "device": "cpu"})
    texts = ["w0 w1w7", "w2 w12", "w3"]
    values = metric(prompts=PROMPTS, completions=COMPLETIONS, texts=texts)
    reward = build_reward({"name": "classifier", "model": folder, "label": "positive", "device": "cpu"})
    output = score(
        reward,
        prompts=PROMPTS,
        completions=COMPLETIONS,
        texts=texts,
        completion_ids=[[1]] * 3,
        references=[()] * 3,
        columns={},
    )
    assert values == {"sentiment": output.scores}
    assert not output.dense


def test_a_decoder_with_one_output_and_no_pad_token(tmp_path):
    torch.manual_seed(0)
    tokenizer = word_tokenizer(WORDS)
    tokenizer.pad_token = None
    config = GPT2Config(
        vocab_size=len(WORDS) + 3,
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=32,
        num_labels=1,
        initializer_range=0.7,
        eos_token_id=1,
    )
    model = GPT2ForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    logits = one_by_one(model, tokenizer, ["w2 w12", "w0 w1 w7 w8 w9 w10 w11"])[:, 0]
    for output, expected in (("logit", logits), ("probability", logits.sigmoid())):
        scorer = Classifier(model=str(tmp_path), output=output, device="cpu", join=" ")
        assert scorer([PROMPTS[1], PROMPTS[0]], [COMPLETIONS[1], COMPLETIONS[0]])["classifier"] == pytest.approx(
            expected.tolist(), abs=1e-5
        )


@pytest.mark.parametrize("pooler", [True, False])
def test_a_folder_without_a_classification_head(bert, tmp_path, pooler):
    _, model, tokenizer = bert
    BertModel(model.config, add_pooling_layer=pooler).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has no classification head.*classifier\.bias, classifier\.weight"):
        Classifier(model=str(tmp_path), label="positive", device="cpu")


def test_wrong_labels_and_models(bert, tmp_path):
    folder = bert[0]
    with pytest.raises(ConfigError, match="did you mean 'positive'"):
        Classifier(model=folder, label="positiv")
    with pytest.raises(ConfigError, match="no label 3; it has 3"):
        Classifier(model=folder, label=3)
    with pytest.raises(ConfigError, match="negative, neutral, positive"):
        Classifier(model=folder)
    with pytest.raises(ModelError, match="cannot be loaded"):
        Classifier(model=str(tmp_path / "absent"), label=0)


def test_a_reward_model_is_no_classifier(tmp_path):
    """The sigmoid of a rating, or of what only compares, is no probability."""
    config = GPT2Config(vocab_size=33, n_embd=16, n_layer=1, n_head=2, num_labels=1, pad_token_id=0)
    config.problem_type = "regression"
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    word_tokenizer(WORDS).save_pretrained(tmp_path)
    for output in ("probability", "match"):
        with pytest.raises(ConfigError, match=r"is trained to rate or to compare.*name: preference.*output: logit"):
            build({"name": "classifier", "model": str(tmp_path), "output": output})
    build({"name": "classifier", "model": str(tmp_path), "output": "logit"})
