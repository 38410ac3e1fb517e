from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest

from rl4lms.errors import DataError
from rl4lms.tasks import build
from rl4lms.tasks.commongen import real
from tests.unit.tasks.full import check_defaults, check_splits, skip_without, train_one_iteration


@pytest.fixture(scope="module")
def folder(test_data: Path) -> Path:
    skip_without(test_data / "commongen")
    return test_data / "commongen"


def small(folder: Path) -> Path:
    """A folder in the published formats: train in lines, dev and test in JSONL."""
    (folder / "commongen.train.src_alpha.txt").write_text("dog run\nrun dog\ncat sit\nsun shine")
    (folder / "commongen.train.tgt.txt").write_text("A dog runs.\nThe dog ran.\nA cat sits.\nThe sun shines.")
    dev = [{"concept_set": "sit_V#cat_N", "scene": ["The cat sat."]}]
    test = [{"concept_set": "fish_N#swim_V", "scene": ["A fish swims.", "A fish swims.", "The fish swam."]}]
    for name, rows in (("dev", dev), ("test", test)):
        (folder / f"commongen.{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_published_counts_of_the_held_out_splits(folder):
    for split, count in (("validation", 4_018), ("test", 6_042)):
        assert sum(1 for _ in real.pairs(str(folder), split)) == count


@pytest.mark.slow
def test_published_counts_and_splits(folder):
    for split, sentences, sets in (
        ("train", 67_389, 32_651),
        ("validation", 4_018, 993),
        ("test", 6_042, 1_497),
    ):
        concepts = [concepts for _, concepts, _ in real.pairs(str(folder), split)]
        assert (len(concepts), len(list(groupby(concepts)))) == (sentences, sets)
    task = build("commongen", edition="full", data_dir=str(folder))
    check_splits(task, (32_470, 991, 1_497))
    sets = {
        split: {tuple(sorted(sample.meta["concepts"])) for sample in task.samples(split)}
        for split in ("train", "validation", "test")
    }
    assert not sets["train"] & (sets["validation"] | sets["test"])
    assert not sets["validation"] & sets["test"]
    assert all(len(sets[split]) == len(task.samples(split)) for split in sets)  # a set is one prompt


def test_both_formats_say_the_same(folder, tmp_path):
    for name in ("commongen.dev.jsonl", "train_src.txt.gz", "train_trg.txt.gz", "commongen.test.jsonl"):
        (tmp_path / name).symlink_to(folder / name)
    lines = {(frozenset(c), text) for _, c, text in real.pairs(str(folder), "validation")}
    rows = {(frozenset(c), text) for _, c, text in real.pairs(str(tmp_path), "validation")}
    assert lines == rows


def test_sentences_of_a_set_are_merged_whatever_the_order(tmp_path):
    task = build("commongen", edition="full", data_dir=str(small(tmp_path)))
    train = task.samples("train")
    assert [(sample.prompt, sample.references) for sample in train] == [
        ("dog run.", ("A dog runs.", "The dog ran.")),
        ("sun shine.", ("The sun shines.",)),  # the cat is evaluated on
    ]
    assert task.samples("test")[0].references == ("A fish swims.", "The fish swam.")
    assert [sample.references for sample in task.supervised("train")] == [
        ("A dog runs.",),
        ("The dog ran.",),
        ("The sun shines.",),
    ]


def test_forms(tmp_path):
    folder = str(small(tmp_path))
    prompts = {
        form: build("commongen", edition="full", data_dir=folder, form=form) for form in ("seq2seq", "causal", "chat")
    }
    assert {form: prompts[form].defaults["prompt"].get("suffix") for form in prompts} == {
        "seq2seq": "",
        "causal": "\n",
        "chat": None,
    }
    assert prompts["seq2seq"].defaults["prompt"]["prefix"] == "generate a sentence with: "
    assert prompts["causal"].samples("test")[0].messages == ()
    message = {"role": "user", "content": "generate a sentence with: fish swim."}
    assert prompts["chat"].samples("test")[0].messages == (message,)


def test_hidden_references_are_refused(tmp_path):
    small(tmp_path)
    (tmp_path / "commongen.test.jsonl").unlink()
    (tmp_path / "commongen.test_noref.jsonl").write_text('{"concept_set": "fish_N#swim_V"}\n')
    task = build("commongen", edition="full", data_dir=str(tmp_path))
    assert len(task.samples("validation")) == 1
    with pytest.raises(
        DataError, match=r"references of the test split are hidden[^;]*; .*evaluation\.split: validation"
    ):
        task.samples("test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("commongen.dev.jsonl", '{"concept_set": "a_N", "scene": ["A."]}\n{"concept', r"dev\.jsonl:2: not JSON"),
        ("commongen.dev.jsonl", '{"concept_set": "a_N", "scene": []}', r"dev\.jsonl:1: 'scene' must be a list"),
        ("commongen.dev.jsonl", '{"concept_set": "a_N", "scene": [""]}', r"dev\.jsonl:1: 'scene' must be a text"),
        ("commongen.train.tgt.txt", "One.\nTwo.", r"tgt\.txt:3: the file ends before this line"),
        ("commongen.train.tgt.txt", "One.\n\n3\n4", r"src_alpha\.txt:2: needs concepts, and a sentence"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    small(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        build("commongen", edition="full", data_dir=str(tmp_path)).samples("train")


def test_presets_are_recipes():
    check_defaults("commongen", ("seq2seq", "causal", "chat"))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "form"), [("t5", "seq2seq"), ("gpt2", "causal"), ("llama", "chat")])
def test_a_tiny_model_is_trained(tmp_path, folder, test_data, family, form):
    numbers = train_one_iteration(
        tmp_path, test_data, family, name="commongen", edition="full", data_dir=str(folder), form=form
    )
    assert "eval/meteor_exact_stem" in numbers
    assert "eval/concept_coverage" in numbers
