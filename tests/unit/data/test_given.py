from __future__ import annotations

import json

import pytest

from rl4lms.config.data import DataConfig
from rl4lms.data.files import FileTask
from rl4lms.data.given import references_in_cell
from rl4lms.errors import DataError


@pytest.mark.parametrize(
    ("cell", "references"),
    [
        ("", ()),
        ("[]", ()),
        ("a text", ("a text",)),
        ('["a", "b"]', ("a", "b")),
        (' ["a",\n "b"] ', ("a", "b")),
        ("['a', 'it''s']", None),
        ("['a', \"it's\"]", ("a", "it's")),
        ("('a', 'b')", ("a", "b")),
        ("('a',)", ("a",)),
        ('[""]', ("",)),
        ("('a')", ("('a')",)),
        ("[1]", ("[1]",)),
        ("[sic]", ("[sic]",)),
        ("[a] and [b]", ("[a] and [b]",)),
        ("(he said)", ("(he said)",)),
        ('{"a": 1}', ('{"a": 1}',)),
        ("[" * 5000 + "]" * 5000, ("[" * 5000 + "]" * 5000,)),
        ("['a' 'b']", None),
        ("['a'\n 'b']", None),
        ('["a", null]', None),
        ("['a', 1]", None),
        ("[None]", None),
    ],
)
def test_cells_of_csv(cell, references):
    if references is None:
        with pytest.raises(DataError, match=r"^d\.csv:2: 'references' (is a list without commas|must be a text or a)"):
            references_in_cell(cell, lambda: "d.csv:2: 'references'")
    else:
        assert references_in_cell(cell, lambda: "d.csv:2: 'references'") == references


def test_a_list_in_a_text_is_a_list_in_csv_and_tsv_only(tmp_path):
    cell = '["a", "b"]'
    (tmp_path / "d.jsonl").write_text(json.dumps({"prompt": "p", "references": cell}) + "\n")
    quoted = cell.replace('"', '""')
    for suffix, comma in (("csv", ","), ("tsv", "\t")):
        (tmp_path / f"d.{suffix}").write_text(f'prompt{comma}references\np{comma}"{quoted}"\n')
    for name, expected in (("d.jsonl", (cell,)), ("d.csv", ("a", "b")), ("d.tsv", ("a", "b"))):
        task = FileTask(DataConfig(train=str(tmp_path / name), holdout=0))
        assert task.samples("train")[0].references == expected


def test_empty_references_in_files(tmp_path):
    path = tmp_path / "d.jsonl"
    values = ["", None, [], [""]]
    path.write_text("".join(json.dumps({"prompt": "p", "references": value}) + "\n" for value in values))
    samples = FileTask(DataConfig(train=str(path), holdout=0)).samples("train")
    assert [sample.references for sample in samples] == [("",), (), (), ("",)]
