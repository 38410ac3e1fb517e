from __future__ import annotations

import csv
import importlib
import json
import zipfile
from pathlib import Path

import pytest

from rl4lms.errors import ConfigError, DataError, UnknownNameError
from rl4lms.plugins import registry
from rl4lms.tasks import build
from rl4lms.tasks.imdb.task import ImdbTask

SPLITS = ("train", "validation", "test")


def asset_names(value) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(asset_names(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(asset_names(item) for item in value))
    return {value.removeprefix("asset:")} if isinstance(value, str) and value.startswith("asset:") else set()


def test_mini_samples():
    task = build("imdb", train_size=50)
    samples = {split: task.samples(split) for split in SPLITS}
    assert [len(samples[split]) for split in SPLITS] == [50, 500, 500]
    assert len({sample.prompt + sample.references[0] for split in SPLITS for sample in samples[split]}) == 1050
    assert len({sample.id for sample in samples["train"]}) == 50
    first = samples["train"][0]
    assert not first.references[0].startswith(first.prompt)
    assert not first.references[0].startswith(" ")
    assert samples["train"] == ImdbTask(train_size=50).samples("train")
    assert samples["train"] != ImdbTask(train_size=50, seed=1).samples("train")


def test_supervised_is_the_positive_part():
    task = ImdbTask()
    positive = task.supervised("train")
    assert {sample.meta["sentiment"] for sample in positive} == {"positive"}
    assert [sample for sample in task.samples("train") if sample.meta["sentiment"] == "positive"] == positive
    assert len(positive) > 1500


def test_default_lengths_hold_every_prompt_and_every_reference():
    task = ImdbTask()
    for sample in task.samples("test"):
        assert len(sample.prompt.split()) <= task.defaults["prompt"]["max_tokens"]
        assert len(sample.references[0].split()) + 1 <= task.defaults["rollout"]["max_new_tokens"]  # and EOS


def test_defaults_name_only_what_exists():
    task = ImdbTask()
    assert asset_names(task.defaults) <= {*task.models, *task.classifiers}
    # Nobody marks its own work
    assert asset_names(task.defaults["reward"]).isdisjoint(asset_names(task.defaults["evaluation"]))
    for metric in task.defaults["evaluation"]["metrics"]:
        assert metric["name"] in registry.metrics
    assert task.defaults["reward"]["name"] in registry.metrics  # any metric is a reward
    for spec in (*task.models.values(), *task.classifiers.values()):
        for target in (spec.data, spec.vocabulary):
            module, _, name = target.partition(":")
            assert callable(getattr(importlib.import_module(module), name))


def test_wrong_options():
    with pytest.raises(ConfigError, match="did you mean 'edition'"):
        build("imdb", editon="mini")
    with pytest.raises(ConfigError, match="edition: full"):
        build({"name": "imdb", "path": "reviews.csv"})
    with pytest.raises(UnknownNameError, match="did you mean 'imdb'"):
        build("imbd")


# --- full edition
# -------------------------------------------------------------------------------------------------------------------------


def text_of(split: str, label: str, number: int) -> str:
    return " ".join([f"{split}{label}{number}w{word}" for word in range(7)])


@pytest.fixture
def acl(tmp_path: Path) -> Path:
    root = tmp_path / "aclImdb"
    for split, count in (("train", 20), ("test", 10)):
        for label in ("pos", "neg"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}_7.txt").write_text(text_of(split, label, number))
        (root / split / "urls_pos.txt").write_text("http://example.org")
    (root / "train" / "unsup").mkdir()
    (root / "train" / "unsup" / "0_0.txt").write_text("no label here")
    return root


def check_acl(task) -> None:
    samples = {split: task.samples(split) for split in SPLITS}
    assert [len(samples[split]) for split in SPLITS] == [32, 8, 20]
    assert all(sample.prompt.startswith("test") for sample in samples["test"])
    assert {sample.prompt for sample in samples["train"]}.isdisjoint(sample.prompt for sample in samples["validation"])
    for split in SPLITS:
        for sample in samples[split]:
            words = f"{sample.prompt} {sample.references[0]}".split()
            assert [word.rpartition("w")[2] for word in words] == list("0123456")  # the reference continues the prompt
            assert len(sample.prompt.split()) == 3
            # byte-level tokenizers would otherwise glue the last word of the prompt to the first of the target
            assert sample.references[0][:1] == " " != sample.references[0][1:2]
            assert sample.meta["sentiment"] == ("positive" if "pos" in sample.prompt else "negative")
    assert 0 < sum(s.meta["sentiment"] == "positive" for s in samples["validation"]) < 8  # shuffled before splitting
    assert len(task.supervised("test")) == 10


def test_full_from_a_folder_like_aclimdb(acl):
    task = build("imdb", edition="full", path=str(acl))
    check_acl(task)
    again, other = (build("imdb", edition="full", path=str(acl), seed=seed) for seed in (0, 1))
    assert again.samples("train") == task.samples("train")
    assert [s.prompt for s in other.samples("train")] != [s.prompt for s in task.samples("train")]
    assert len(build("imdb", edition="full", path=str(acl), train_size=5).samples("train")) == 5


def test_full_from_a_zip(acl, tmp_path):
    archive = tmp_path / "reviews.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(acl.rglob("*.txt")):
            target.write(file, file.relative_to(acl.parent))
    check_acl(build("imdb", edition="full", path=str(archive)))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_full_from_one_file(tmp_path, suffix):
    labels = ["pos", "neg"] if suffix == ".csv" else [1, 0]
    rows = [{"text": text_of("all", "x", number), "label": labels[number % 2]} for number in range(50)]
    file = tmp_path / f"reviews{suffix}"
    with file.open("w", newline="") as stream:
        if suffix == ".csv":
            writer = csv.DictWriter(stream, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    task = build("imdb", edition="full", path=str(file))
    assert [len(task.samples(split)) for split in SPLITS] == [40, 5, 5]
    assert len({sample.prompt for split in SPLITS for sample in task.samples(split)}) == 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "good", "label": 2}', r"reviews\.jsonl:1: label 2"),
        ('{"text": "good", "label": 1}\n{"label": 1}', r"reviews\.jsonl:2: needs a column `text`"),
        ("{", "Expecting"),
    ],
)
def test_malformed_files(tmp_path, content, message):
    (tmp_path / "reviews.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        build("imdb", edition="full", path=str(tmp_path / "reviews.jsonl")).samples("train")


def test_missing_and_unknown_sources(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        build("imdb", edition="full", path=str(tmp_path / "absent.csv")).samples("train")
    with pytest.raises(DataError, match=r"pos/\*\.txt"):
        build("imdb", edition="full", path=str(tmp_path)).samples("train")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"torn\.zip: not a zip file, or a damaged one: File is not a zip file$"):
        build("imdb", edition="full", path=str(tmp_path / "torn.zip")).samples("train")
    with pytest.raises(DataError, match=r"edition: mini"):  # offline: the Hub cannot be reached
        build("imdb", edition="full", path="nobody/no-such-reviews").samples("train")


def test_full_on_real_reviews(test_data):
    archive = test_data / "movie_reviews" / "movie_reviews.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there")
    task = build("imdb", edition="full", path=str(archive))
    assert [len(task.samples(split)) for split in SPLITS] == [1600, 200, 200]
    positive = sum(sample.meta["sentiment"] == "positive" for split in SPLITS for sample in task.samples(split))
    assert positive == 1000
    assert all(sample.prompt and sample.references[0] for sample in task.samples("test"))
