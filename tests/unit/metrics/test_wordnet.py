from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest

from rl4lms.errors import ConfigError, DataError, MissingPartError
from rl4lms.metrics import wordnet
from rl4lms.metrics.wordnet import WordNet, copy_into, installed_wordnet, own_folder, source_in
from tests.unit.metrics.wordnet_files import write_wordnet


@pytest.fixture
def files(tmp_path) -> Path:
    return write_wordnet(tmp_path / "wordnet")


@pytest.fixture
def nothing_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("RL4LMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nltk.data.path", [str(tmp_path / "nltk")])


def test_synonyms(files):
    words = WordNet(files)
    assert words.synonyms("hound") == {"dog", "hound"}
    assert words.synonyms("dog") == {"dog", "hound", "Fido"}  # of all its meanings, names as they are written
    assert words.synonyms("fido") == {"dog", "Fido"}
    assert words.synonyms("car") == {"automobile", "car", "drive"}  # as a noun and as a verb
    assert words.synonyms("man") == {"man"}  # no phrases
    assert words.synonyms("big") == {"big", "large"}  # no marker
    assert words.synonyms("cat") == frozenset()
    assert words.synonyms("") == frozenset()


def test_base_forms(files):
    words = WordNet(files)
    for inflected, base in (
        ("dogs", "dog"),
        ("runs", "run"),
        ("ran", "run"),
        ("chasing", "chase"),
        ("chased", "chase"),
        ("leaves", "leaf"),
    ):
        assert words.synonyms(inflected) == words.synonyms(base) != frozenset(), inflected
    assert words.synonyms("bigger") == frozenset()  # no rule halves consonants
    assert words.synonyms("better") == {"good"}  # of the exception's two base forms one is an adjective
    assert words.synonyms("mans") == {"man"}
    assert len(words) == 19


def test_folders_zip_files_and_places_inside(tmp_path, files):
    archive = tmp_path / "wordnet.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in files.iterdir():
            file.write(path, f"wordnet/{path.name}")
    assert WordNet(archive).synonyms("hound") == {"dog", "hound"}
    for place, inside in ((files, files), (tmp_path, files), (archive, archive)):
        assert source_in(place) == inside
    data = tmp_path / "data"
    (data / "corpora").mkdir(parents=True)
    archive.rename(data / "corpora" / "wordnet.zip")
    assert source_in(data) == data / "corpora" / "wordnet.zip"


def test_what_is_no_wordnet(tmp_path, files):
    with pytest.raises(ConfigError, match="does not exist"):
        source_in(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"is no WordNet: there is no index\.noun"):
        source_in(tmp_path / "empty")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ConfigError, match="is no WordNet"):
        source_in(tmp_path / "text.zip")
    (files / "verb.exc").unlink()
    with pytest.raises(DataError, match=r"there is no verb\.exc"):
        WordNet(files)
    with pytest.raises(DataError, match=r"there is no verb\.exc"):
        copy_into(files, tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data.noun", lambda content: content[5:]),  # every offset is wrong
        ("data.noun", lambda content: content.replace("\n", "\r\n")),
        ("data.verb", lambda content: content[: content.index("\n") + 1]),
        ("index.adj", lambda content: content.replace(" 1 @ ", " x @ ").replace(" a 1", " a x")),
        ("index.noun", lambda content: content.replace("adult_male n", "adult_mail n")),
    ],
)
def test_damaged_files(files, name, change):
    path = files / name
    path.write_text(change(path.read_text()), newline="")
    with pytest.raises(DataError, match=str(files)):
        WordNet(files)


def test_where_it_is_looked_for(tmp_path, files, nothing_installed):
    with pytest.raises(MissingPartError, match="rl4lms metrics setup-wordnet, or use meteor_exact_stem"):
        installed_wordnet()
    of_nltk = tmp_path / "nltk" / "corpora" / "wordnet"
    of_nltk.parent.mkdir(parents=True)
    files.rename(of_nltk)
    assert installed_wordnet().source == of_nltk
    own_folder().mkdir(parents=True)
    copy_into(of_nltk, own_folder())
    assert installed_wordnet().source == own_folder()  # ours comes first
    assert own_folder().is_relative_to(tmp_path / "cache")
    assert installed_wordnet() is installed_wordnet()


def test_zip_files_of_nltk_are_found(tmp_path, files, nothing_installed):
    (tmp_path / "nltk" / "corpora").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "nltk" / "corpora" / "wordnet.zip", "w") as file:
        for path in files.iterdir():
            file.write(path, f"wordnet/{path.name}")
    assert installed_wordnet().synonyms("hounds") == {"dog", "hound"}


def test_copies_are_complete(tmp_path, files):
    (tmp_path / "copy").mkdir()
    copy_into(files, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {path.name for path in files.iterdir()} | {
        "lexnames"
    }
    (files / "index.sense").write_text("senses")
    copy_into(files, tmp_path / "copy")
    assert (tmp_path / "copy" / "index.sense").read_text() == "senses"
    lines = (tmp_path / "copy" / "lexnames").read_text().splitlines()
    assert len(lines) == 45
    # spot checks against lexnames(5WN)
    assert [lines[number] for number in (0, 3, 28, 29, 43, 44)] == [
        "00\tadj.all\t3",
        "03\tnoun.Tops\t1",
        "28\tnoun.time\t1",
        "29\tverb.body\t2",
        "43\tverb.weather\t2",
        "44\tadj.ppl\t3",
    ]


def test_other_processes_read_the_files_again(files):
    words = wordnet.open_wordnet(files)
    assert len(pickle.dumps(words)) < 1000
    assert pickle.loads(pickle.dumps(words)).synonyms("hound") == {"dog", "hound"}


def real_wordnet() -> Path:
    folder = os.environ.get("RL4LMS_TEST_WORDNET")
    if not folder:
        pytest.skip("RL4LMS_TEST_WORDNET is not set: no real WordNet to test with")
    return Path(folder)


def test_real_wordnet():
    words = WordNet(source_in(real_wordnet()))
    assert len(words) > 140_000
    assert "automobile" in words.synonyms("cars")
    assert "adult" not in words.synonyms("car")
    assert words.synonyms("geese") >= {"goose", "fathead"}
    assert words.synonyms("xyzzy") == frozenset()
