"""`rl4lms check task` on the published data sets, in the formats that they are distributed in."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_cli import call
from tests.unit.tasks.full import skip_without
from tests.unit.tasks.test_summarization import write as write_articles
from tests.unit.tasks.test_translation import segments

YEARS = range(2010, 2016)


def lines(source: Path, name: str, code: str) -> list[str]:
    return gzip.open(source / "multi30k" / f"{name}.{code}.gz", "rt").read().split("\n")[:-1]


def iwslt2017(source: Path, folder: Path) -> None:
    """Sentences of Multi30k as the tagged text and the XML of IWSLT; all talks end as talks do."""
    skip_without(source / "multi30k")
    for code, thanks in (("en", "Thank you."), ("de", "Danke.")):
        train = [*lines(source, "train", code)[:2_000], thanks]
        head = ["<url>http://x/1</url>", "<talkid>1</talkid>", "<title>A talk</title>"]
        (folder / f"train.tags.en-de.{code}").write_text("\n".join([*head, *train]))
        held_out = {"dev2010": lines(source, "val", code), **dict.fromkeys(map(str, YEARS))}
        test = lines(source, "test_2016_flickr", code)
        for number, year in enumerate(YEARS):
            held_out[str(year)] = test[number * 100 : (number + 1) * 100]
        for name, texts in held_out.items():
            assert texts
            name = name if name == "dev2010" else f"tst{name}"
            (folder / f"IWSLT17.TED.{name}.en-de.{code}.xml").write_text(segments([*texts, thanks], name))


def wmt16(source: Path, folder: Path) -> None:
    """Sentences of Multi30k as the parallel text and the SGM of WMT."""
    skip_without(source / "multi30k")
    for code, side in (("en", "src"), ("de", "ref")):
        (folder / f"news-commentary-v11.de-en.{code}").write_text(
            "\n".join(lines(source, "train", code)[:2_000]) + "\n"
        )
        for year, name in ((2015, "val"), (2016, "test_2016_flickr")):
            texts = lines(source, name, code)
            (folder / f"newstest{year}-ende-{side}.{code}.sgm").write_text(segments(texts, f"paper-{year}"))


def multi30k(source: Path, folder: Path) -> None:
    skip_without(source / "multi30k")
    for file in (source / "multi30k").glob("*.gz"):
        (folder / file.name).symlink_to(file)


def totto(source: Path, folder: Path) -> None:
    """The published samples of train and validation; of test the form, which has no sentences."""
    skip_without(source / "totto")
    (folder / "totto_train_data.jsonl").symlink_to(source / "totto" / "train_sample.jsonl")
    (folder / "totto_dev_data.jsonl").symlink_to(source / "totto" / "dev_first50.jsonl")
    hidden = json.loads((source / "totto" / "dev_sample.jsonl").read_text().splitlines()[0])
    del hidden["sentence_annotations"]
    (folder / "unlabeled_totto_test_data.jsonl").write_text(json.dumps(hidden))


def cnn_daily_mail(source: Path, folder: Path) -> None:
    """100 published rows, as CSV."""
    archive = source / "cnndm" / "train_sample.zip"
    skip_without(archive)
    with zipfile.ZipFile(archive) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file.open("train_sample.csv"), "utf-8", newline="")))
    for split, part in (("train", rows[:60]), ("validation", rows[60:80]), ("test", rows[80:])):
        write_articles(folder, split, part)


def daily_dialog(source: Path, folder: Path) -> None:
    skip_without(source / "dailydialog")
    for file in (source / "dailydialog").glob("*.zip"):
        (folder / file.name).symlink_to(file)


def dialogsum(source: Path, folder: Path) -> None:
    """The published validation and test sets; the train set is made of rows of the first."""
    skip_without(source / "dialogsum")
    rows = (source / "dialogsum" / "dialogsum.dev.jsonl").read_text().splitlines()
    (folder / "dialogsum.train.jsonl").write_text("\n".join(rows[:250]) + "\n")
    (folder / "dialogsum.dev.jsonl").write_text("\n".join(rows[250:]) + "\n")
    (folder / "dialogsum.test.jsonl").symlink_to(source / "dialogsum" / "dialogsum.test.jsonl")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "write", [iwslt2017, wmt16, multi30k, totto, cnn_daily_mail, daily_dialog, dialogsum], ids=lambda one: one.__name__
)
def test_no_check_fails(write: Callable[[Path, Path], None], test_data, tmp_path):
    write(test_data, tmp_path)
    tokenizer = test_data / "stories260K-hf"
    edition = () if write in (multi30k, dialogsum) else ("task.edition=full",)
    said = call("check", "task", write.__name__, *edition, f"task.data_dir={tmp_path}", f"model.path={tokenizer}")
    assert said.exit_code == 0, said.output
    assert " 0 failed" in said.output
    # of talks that all end with the same sentence, the documents are disjoint, and not the sentences
    assert ("'Thank you.'" in said.output) == (write is iwslt2017)
