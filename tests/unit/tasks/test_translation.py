from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.tasks import build
from tests.unit.tasks.full import check_defaults, check_splits, prompts, skip_without, train_one_iteration

ENGLISH = ["A man sleeps.", "Tom & Ann sing.", "Thank you.", "A dog runs."]
GERMAN = ["Ein Mann schläft.", "Tom & Ann singen.", "Danke.", "Ein Hund läuft."]


@pytest.fixture(scope="module")
def folder(test_data: Path) -> Path:
    skip_without(test_data / "multi30k")
    return test_data / "multi30k"


def sentences(folder: Path, name: str, count: int) -> tuple[list[str], list[str]]:
    return tuple(gzip.open(folder / f"{name}.{code}.gz", "rt").read().split("\n")[:count] for code in ("en", "de"))  # type: ignore[return-value]


def segments(texts: list[str], talk: str) -> str:
    """The XML of IWSLT and the SGM of WMT: escaped texts, one segment to a line."""
    escaped = [text.replace("&", "&amp;") for text in texts]
    lines = [f'<seg id="{number}"> {text} </seg>' for number, text in enumerate(escaped, 1)]
    return "\n".join([f'<doc docid="{talk}" genre="lectures">', f"<talkid>{talk}</talkid>", *lines, "</doc>"])


def write_iwslt(folder: Path, english: list[str] = ENGLISH, german: list[str] = GERMAN) -> None:
    for code, texts in (("en", english), ("de", german)):
        talks = [[f"<url>http://x/{talk}</url>", f"<talkid>{talk}</talkid>", *texts] for talk in (1, 2)]
        (folder / f"train.tags.en-de.{code}").write_text("\n".join(line for talk in talks for line in talk))
        for name, talk in (("dev2010", "2"), *((f"tst{year}", str(year)) for year in range(2010, 2016))):
            (folder / f"IWSLT17.TED.{name}.en-de.{code}.xml").write_text(segments(texts, talk))


def write_wmt(folder: Path, english: list[str] = ENGLISH, german: list[str] = GERMAN) -> None:
    for code, side, texts in (("en", "src", english), ("de", "ref", german)):
        # a corpus for training has gaps
        (folder / f"news-commentary-v11.de-en.{code}").write_text(
            "\n".join([*texts, "", texts[0], "Only here." if code == "en" else ""]) + "\n"
        )
        for year in (2015, 2016):
            (folder / f"newstest{year}-ende-{side}.{code}.sgm").write_text(segments(texts, f"paper-{year}"))


@pytest.mark.slow
def test_multi30k_published_counts_and_splits(folder):
    task = build("multi30k", data_dir=str(folder))
    assert [sum(1 for _ in task.pairs(split)) for split in ("train", "validation", "test")] == [29_000, 1_014, 1_000]
    check_splits(task, (28_990, 1_014, 1_000))
    assert not prompts(task, "train") & (prompts(task, "validation") | prompts(task, "test"))
    assert sum(len(sample.references) > 1 for sample in task.samples("train")) > 0
    for name, count in (("test_2017_flickr", 1_000), ("test_2017_mscoco", 461)):
        other = build("multi30k", data_dir=str(folder), test_set=name)
        assert sum(1 for _ in other.pairs("test")) == count
        check_splits(other, (len(other.samples("train")), 1_014, count))


def test_multi30k_held_out_sets(folder):
    task = build("multi30k", data_dir=str(folder))
    assert [sum(1 for _ in task.pairs(split)) for split in ("validation", "test")] == [1_014, 1_000]


def test_iwslt_in_its_format(folder, tmp_path):
    write_iwslt(tmp_path, *sentences(folder, "val", 50))
    task = build("iwslt2017", edition="full", data_dir=str(tmp_path))
    check_splits(task, (50, 50, 300))
    assert {sample.meta["document"] for sample in task.samples("train")} == {"1"}  # talk 2 is evaluated on
    assert {sample.meta["document"] for sample in task.samples("test")} == {str(year) for year in range(2010, 2016)}
    assert [sample.prompt for sample in task.samples("validation")] == sentences(folder, "val", 50)[0]
    assert len(build("iwslt2017", edition="full", data_dir=str(tmp_path), test_set="tst2012").samples("test")) == 50


def test_wmt_in_its_format(folder, tmp_path):
    write_wmt(tmp_path, *sentences(folder, "val", 50))
    task = build("wmt16", edition="full", data_dir=str(tmp_path))
    check_splits(task, (51, 50, 50))
    assert [sample.references[0] for sample in task.samples("test")] == sentences(folder, "val", 50)[1]


@pytest.mark.parametrize(("name", "write"), [("iwslt2017", write_iwslt), ("wmt16", write_wmt)])
def test_segments_are_unescaped_and_rows_stay(tmp_path, name, write: Callable[[Path], None]):
    write(tmp_path)
    samples = build(name, edition="full", data_dir=str(tmp_path)).samples("validation")
    assert [(sample.prompt, sample.references) for sample in samples] == [
        (english, (german,)) for english, german in zip(ENGLISH, GERMAN, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("wmt16", "newstest2016-ende-ref.de.sgm", ("</seg>\n</doc>", ""), r"de\.sgm:6: a <seg> that does not end"),
        ("wmt16", "newstest2015-ende-ref.de.sgm", ('<seg id="2">', "<x>"), r"en\.sgm: 4 segments, and .* has 3;"),
        ("wmt16", "newstest2016-ende-ref.de.sgm", (" Danke. ", ""), r"en\.sgm:5: a sentence without its translation"),
        ("iwslt2017", "train.tags.en-de.de", ("<url>http://x/2</url>\n", ""), r"en-de\.en:8: a tag here, and a sent"),
        ("iwslt2017", "train.tags.en-de.de", ("\nEin Hund läuft.", ""), r"en-de\.en:"),
    ],
)
def test_damaged_files(tmp_path, name, file, change, message):
    write_iwslt(tmp_path)
    write_wmt(tmp_path)
    path = tmp_path / file
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(DataError, match=message):
        build(name, edition="full", data_dir=str(tmp_path)).samples("train")


def test_a_set_that_the_hub_does_not_have_apart():
    for name, test_set in (("multi30k", "test_2017_flickr"), ("iwslt2017", "tst2015")):
        with pytest.raises(ConfigError, match="name their folder with data_dir"):
            build(name, edition="full", test_set=test_set)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wmt16", "multi30k", "iwslt2017"])
def test_presets_are_recipes(name):
    check_defaults(name, ("seq2seq", "causal", "chat"))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "form"), [("t5", "seq2seq"), ("gpt2", "causal")])
def test_a_tiny_model_is_trained(tmp_path, folder, test_data, family, form):
    numbers = train_one_iteration(tmp_path, test_data, family, name="multi30k", data_dir=str(folder), form=form)
    assert {"eval/sacrebleu", "eval/chrf", "eval/ter"} <= numbers.keys()
