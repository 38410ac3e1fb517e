"""`rl4lms metrics setup-wordnet`: what it copies, what it refuses, and that nothing half-written stays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.metrics import build, wordnet
from tests.unit.metrics.test_wordnet import real_wordnet
from tests.unit.metrics.wordnet_files import write_wordnet


def call(*words: object):
    command = ["metrics", "setup-wordnet", *map(str, words)]
    return CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, command)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RL4LMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nltk.data.path", [str(tmp_path / "nltk")])
    monkeypatch.setattr(wordnet, "USUAL_PLACES", (tmp_path / "nowhere", tmp_path / "usual"))
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path) -> Path:
    return write_wordnet(tmp_path / "files")


def meteor() -> float:
    return build("meteor")(completions=["the hound"], references=[("the dog",)])["meteor"][0]


def test_help_has_an_example():
    shown = call("--help").output
    assert "rl4lms metrics setup-wordnet --from" in shown
    assert "--download" in shown
    assert "setup-wordnet" in CliRunner().invoke(app, ["metrics", "--help"]).output


def test_from_a_folder(cache, files):
    result = call("--from", files)
    assert result.exit_code == 0, result.output
    assert f"19 words, from {files}" in result.output
    assert str(cache) in result.output
    assert meteor() > 0.9
    # again, over what is there
    assert call("--from", files).exit_code == 0
    assert meteor() > 0.9
    assert [path.name for path in wordnet.own_folder().parent.iterdir()] == ["wordnet"]


def test_from_the_usual_place(cache, tmp_path):
    result = call()
    assert result.exit_code == 2
    for word in ("apt install", "--from FOLDER", "--download"):
        assert word in result.stderr, word
    write_wordnet(tmp_path / "usual")
    assert call().exit_code == 0
    assert meteor() > 0.9


def test_from_a_zip_file_into_nltk_data(cache, files, tmp_path):
    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as file:
        for path in files.iterdir():
            file.write(path, f"wordnet/{path.name}")
    result = call("--from", tmp_path / "wordnet.zip", "--to", tmp_path / "nltk")
    assert result.exit_code == 0, result.output
    assert "NLTK_DATA" not in result.output  # nltk looks there already
    assert not cache.exists()
    assert meteor() > 0.9
    result = call("--from", files, "--to", tmp_path / "elsewhere")
    assert f"NLTK_DATA={tmp_path / 'elsewhere'}" in result.output


def test_what_is_no_wordnet(cache, files, tmp_path):
    for source, message in ((tmp_path, "is no WordNet"), (tmp_path / "nothing", "does not exist")):
        if source == tmp_path:
            files.rename(tmp_path / "renamed")
        result = call("--from", source)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "Traceback" not in result.output
    assert not cache.exists()
    result = call("--from", tmp_path / "renamed", "--download")
    assert result.exit_code == 2
    assert "--from and --download" in result.stderr


@pytest.mark.parametrize(
    "damage",
    [lambda folder: (folder / "data.adv").unlink(), lambda folder: (folder / "data.noun").write_text("no data\n")],
)
def test_a_damaged_source_replaces_nothing(cache, files, tmp_path, damage):
    assert call("--from", files).exit_code == 0
    damaged = write_wordnet(tmp_path / "damaged")
    damage(damaged)
    result = call("--from", damaged)
    assert result.exit_code == 2
    assert "data." in result.stderr
    assert meteor() > 0.9
    assert [path.name for path in wordnet.own_folder().parent.iterdir()] == ["wordnet"]


def test_onto_itself(cache, files):
    assert call("--from", files).exit_code == 0
    result = call("--from", wordnet.own_folder())
    assert result.exit_code == 2
    assert "nothing to do" in result.stderr
    assert meteor() > 0.9


def test_download(cache, files, monkeypatch):
    from nltk.downloader import Downloader

    asked = []

    def download(self, package, download_dir, quiet, raise_on_error):
        asked.append(package)
        folder = Path(download_dir) / "corpora"
        folder.mkdir()
        with zipfile.ZipFile(folder / "wordnet.zip", "w") as file:  # as nltk leaves it
            for path in files.iterdir():
                file.write(path, f"wordnet/{path.name}")
        return True

    monkeypatch.setattr(Downloader, "download", download)
    result = call("--download")
    assert result.exit_code == 0, result.output
    assert asked == ["wordnet"]
    assert "from a download" in result.output
    assert meteor() > 0.9


def test_download_without_a_network(cache):
    result = call("--download")  # connections are refused in tests
    assert result.exit_code == 2
    assert "could not download WordNet" in result.stderr
    assert "--from FOLDER" in result.stderr
    assert not cache.exists()


def test_real_wordnet(cache, monkeypatch):
    result = call("--from", real_wordnet())
    assert result.exit_code == 0, result.output
    assert meteor() > 0.5
    if (wordnet.own_folder() / "index.sense").is_file():  # nltk's own reader can use it, too
        monkeypatch.setattr("nltk.data.path", [str(cache / "nltk_data")])
        assert WordNetCorpusReader(str(wordnet.own_folder()), None).synsets("dog")[0].lexname() == "noun.animal"
