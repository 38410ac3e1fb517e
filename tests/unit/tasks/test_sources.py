from __future__ import annotations

import gzip
import zipfile

import pytest

from rl4lms.errors import DataError
from rl4lms.tasks import sources
from rl4lms.tasks.dataset import Example, disjoint, merged


def example(document: str, prompt: str, *references: str, **meta: str) -> Example:
    return Example(document=document, prompt=prompt, references=references, meta=meta)


def test_files_are_found_by_pattern(tmp_path):
    with pytest.raises(DataError, match=r"there is no such folder; .* data_dir"):
        sources.find(str(tmp_path / "absent"), "a.txt")
    with pytest.raises(DataError, match=r"needs a\.txt or b\.txt \(or with \.gz\); there is nothing"):
        sources.find(str(tmp_path), "a.txt", "b.txt")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"one\n"))
    assert sources.find(str(tmp_path), "a.txt", "b.txt").name == "b.txt.gz"
    (tmp_path / "b.txt").write_text("one\n")
    with pytest.raises(DataError, match=r"b\.txt is one file, and here are b\.txt, b\.txt\.gz"):
        sources.find(str(tmp_path), "b.txt")


def test_lines_have_their_places(tmp_path):
    text = "eins\r\nzwei\u2028zwei\n".encode()
    (tmp_path / "a.txt").write_bytes(text)
    (tmp_path / "a.gz").write_bytes(gzip.compress(text))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/a.txt", text)
    for name, member in (("a.txt", None), ("a.gz", None), ("a.zip", "in/a.txt")):
        found = list(sources.lines(tmp_path / name, member))
        assert [line for _, line in found] == ["eins", "zwei\u2028zwei"]
        assert found[1][0].endswith(f"{member or name}:2")


def test_damaged_files_are_one_error_with_the_line(tmp_path):
    whole = gzip.compress(b"".join(b"line %d\n" % (number * 7919) for number in range(9000)))
    (tmp_path / "a.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.gz:[1-9][0-9]{2,}: the file is damaged from here on .* get it again"):
        list(sources.lines(tmp_path / "a.gz"))
    (tmp_path / "b.txt").write_bytes(b"one\n\xff\n")
    with pytest.raises(DataError, match=r"b\.txt:2: not UTF-8"):
        list(sources.lines(tmp_path / "b.txt"))
    (tmp_path / "c.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"c\.zip/a\.txt:1: the file is damaged"):
        list(sources.lines(tmp_path / "c.zip", "a.txt"))
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("b.txt", "")
    with pytest.raises(DataError, match=r"d\.zip: has no a\.txt"):
        list(sources.lines(tmp_path / "d.zip", "a.txt"))


def test_prompts_are_merged_and_splits_share_no_document():
    rows = [
        example("1", "a", "x", n="1"),
        example("2", "b", "y"),
        example("3", "a", "z", n="2"),
        example("3", "a", "x"),
    ]
    assert [(row.prompt, row.references) for row in merged(rows)] == [("a", ("x", "z")), ("b", ("y",))]
    assert merged(rows)[0].meta == {"n": "1"}
    train = [*rows, example("5", "e", "e"), example("5", "d", "d")]
    parts = disjoint({"train": train, "validation": [*rows[1:2], example("4", "d", "d")], "test": rows[2:3]})
    assert {split: [row.document for row in part] for split, part in parts.items()} == {
        "test": ["3"],
        "validation": ["2", "4"],
        "train": [],  # 1 and 3 have a prompt of test, 2 is in validation, and 5 has a prompt of validation
    }
    assert [row.document for row in disjoint({"train": rows, "validation": [], "test": []})["train"]] == list("1233")
