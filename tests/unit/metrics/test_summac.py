from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertForSequenceClassification

from rl4lms.errors import ConfigError, DataError, MissingPartError, ModelError
from rl4lms.metrics import build, summac
from rl4lms.rewards import build as build_reward
from tests.unit.metrics.encoders import (
    check_any_text_has_a_finite_value,
    check_rows_do_not_see_each_other,
    saved_bert,
    values_of,
)

LABELS = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
NAMED = {"id2label": LABELS, "label2id": {name: index for index, name in LABELS.items()}}
SOURCES = ["w0 w1 w2 w3 w4. W5 w6 w7 w8\nw9 w10 w11 w12", "w13 w14 w15 w16 w17 w18", "short"]
TEXTS = ["w1 w2 w3 w4 w5. W20 w21 w22 w23", "w13 w14 w15 w19", "w1 w2 w3 w4 w5 w6"]


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    return saved_bert(tmp_path_factory.mktemp("nli"), BertForSequenceClassification, seed=1, **NAMED)


def summac_zs(folder, **options):
    return build({"name": "summac_zs", "model": folder, "device": "cpu", **options})


def layers(bins, seed=0):
    torch.manual_seed(seed)
    shapes = {"mlp.weight": (1, bins), "mlp.bias": (1,), "layer_final.weight": (2, 3), "layer_final.bias": (2,)}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.fixture
def overlap(monkeypatch):
    """In place of a model: entailed is the share e of the hypothesis' words that the premise has, contradicted half of
    the rest.
    """
    read = []

    def run(pairs, reader):
        read.extend(pairs)
        shares = []
        for premise, hypothesis in pairs:
            words = hypothesis.split()
            share = sum(word in premise.split() for word in words) / len(words)
            shares.append([(1 - share) / 2, (1 - share) / 2, share])
        return reader(SimpleNamespace(logits=torch.tensor(shares).log()), {})

    runner = SimpleNamespace(run=run, config=SimpleNamespace(id2label=LABELS))
    monkeypatch.setattr(summac, "load_runner", lambda *args, **options: runner)
    return read


# : Two parts of the source and two of the text, each a line and a sentence. Entailed: 3/4 and 1/4 of the first, 0 and
# 1/2 of the second.
SOURCE = "aaa bbb ccc zzz\nddd eee fff ggg"
TEXT = "aaa bbb ccc ddd\nyyy xxx fff ggg"


def one(metric, text=TEXT, source=SOURCE, **columns):
    (value,) = metric(prompts=[source], completions=[text], references=[()], **columns)[metric.key]
    return value


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # contradiction is half of what is not entailed: 1/8 and 3/8 of the first, 1/2 and 1/4 of the second
        ({}, ((3 / 4 - 3 / 8) + (1 / 2 - 1 / 2)) / 2),
        ({"granularity": "sentence"}, ((3 / 4 - 3 / 8) + (1 / 2 - 1 / 2)) / 2),
        ({"op1": "mean"}, ((1 / 2 - 1 / 4) + (1 / 4 - 3 / 8)) / 2),
        ({"op1": "min"}, ((1 / 4 - 1 / 8) + (0 - 1 / 4)) / 2),
        ({"op2": "min"}, 0.0),
        ({"op2": "max"}, 3 / 8),
        ({"use_contradiction": False}, (3 / 4 + 1 / 2) / 2),
        ({"use_entailment": False}, 1 - (3 / 8 + 1 / 2) / 2),
        # the whole text in the whole source: aaa bbb ccc ddd fff ggg of eight words
        ({"granularity": "document"}, 6 / 8 - 1 / 8),
        # lines in the whole source: all of the first, half of the second
        ({"granularity": "document-sentence"}, ((1 - 0) + (1 / 2 - 1 / 4)) / 2),
    ],
)
def test_the_score_of_a_table_of_probabilities(overlap, options, expected):
    assert one(summac_zs("any", **options)) == pytest.approx(expected, abs=1e-6)


def test_blank_lines_make_paragraphs(overlap):
    source = "aaa bbb ccc\nzzz ddd\n\neee fff ggg hhh"
    # one line of text, all of it in the first block
    assert one(summac_zs("any"), "aaa ccc ddd zzz", source) == pytest.approx(1 - 1 / 2)
    # sentences end at line breaks: half of it is in either line, and none of it in the third
    assert one(summac_zs("any", granularity="sentence"), "aaa ccc ddd zzz", source) == pytest.approx(1 / 2 - 1 / 2)


@pytest.mark.parametrize(
    "options", [{}, {"use_contradiction": False}, {"use_entailment": False}, {"granularity": "document"}]
)
def test_nothing_to_compare_is_0(overlap, options):
    for text, source in (("", SOURCE), (" \n", SOURCE), (TEXT, "")):
        assert one(summac_zs("any", **options), text, source) == 0
    if "granularity" not in options:  # parts of up to ten characters do not count
        assert one(summac_zs("any", **options), "aaa bbb cc", SOURCE) == 0
        assert one(summac_zs("any", **options), "aaa bbb cc\n" + TEXT) == one(summac_zs("any", **options))


def test_a_hundred_parts_of_the_source_are_read(overlap):
    filler = "\n".join(f"zzz zzz zzz {number}" for number in range(99))
    text = "aaa bbb ccc ddd"
    assert one(summac_zs("any", use_contradiction=False), text, f"{filler}\n{text}") == 1
    assert one(summac_zs("any", use_contradiction=False), text, f"{filler}\nzzz zzz zzz zzz\n{text}") == 0


def test_where_the_source_comes_from(overlap):
    metric = summac_zs("any", source="references")
    (value,) = metric(prompts=[TEXT], completions=[TEXT], references=[("zzz zzz zzz zzz", SOURCE)])["summac_zs"]
    assert value == pytest.approx(3 / 16)  # the best of the two
    with pytest.raises(DataError, match="row 1 has none"):
        metric(prompts=[SOURCE], completions=[TEXT], references=[()])
    metric = summac_zs("any", source="article")
    assert one(metric, source="zzz", article=[SOURCE]) == pytest.approx(3 / 16)
    with pytest.raises(
        DataError, match="no data column 'article' to take sources from; there are: prompts, references, text"
    ):
        metric(prompts=[""], completions=[TEXT], references=[()], text=[SOURCE])
    with pytest.raises(DataError, match="article of row 1 is list; expected a text"):
        one(metric, article=[[SOURCE]])


def test_pairs_are_asked_once(overlap):
    metric = summac_zs("any")
    batch = {"prompts": [SOURCE, SOURCE], "completions": [TEXT, TEXT], "references": [(), ()]}
    first = metric(**batch)
    assert len(overlap) == 4
    assert metric(**batch) == first
    assert len(overlap) == 4


def test_under_a_real_model_one_pair_at_a_time(nli):
    folder, model, tokenizer = nli
    parts = [[["w0 w1 w2 w3 w4.", "W5 w6 w7 w8", "w9 w10 w11 w12"], ["w1 w2 w3 w4 w5.", "W20 w21 w22 w23"]]]
    parts += [[["w13 w14 w15 w16 w17 w18"], ["w13 w14 w15 w19"]]]
    expected = []
    for source, text in parts:
        scores = []
        for sentence in text:
            probabilities = []
            for part in source:
                inputs = tokenizer(part, sentence, return_tensors="pt")
                probabilities.append(model(**inputs).logits[0].softmax(-1).tolist())
            scores.append(max(p[2] for p in probabilities) - max(p[0] for p in probabilities))
        expected.append(sum(scores) / len(scores))
    expected.append(0.0)
    metrics = [summac_zs(folder, granularity="sentence", batch_size=size) for size in (64, 1)]
    for metric in metrics:
        assert metric(prompts=SOURCES, completions=TEXTS, references=[()] * 3)["summac_zs"] == pytest.approx(
            expected, abs=1e-5
        )
    reward = build_reward({"name": "summac_zs", "model": folder, "granularity": "sentence", "device": "cpu"})
    assert reward(prompts=SOURCES, completions=TEXTS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("bins", "where"), [(50, "file"), (7, "folder"), (23, "file")])
def test_conv_reads_histograms_of_entailment(overlap, tmp_path, bins, where):
    tensors = layers(bins)
    save_file(tensors, tmp_path / "weights.safetensors")
    path = tmp_path / "weights.safetensors" if where == "file" else tmp_path
    metric = build({"name": "summac_conv", "model": "any", "weights": str(path), "device": "cpu"})
    # the bins of 3/4 and 1/4 for the first sentence, 0 and 1/2 for the second
    found = {50: ((37, 12), (0, 25)), 7: ((5, 1), (0, 3)), 23: ((7, 6), (0, 7))}[bins]
    weight, bias = tensors["mlp.weight"][0].tolist(), tensors["mlp.bias"].item()
    mean = sum(weight[a] + weight[b] + bias for a, b in found) / 2
    rows = list(zip(tensors["layer_final.weight"].tolist(), tensors["layer_final.bias"].tolist(), strict=True))

    def consistent(feature):
        logits = [sum(row) * feature + own for row, own in rows]
        return math.exp(logits[1]) / (math.exp(logits[0]) + math.exp(logits[1]))

    expected = consistent(mean)
    assert one(metric) == pytest.approx(expected, abs=1e-5)
    assert f"bins:{bins}" in metric.signature
    # nothing to compare: one pair that is not entailed at all
    for text, source in (("", SOURCE), (TEXT, "")):
        assert one(metric, text, source) == pytest.approx(consistent(weight[0] + bias), abs=1e-5)
    # ten sentences are read
    assert one(metric, "\n".join([TEXT] * 5 + ["zzz zzz zzz zzz"] * 3)) == pytest.approx(expected, abs=1e-5)


def test_layers_that_cannot_be_used(overlap, tmp_path):
    def conv(path, **options):
        build({"name": "summac_conv", "model": "any", "weights": str(path), **options})

    with pytest.raises(
        MissingPartError, match=r"that summac_conv needs is missing; convert the authors' summac_conv_vitc"
    ):
        conv(tmp_path / "absent.safetensors")
    with pytest.raises(MissingPartError, match="is missing"):
        conv(tmp_path)
    torch.save(layers(5), tmp_path / "weights.bin")
    with pytest.raises(ModelError, match=r"weights\.bin' is no safetensors file; convert what torch saved once"):
        conv(tmp_path / "weights.bin", allow_pickle=True)
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="layers cannot be read from"):
        conv(tmp_path / "broken.safetensors")
    save_file({"mlp.weight": torch.zeros(1, 5)}, tmp_path / "half.safetensors")
    with pytest.raises(ModelError, match=r"KeyError: 'mlp\.bias'"):
        conv(tmp_path / "half.safetensors")
    save_file(layers(5) | {"mlp.weight": torch.zeros(2, 5)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"mlp\.weight of .* has the shape \(2, 5\)"):
        conv(tmp_path / "other.safetensors")


def test_rows_do_not_see_each_other(nli, tmp_path):
    save_file(layers(50), tmp_path / "weights.safetensors")
    for name, options in (("summac_zs", {"granularity": "sentence"}), ("summac_conv", {"weights": str(tmp_path)})):
        metrics = [
            build({"name": name, "model": nli[0], "device": "cpu", "batch_size": size, **options}) for size in (64, 2)
        ]
        check_rows_do_not_see_each_other(metrics, TEXTS, [(source,) for source in SOURCES])


def test_another_source_never_lowers_the_score(nli):
    metric = summac_zs(nli[0], source="references")
    before = values_of(metric, TEXTS, [(source,) for source in SOURCES])["summac_zs"]
    after = values_of(metric, TEXTS, [(source, "w24 w25 w26 w27") for source in SOURCES])["summac_zs"]
    assert all(more >= few - 1e-5 for few, more in zip(before, after, strict=True))


def test_any_text_has_a_finite_value(nli, tmp_path):
    save_file(layers(50), tmp_path / "weights.safetensors")
    for granularity in ("sentence", "paragraph", "document"):
        check_any_text_has_a_finite_value(summac_zs(nli[0], granularity=granularity))
    check_any_text_has_a_finite_value(
        build({"name": "summac_conv", "model": nli[0], "weights": str(tmp_path), "device": "cpu"})
    )


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (
            ["LABEL_0", "LABEL_1", "LABEL_2"],
            "exactly one must contain 'entail', and they are: LABEL_0, LABEL_1, LABEL_2",
        ),
        (
            ["entailment", "not_entailment"],
            "exactly one must contain 'contradict', and they are: entailment, not_entailment",
        ),
        (["entailment", "entailed", "contradiction"], "exactly one must contain 'entail'"),
    ],
)
def test_labels(tmp_path, labels, problem):
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}
    saved_bert(tmp_path, BertForSequenceClassification, **names)
    with pytest.raises(ConfigError, match=problem):
        summac_zs(str(tmp_path))
    if labels[1] == "not_entailment":  # enough where contradiction is not looked at
        assert summac_zs(str(tmp_path), use_contradiction=False)._labels == [0]


def test_options_and_models_that_cannot_be_used():
    with pytest.raises(ConfigError, match="set use_entailment, use_contradiction or both"):
        summac_zs("any", use_entailment=False, use_contradiction=False)
    with pytest.raises(
        MissingPartError, match="the NLI classifier 'nobody/has-this', which summac_zs needs, is missing"
    ):
        summac_zs("nobody/has-this")
