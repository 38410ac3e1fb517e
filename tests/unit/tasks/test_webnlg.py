from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from rl4lms.errors import DataError
from rl4lms.tasks import build
from rl4lms.tasks.webnlg import real
from tests.unit.tasks.full import check_defaults, check_splits, prompts, skip_without, train_one_iteration


@pytest.fixture(scope="module")
def folder(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of the published test set, a part of train and validation."""
    archive = test_data / "webnlg" / "webnlg_v3_en.tar.xz"
    skip_without(archive)
    root = tmp_path_factory.mktemp("webnlg")
    with tarfile.open(archive) as file:
        file.extractall(root, filter="data")
    return root / "release_v3.0" / "en"


def entry(triples: list[str], texts: dict[str, str], category: str = "City") -> str:
    facts = "".join(f"<mtriple>{triple}</mtriple>" for triple in triples)
    lex = "".join(f'<lex comment="{comment}">{text}</lex>\n' for text, comment in texts.items())
    return f'<entry category="{category}"><modifiedtripleset>{facts}</modifiedtripleset>\n{lex}</entry>\n'


def write(root: Path, train: str, test: str = "") -> Path:
    held_out = entry(["X_1 | is | Y"], {"X 1 is Y.": "good"})
    texts = {"train/1triples/a.xml": train, "dev/1triples/a.xml": held_out}
    texts["test/rdf-with-refs-en.xml"] = test or entry(["Z | is | Y"], {"Z is Y.": ""})
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"<benchmark><entries>\n{text}</entries></benchmark>")
    return root


@pytest.mark.slow
def test_published_test_set(folder):
    found = list(real.entries(str(folder), "test"))
    assert len(found) == 1_779
    assert sum(len(one.texts) for one in found) == 5_150
    assert {len(one.triples) for one in found} == set(range(1, 8))


@pytest.mark.slow
def test_splits(folder):
    task = build("webnlg", data_dir=str(folder))
    check_splits(task, (2_449, 482, 1_779))
    assert not prompts(task, "train") & (prompts(task, "validation") | prompts(task, "test"))


def test_triples_are_merged_whatever_the_order(tmp_path):
    a, b = "A_b | is | C", "C | near | D"
    train = (
        entry([a, b], {"One.": "good", "Bad.": "bad"})
        + entry([b, a], {"Two.": ""})
        + entry(["X_1 | is | Y"], {"X.": ""})
    )
    samples = build("webnlg", data_dir=str(write(tmp_path, train))).samples("train")
    assert [(sample.prompt, sample.references) for sample in samples] == [
        ("A b | is | C && C | near | D", ("One.", "Two."))
    ]
    assert samples[0].meta == {"table": [["A b", "is", "C"], ["C", "near", "D"]], "category": "City"}


def test_hidden_texts_are_refused(tmp_path):
    task = build("webnlg", data_dir=str(write(tmp_path, entry(["A | b | C"], {"D.": ""}), entry(["Z | is | Y"], {}))))
    with pytest.raises(DataError, match="references of the test split are hidden"):
        task.samples("test")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (entry(["A | b"], {"D.": ""}), r"a\.xml, row 1: needs triples, each `subject"),
        (entry(["A | b | C"], {}), r"a\.xml, row 1: has no text"),
        (entry(["A | b | C"], {"D.": ""}) + "<entry>", r"a\.xml:5: not XML: mismatched tag"),
    ],
)
def test_damaged_files(tmp_path, train, message):
    with pytest.raises(DataError, match=message):
        build("webnlg", data_dir=str(write(tmp_path, train))).samples("train")


def test_a_folder_without_the_files(tmp_path):
    with pytest.raises(DataError, match=r"needs train/\*\*/\*\.xml; name the folder of one language"):
        build("webnlg", data_dir=str(tmp_path)).samples("train")


@pytest.mark.slow
def test_presets_are_recipes():
    check_defaults("webnlg", ("seq2seq", "causal", "chat"))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "form"), [("t5", "seq2seq"), ("gpt2", "causal")])
def test_a_tiny_model_is_trained(tmp_path, folder, test_data, family, form):
    numbers = train_one_iteration(tmp_path, test_data, family, name="webnlg", data_dir=str(folder), form=form)
    assert {"eval/parent", "eval/sacrebleu"} <= numbers.keys()
