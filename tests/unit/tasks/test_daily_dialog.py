from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from rl4lms.errors import DataError
from rl4lms.tasks import build
from rl4lms.tasks.daily_dialog import real
from rl4lms.tasks.dataset import SPLITS, Example
from tests.unit.tasks.full import check_defaults, check_splits, prompts, skip_without, train_one_iteration


@pytest.fixture(scope="module")
def folder(test_data: Path) -> Path:
    skip_without(test_data / "dailydialog")
    return test_data / "dailydialog"


def small(folder: Path) -> Path:
    """Zips as published: `train` has a dialogue of four turns, one of three, and the dialogue of validation."""
    talks = {
        "train": ["a b|c|d|e", "f|g|h", "k|l|m"],
        "validation": ["k|l|m"],
        "test": ["p|q|r"],
    }
    for split, lines in talks.items():
        turns = [line.split("|") for line in lines]
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
            text = "".join(" __eou__ ".join(line) + " __eou__\n" for line in turns)
            archive.writestr(f"{split}/dialogues_{split}.txt", text)
            archive.writestr(
                f"{split}/dialogues_act_{split}.txt", "".join("1 2 3 4"[: 2 * len(t)] + " \n" for t in turns)
            )
            archive.writestr(
                f"{split}/dialogues_emotion_{split}.txt", "".join("0 4 6 0"[: 2 * len(t)] + "\n" for t in turns)
            )
    return folder


def unpacked(folder: Path) -> Path:
    for split in SPLITS:
        with zipfile.ZipFile(folder / f"{split}.zip") as archive:
            archive.extractall(folder)
        (folder / f"{split}.zip").unlink()
    return folder


def test_published_counts_of_the_held_out_splits(folder):
    assert [sum(1 for _ in real.dialogues(str(folder), split)) for split in ("validation", "test")] == [1_000, 1_000]


@pytest.mark.slow
def test_published_counts_and_splits(folder):
    found = list(real.dialogues(str(folder), "train"))
    assert len(found) == 11_118
    assert sum(not dialogue.intents for dialogue in found) == 1
    task = build("daily_dialog", edition="full", data_dir=str(folder))
    check_splits(task, (32_626, 3_337, 3_107))
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not prompts(task, first) & prompts(task, second)
    assert all(sample.prompt.count("<EOU>") == 5 for sample in task.samples("test"))


def test_turns_keep_separators_and_labels_are_of_the_next_turn(tmp_path):
    task = build("daily_dialog", edition="full", data_dir=str(small(tmp_path)), context_size=2)
    train = task.samples("train")
    assert [(sample.prompt, sample.references) for sample in train] == [
        ("a b <EOU> c <EOU>", ("d",)),
        ("c <EOU> d <EOU>", ("e",)),
        ("f <EOU> g <EOU>", ("h",)),  # the third dialogue is evaluated on
    ]
    assert train[1].meta == {"intent": 3, "intent_name": "commissive", "emotion": 0, "emotion_name": "none"}
    assert train[0].meta["emotion_name"] == "surprise"
    assert (
        build("daily_dialog", edition="full", data_dir=str(unpacked(tmp_path)), context_size=2).samples("train")
        == train
    )


def test_a_chat_ends_with_the_user(tmp_path):
    task = build("daily_dialog", edition="full", data_dir=str(small(tmp_path)), context_size=3, form="chat")
    assert [(message["role"], message["content"]) for message in task.samples("train")[0].messages] == [
        ("user", "a b"),
        ("assistant", "c"),
        ("user", "d"),
    ]
    assert set(task.defaults["prompt"]) == {"max_tokens", "truncation_side"}


def test_equal_prompts_are_merged(tmp_path):
    task = build("daily_dialog", edition="full", data_dir=str(small(tmp_path)), context_size=1)
    rows = list(task.examples("train"))
    assert isinstance(rows[0], Example)
    assert [row.prompt for row in rows if row.document.startswith("a b")] == ["a b <EOU>", "c <EOU>", "d <EOU>"]


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("_act", "1 2 3\n1 2 3\n1 2 3\n", r"dialogues_train\.txt:1: 4 turns, 3 intents and 4 emotions"),
        ("_act", "1 2 3 4\n1 2 9\n1 2 3\n", r"dialogues_train\.txt:2: the label 9 is none of 1 to 4"),
        ("_emotion", "0 0 0 0\n0 0 x\n0 0 0\n", r"dialogues_train\.txt:2: the labels .* are no numbers: '0 0 x'"),
        ("_emotion", "0 0 0 0\n", r"dialogues_emotion_train\.txt:2: the file ends before this line"),
        ("", "a __eou__ __eou__ b __eou__ c __eou__\n", r"dialogues_train\.txt:1: a dialogue is turns with text"),
    ],
)
def test_damaged_files(tmp_path, kind, content, message):
    unpacked(small(tmp_path))
    (tmp_path / "train" / f"dialogues{kind}_train.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        build("daily_dialog", edition="full", data_dir=str(tmp_path)).samples("train")


@pytest.mark.slow
def test_presets_are_recipes():
    check_defaults("daily_dialog", ("text", "chat"))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "form"), [("gpt2", "text"), ("t5", "text"), ("llama", "chat")])
def test_a_tiny_model_is_trained(tmp_path, folder, test_data, family, form):
    numbers = train_one_iteration(
        tmp_path, test_data, family, name="daily_dialog", edition="full", data_dir=str(folder), form=form
    )
    assert {"eval/meteor_exact_stem", "eval/reference_perplexity"} <= numbers.keys()
