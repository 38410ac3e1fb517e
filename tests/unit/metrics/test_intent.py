from __future__ import annotations

import pytest
import torch
from transformers import BertForSequenceClassification, BertModel

from rl4lms.errors import DataError, MissingPartError, ModelError
from rl4lms.metrics import build
from tests.unit.metrics.encoders import ODD, check_rows_do_not_see_each_other, saved_bert

LABELS = {0: "inform", 1: "question", 2: "directive", 3: "commissive"}
# "w29" ends a turn: the tokenizer of these tests knows words only
PROMPTS = ["w0 w1 w29 w2 w3 w29", "w4 w5", "w6 w29", "w29"]
COMPLETIONS = ["w7 w8", "w9", "", "w10 w11 w12"]
READ = [" w2 w3 w29w7 w8", "w4 w5w29w9", "w6 w29", "w29w10 w11 w12"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    labels = {"id2label": LABELS, "label2id": {name: index for index, name in LABELS.items()}}
    return saved_bert(tmp_path_factory.mktemp("intent"), BertForSequenceClassification, seed=3, **labels)


def intent(folder, **options):
    return build({"name": "intent_accuracy", "model": folder, "turn_end": "w29", "device": "cpu", **options})


def likeliest(bert, texts):
    _, model, tokenizer = bert
    return [model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits[0].argmax().item() for text in texts]


def test_one_where_the_likeliest_label_is_the_wanted_one(bert):
    found = likeliest(bert, READ)
    metric = intent(bert[0])
    batch = {"prompts": PROMPTS, "completions": COMPLETIONS}
    assert metric(**batch, intent=found) == {"intent_accuracy": [1.0] * 4}
    assert metric(**batch, intent=[LABELS[index] for index in found]) == {"intent_accuracy": [1.0] * 4}
    other = [(index + 1) % 4 for index in found]
    assert metric(**batch, intent=[found[0], other[1], LABELS[other[2]], found[3]])["intent_accuracy"] == [
        1.0,
        0.0,
        0.0,
        1.0,
    ]
    assert intent(bert[0], column="act")(**batch, act=other)["intent_accuracy"] == [0.0] * 4


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("Hello there . <EOU>How are you ? <EOU>", "How are you ? <EOU>Fine <EOU>"),
        ("How are you ? <EOU>", "How are you ? <EOU>Fine <EOU>"),
        ("How are you ?", "How are you ?<EOU>Fine <EOU>"),
        ("Hello<EOU>Oh.<EOU> <EOU>", "Oh.<EOU>Fine <EOU>"),
        ("", "<EOU>Fine <EOU>"),
    ],
)
def test_the_text_is_that_of_the_classifiers_training(bert, monkeypatch, prompt, read):
    """The form of the original's training data: the last utterance, as it stands between two marks, the mark, the
    answer.
    """
    metric = intent(bert[0], turn_end="<EOU>")
    texts = []
    monkeypatch.setattr(metric._runner, "run", lambda batch, read: texts.extend(batch) or [0])
    metric(prompts=[prompt], completions=["Fine <EOU>"], intent=[0])
    assert texts == [read]


def test_the_answer_stays_where_the_text_is_too_long(bert):
    # the model has 32 positions, [CLS] and [SEP] take two: the last thirty words are read
    answer = " ".join(f"w{number}" for number in range(10, 20))
    (expected,) = likeliest(bert, ["w1 " * 19 + "w29 " + answer])
    values = intent(bert[0])(prompts=["w1 " * 60 + "w29"], completions=[" " + answer], intent=[expected])
    assert values["intent_accuracy"] == [1.0]


def test_rows_do_not_see_each_other(bert):
    metrics = [intent(bert[0], batch_size=size) for size in (64, 2)]
    wanted = [0, 1, 2, 3, 0, 1, 2, 3]
    check_rows_do_not_see_each_other(metrics, ODD, [("w1 w29",)] * len(ODD), intent=wanted[: len(ODD)])


def test_wanted_labels_that_are_missing_or_wrong(bert):
    metric = intent(bert[0])
    batch = {"prompts": ["w1"], "completions": ["w2"]}
    with pytest.raises(DataError, match="needs the data column 'intent' with the wanted labels; there are: act"):
        metric(**batch, act=[1])
    with pytest.raises(DataError, match="intent of row 1 is None; expected the name or the index of a label"):
        metric(**batch, intent=[None])
    with pytest.raises(DataError, match=r"row 1: .* has no label 4"):
        metric(**batch, intent=[4])
    with pytest.raises(DataError, match=r"row 1: .* did you mean 'question'"):
        metric(**batch, intent=["questoin"])


def test_models_that_are_no_classifiers(tmp_path):
    with pytest.raises(MissingPartError, match="the intent classifier 'nobody/has-this', which intent_accuracy needs"):
        intent("nobody/has-this")
    saved_bert(tmp_path, BertModel)
    with pytest.raises(ModelError, match=r"its weights lack classifier\.bias.*trained as a sequence classifier"):
        intent(str(tmp_path))
