"""Reading, dividing and pairing data for reward models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rl4lms.errors import DataError
from rl4lms.supervised.reward_data import Columns, Labelled, Preferences, Rated, fraction, read, split


def jsonl(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_columns_say_what_the_rows_are(tmp_path):
    labels = read(jsonl(tmp_path / "l.jsonl", {"text": "a", "label": 1}, {"text": "b", "label": "x"}))
    assert labels == Labelled(["a", "b"], ["1", "x"], ["a", "b"])
    ratings = read(jsonl(tmp_path / "r.jsonl", {"text": "a", "rating": 1}, {"text": "b", "rating": "2.5"}))
    assert ratings == Rated(["a", "b"], [1.0, 2.5], ["a", "b"])
    pairs = read(jsonl(tmp_path / "p.jsonl", {"prompt": "p", "chosen": "a", "rejected": "b"}))
    assert pairs == Preferences(["pa"], ["pb"], ["p"], has_prompt=True)


def test_prompts_come_before_texts_and_group_them(tmp_path):
    rows = [{"prompt": "p", "text": "a", "label": 0}, {"prompt": "p", "text": "b", "label": 1}]
    data = read(jsonl(tmp_path / "l.jsonl", *rows), columns=Columns(join=" "))
    assert data == Labelled(["p a", "p b"], ["0", "1"], ["p", "p"], has_prompt=True)


def test_prompt_and_text_are_joined_as_they_are_and_the_missing_white_space_is_told(tmp_path, caplog):
    rows = [
        {"prompt": "Is it", "chosen": " a cat?", "rejected": "n't?"},
        {"prompt": "这是", "chosen": "一只猫", "rejected": " no"},
        {"prompt": "Well ", "chosen": "yes", "rejected": "no"},
        {"prompt": "", "chosen": "yes", "rejected": "no"},
    ]
    path = jsonl(tmp_path / "p.jsonl", *rows)
    assert read(path).chosen == ["Is it a cat?", "这是一只猫", "Well yes", "yes"]
    assert "2 of 4 rows have no white space between prompt and text" in caplog.text
    assert "--join ' '" in caplog.text
    caplog.clear()
    assert read(path, columns=Columns(join="\n")).rejected == ["Is it\nn't?", "这是\n no", "Well \nno", "no"]
    assert not caplog.text


def test_conversations_as_trl_writes_them(tmp_path):
    row = {
        "prompt": [{"role": "user", "content": "What is it?"}],
        "chosen": [{"role": "assistant", "content": "A cat."}],
        "rejected": [{"role": "assistant", "content": "No idea."}, {"role": "user", "content": "Really?"}],
    }
    data = read(jsonl(tmp_path / "p.jsonl", row))
    assert data == Preferences(
        ["What is it?\nA cat."], ["What is it?\nNo idea.\nReally?"], ["What is it?"], has_prompt=True
    )
    whole = {"chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"]}  # an implicit prompt
    assert read(jsonl(tmp_path / "w.jsonl", whole)).has_prompt


def test_whether_there_are_prompts_survives_dividing_and_pairing(tmp_path):
    rows = [{"prompt": "p" if i == 3 else "", "text": f"t{i}", "rating": i, "doc": str(i // 2)} for i in range(8)]
    data = read(jsonl(tmp_path / "r.jsonl", *rows), columns=Columns(group="doc"))
    parts = [*split(data, 0.25, 0), fraction(data, 0.5, 0), data.pairs(1.0), fraction(data.pairs(1.0), 0.5, 0)]
    assert [part.has_prompt for part in parts] == [True] * 5
    without = read(jsonl(tmp_path / "n.jsonl", *({**row, "prompt": ""} for row in rows)), columns=Columns(group="doc"))
    assert not without.has_prompt
    assert not without.pairs(1.0).has_prompt


def test_csv_and_parquet(tmp_path):
    (tmp_path / "r.csv").write_text('text,rating\n"a, b",1\nc,2\n')
    assert read(str(tmp_path / "r.csv")) == Rated(["a, b", "c"], [1.0, 2.0], ["a, b", "c"])
    pq.write_table(pa.table({"chosen": ["x"], "rejected": ["y"]}), tmp_path / "p.parquet")
    assert read(str(tmp_path / "p.parquet")) == Preferences(["x"], ["y"], ["x"])


def test_several_ratings_of_a_text_are_averaged(tmp_path):
    rows = [{"text": "a", "stars": s, "doc": "1"} for s in (1, 2, 6)] + [{"text": "a", "stars": 5, "doc": "2"}]
    data = read(jsonl(tmp_path / "r.jsonl", *rows), columns=Columns(rating="stars", group="doc"))
    assert data == Rated(["a", "a"], [3.0, 5.0], ["1", "2"])


def test_pairs_are_made_within_groups_with_a_gap():
    rated = Rated(["a", "b", "c", "d"], [5.0, 4.0, 3.5, 1.0], ["1", "1", "1", "2"])
    assert rated.pairs(1.0) == Preferences(["a", "a"], ["b", "c"], ["1", "1"])
    assert len(rated.pairs(0.5)) == 3
    with pytest.raises(
        DataError, match="no two texts of one group have ratings that differ by 2 or more; lower min_gap"
    ):
        rated.pairs(2.0)


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"text": "a", "rating": "good"}, {}, r"d\.jsonl:1: the rating 'good' is no number"),
        ({"text": "a", "rating": 1e999}, {}, r"d\.jsonl:1: the rating inf is no number"),
        ({"text": "a"}, {"kind": "ratings"}, r"d\.jsonl:1: no column 'rating'; there are: text"),
        ({"text": "a", "rating": 3}, {}, r"d\.jsonl: every text has the same rating"),
        (
            {"chosen": "a", "rejected": "a"},
            {},
            r"d\.jsonl:1: chosen and rejected are the same text, so neither can be preferred",
        ),
        ({"chosen": "a"}, {"kind": "preferences"}, r"d\.jsonl:1: no column 'rejected'; there are: chosen"),
        ({"chosen": ["a"], "rejected": "b"}, {}, r"d\.jsonl:1: chosen should be a text or a list of messages"),
        ({"chosen": "a", "rejected": "b"}, {"columns": Columns(group="id")}, r"d\.jsonl:1: no column 'id'"),
        ({"text": "a", "label": None}, {}, r"d\.jsonl:1: the column 'label' is there but empty \(null\)"),
        ({"text": "a", "label": ""}, {}, r"d\.jsonl:1: 'label' is empty; give the row a label"),
        ({"text": "a", "label": ["x"]}, {}, r"d\.jsonl:1: 'label' should be a text or a number, got list"),
        ({"text": "a", "label": {"x": 1}}, {}, r"d\.jsonl:1: 'label' should be a text or a number, got dict"),
        ({"text": {"a": "b"}, "label": "x"}, {}, r"d\.jsonl:1: text should be a text or a list of messages, got dict"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, row, options, message):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(row).replace("Infinity", "1e999") + "\n")
    with pytest.raises(DataError, match=message):
        read(str(path), **options)


def test_whole_groups_are_held_out():
    data = Labelled([f"t{i}" for i in range(60)], ["x", "y"] * 30, [str(i // 6) for i in range(60)])
    for seed in range(5):
        train, test = split(data, 0.2, seed)
        assert set(train.groups).isdisjoint(test.groups)
        assert len(test) == 12
        assert sorted(train.texts + test.texts) == sorted(data.texts)
        assert dict(zip(train.texts + test.texts, train.labels + test.labels, strict=True)) == dict(
            zip(data.texts, data.labels, strict=True)
        )
    assert split(data, 0.2, 0)[1] == split(data, 0.2, 0)[1]
    assert split(data, 0.2, 0)[1] != split(data, 0.2, 1)[1]
    with pytest.raises(
        DataError,
        match="the data are one group, so nothing can be held out; train on everything with `--holdout 0`, or",
    ):
        split(Labelled(["a", "b"], ["x", "y"], ["g", "g"]), 0.5, 0)


def test_fractions_are_nested():
    data = Rated([str(i) for i in range(100)], [float(i) for i in range(100)], [str(i) for i in range(100)])
    small, large = fraction(data, 0.1, 3), fraction(data, 0.5, 3)
    assert (len(small), len(large)) == (10, 50)
    assert set(small.texts) < set(large.texts)
    assert len(fraction(data, 1e-9, 3)) == 1


def test_an_empty_cell_is_no_label(tmp_path):
    (tmp_path / "l.csv").write_text("text,label\na,x\nb,\nc,y\n")
    with pytest.raises(DataError, match=r"l\.csv:3: .*'label' is .*empty"):
        read(str(tmp_path / "l.csv"))


@pytest.mark.parametrize("seed", range(20))
def test_a_large_group_is_not_held_out_for_a_small_share(seed):
    sizes = [90] + [2] * 20
    groups = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    data = Rated([str(i) for i in range(130)], [float(i) for i in range(130)], groups)
    train, test = split(data, 0.1, seed)
    assert len(test) == 12  # of 13 that are wanted
    assert train.groups.count("0") == 90
    halves = Rated([str(i) for i in range(50)], [float(i) for i in range(50)], ["a"] * 20 + ["b"] * 30)
    assert set(split(halves, 0.1, seed)[1].groups) == {"a"}


@pytest.mark.parametrize("seed", range(20))
def test_every_label_stays_in_training(seed):
    labels = ["rare", "rare", *["x", "y"] * 30]
    train, test = split(Labelled([str(i) for i in range(62)], labels, [str(i) for i in range(62)]), 0.9, seed)
    assert set(train.labels) == {"rare", "x", "y"}
    assert len(train) + len(test) == 62
    alone = split(Labelled(["a", "b", "c"], ["x", "x", "y"], ["1", "2", "3"]), 0.9, seed)
    assert sorted(alone[0].labels) == ["x", "y"]


def test_labels_that_follow_the_groups_cannot_be_divided():
    data = Labelled([str(i) for i in range(40)], ["x"] * 20 + ["y"] * 20, ["a"] * 20 + ["b"] * 20)
    message = r"whichever group is held out, no row of some label would be left .*`--holdout 0`.*`--test FILE`"
    with pytest.raises(DataError, match=message):
        split(data, 0.1, 0)


def test_a_name_of_a_column_that_is_not_used_is_refused(tmp_path):
    import json

    import pytest

    from rl4lms.errors import DataError
    from rl4lms.supervised.reward_data import Columns, read

    labels, tsv = tmp_path / "l.jsonl", tmp_path / "l.tsv"
    labels.write_text("".join(json.dumps({"text": t, "label": t}) + "\n" for t in "ab"))
    tsv.write_text("a\t0\nb\t1\n")
    assert len(read(str(labels))) == len(read(str(tsv))) == 2
    with pytest.raises(DataError, match="--rating-column 'stars' is not used: the rows are labels"):
        read(str(labels), columns=Columns(rating="stars"))
    for columns, option in ((Columns(group="g"), "--group-column 'g'"), (Columns(join=" "), "--join ' '")):
        with pytest.raises(DataError, match=f"{option} is not used: a TSV holds text<TAB>label"):
            read(str(tsv), columns=columns)
