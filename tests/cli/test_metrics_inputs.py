"""`rl4lms metrics score`: two systems, plain text, several references, JSON, and how soon it answers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.errors import ConfigError, DataError
from rl4lms.evaluation.score_file import score_file
from rl4lms.evaluation.text_files import Columns, read_texts
from rl4lms.evaluation.two_systems import pair


def call(*words: object):
    return CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, ["metrics", "score", *map(str, words)])


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


GOLD = ["the cat sat", "a dog ran", "birds sing in the park", "we ate"]
OURS = ["the cat sat", "a dog ran", "birds sing", "we ate"]
THEIRS = ["the cat", "dogs run", "birds sing in a park", "they ate"]


@pytest.fixture
def two(tmp_path):
    rows = [
        [
            {"id": i, "completion": text, "references": gold}
            for i, (text, gold) in enumerate(zip(texts, GOLD, strict=True))
        ]
        for texts in (OURS, THEIRS)
    ]
    return write(tmp_path / "ours.jsonl", rows[0]), write(tmp_path / "theirs.jsonl", reversed(rows[1]))


def test_two_systems_by_id(two, tmp_path):
    output = tmp_path / "scores.json"
    result = call(*two, "--metric", "token_f1", "--metric", "bleu", "--output", output)
    assert result.exit_code == 0, result.output
    assert "4 pairs by id" in " ".join(result.output.split())
    (line,) = (line for line in result.output.splitlines() if line.startswith("token_f1"))
    assert len(line) <= 80
    written = json.loads(output.read_text())
    assert written["paired_by"] == "id"
    f1 = written["results"]["token_f1"]
    alone = [score_file(str(file), ["token_f1"]).results["token_f1"] for file in two]
    assert (f1["first"]["mean"], f1["second"]["mean"]) == (alone[0].mean, alone[1].mean)
    assert f1["difference"]["value"] == pytest.approx(alone[1].mean - alone[0].mean)
    assert f1["difference"]["low"] < f1["difference"]["value"] < f1["difference"]["high"]
    assert 0 < f1["difference"]["p"] <= 1
    assert written["samples"][0]["first"]["completion"] == OURS[0]
    assert written["samples"][0]["second"]["completion"] == THEIRS[0]


def test_json_is_all_that_is_printed(two, monkeypatch):
    monkeypatch.setattr("rl4lms.metrics.wordnet.search_places", lambda: [])
    one = call(two[0], "--metric", "exact_match", "--json")
    assert json.loads(one.stdout)["results"]["exact_match"]["mean"] == 0.75
    both = call(*two, "--metric", "exact_match", "--metric", "meteor", "--json")
    assert both.exit_code == 3
    read = json.loads(both.stdout)
    assert read["results"]["exact_match"]["difference"]["value"] == -0.5  # articles do not count
    assert "meteor" in read["absent"]
    assert "absent: meteor" in both.stderr


def test_by_prompt_where_there_are_no_ids_and_by_row_where_they_repeat(tmp_path):
    def texts(name, rows):
        return read_texts(str(write(tmp_path / name, rows)))

    one = texts("a.jsonl", [{"prompt": p, "completion": p} for p in "abc"])
    other = texts("b.jsonl", [{"prompt": p, "completion": p} for p in "cab"])
    first, second, by = pair(one, other)
    assert (by, first.completions, second.completions) == ("prompt", ["a", "b", "c"], ["a", "b", "c"])
    same = texts("c.jsonl", [{"prompt": "a", "completion": c} for c in "xyz"])
    again = texts("d.jsonl", [{"prompt": "a", "completion": c} for c in "uvw"])
    assert pair(same, again)[2] == "row"
    for wrong, message in (
        ([{"prompt": "a", "completion": "x"}] * 2, "has 3 rows and .* 2; give rows an `id`"),
        ([{"prompt": p, "completion": "x"} for p in "aba"], r"c\.jsonl:2 and .*e\.jsonl:2 have different prompts"),
    ):
        with pytest.raises(DataError, match=message):
            pair(same, texts("e.jsonl", wrong))
    with pytest.raises(DataError, match=r"a\.jsonl:1: .*f\.jsonl has no row with the prompt 'a'"):
        pair(one, texts("f.jsonl", [{"prompt": p, "completion": p} for p in "bcd"]))
    with pytest.raises(DataError, match="the id '1' comes 2 times"):
        pair(texts("g.jsonl", [{"id": 1, "completion": "x"}] * 2), texts("h.jsonl", [{"id": 1, "completion": "x"}]))
    gold = [texts(f"{n}.jsonl", [{"id": 1, "completion": "x", "references": n}]) for n in ("i", "j")]
    with pytest.raises(DataError, match="have different references; two systems are compared with the same ones"):
        pair(*gold)


def test_a_file_of_rows_and_one_of_plain_text_are_compared_row_by_row(two, tmp_path):
    rows = [{"output": text, "references": gold} for text, gold in zip(OURS, GOLD, strict=True)]
    ours = write(tmp_path / "rows.jsonl", rows)
    (tmp_path / "out.txt").write_text("\n".join(THEIRS) + "\n")
    (tmp_path / "gold.txt").write_text("\n".join(GOLD) + "\n")
    result = call(
        ours, tmp_path / "out.txt", "--references", tmp_path / "gold.txt", "--completion-column", "output", "--metric",
        "token_f1", "--json",
    )  # fmt: skip
    by_id = json.loads(call(*two, "--metric", "token_f1", "--json").stdout)
    by_row = json.loads(result.stdout)
    assert (by_row["paired_by"], by_row["results"]) == ("row", by_id["results"])


def test_three_files_are_refused(two):
    result = call(*two, two[0], "--metric", "exact_match")
    assert result.exit_code == 2
    assert "3 files: two systems are compared" in " ".join(result.output.split())


@pytest.fixture
def plain(tmp_path):
    files = {
        "out.txt": "the cat\na dog ran\n\n",
        "ref0.txt": "the cat sat\na dog\nx\n",
        "ref1.txt": "the cat\n\ny",
        "src.txt": "p\nq\r\nr\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def test_plain_text_files(plain):
    texts = read_texts(
        str(plain / "out.txt"),
        references=[str(plain / "ref0.txt"), str(plain / "ref1.txt")],
        prompts=str(plain / "src.txt"),
    )
    assert texts.completions == ["the cat", "a dog ran", ""]
    assert texts.references == [("the cat sat", "the cat"), ("a dog",), ("x", "y")]
    assert texts.prompts == texts.full_prompts == ["p", "q", "r"]
    result = call(
        plain / "out.txt", "--references", plain / "ref0.txt", "--references", plain / "ref1.txt", "--metric",
        "exact_match", "--metric", "sari", "--prompts", plain / "src.txt", "--json",
    )  # fmt: skip
    assert json.loads(result.stdout)["results"]["exact_match"]["mean"] == pytest.approx(1 / 3)


def test_a_line_of_plain_text_is_the_completion_and_nothing_else(plain):
    for name in ("prompt", "references", "text"):
        texts = read_texts(str(plain / "out.txt"), Columns(completion=name))
        assert (texts.has_prompts, texts.references, texts.texts, texts.columns) == (False, [(), (), ()], None, {})
        assert texts.completions[0] == "the cat"


def test_their_numbers_of_lines_must_agree(plain):
    (plain / "short.txt").write_text("a\nb\n")
    for option in ("references", "prompts"):
        result = call(plain / "out.txt", f"--{option}", plain / "short.txt", "--metric", "sari", "--metric", "rouge")
        assert result.exit_code == 2
        message = "".join(result.output.split())
        assert f"{plain}/short.txthas2textsand{plain}/out.txt3".replace(" ", "") in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"references_column": "gold"},
            r"references_column \('gold',\): .*out.txt is plain text, which has no columns",
        ),
        ({"completion_column": "gold"}, r"completion_column 'gold': .*out.txt is plain text"),
        ({"references": ["missing.txt"]}, "missing.txt: no such file"),
        ({"references": ["empty.txt"]}, "empty.txt: the file is empty"),
        ({"prompts": "folder.txt"}, "folder.txt: no such file"),
    ],
)
def test_plain_text_that_cannot_be_read(plain, monkeypatch, options, message):
    monkeypatch.chdir(plain)
    (plain / "empty.txt").write_text("")
    (plain / "folder.txt").mkdir()
    with pytest.raises((ConfigError, DataError), match=message):
        score_file("out.txt", ["rouge"], **options)


def test_several_columns_of_references(tmp_path):
    rows = [
        {"completion": "a", "gold0": "a b", "gold1": ["c", "a"]},
        {"completion": "b", "gold0": None, "gold1": "b c"},
    ]
    file = write(tmp_path / "out.jsonl", rows)
    texts = read_texts(str(file), Columns(references=("gold0", "gold1")))
    assert texts.references == [("a b", "c", "a"), ("b c",)]
    assert texts.columns == {}
    result = call(
        file, "--references-column", "gold0", "--references-column", "gold1", "--metric", "exact_match", "--json"
    )
    assert json.loads(result.stdout)["results"]["exact_match"]["mean"] == 0.5
    with pytest.raises(DataError, match=r"no row has the column 'gold2' \(references_column\)"):
        score_file(str(file), ["rouge"], references_column=["gold0", "gold2"])


def test_references_in_rows_of_another_file(tmp_path):
    file = write(tmp_path / "out.jsonl", [{"completion": "a"}, {"completion": "b"}])
    gold = write(tmp_path / "gold.jsonl", [{"references": ["a", "c"]}, {"references": "x"}])
    found = score_file(str(file), ["exact_match"], references=[str(gold)])
    assert found.results["exact_match"].values == (1.0, 0.0)
    named = score_file(
        str(file), ["exact_match"], references=[str(write(gold, [{"g": "a"}, {"g": "b"}]))], references_column="g"
    )
    assert named.results["exact_match"].mean == 1
    with pytest.raises(DataError, match=r"gold\.jsonl: no row has the column 'references'"):
        score_file(str(file), ["exact_match"], references=[str(gold)])


def test_files_that_no_metric_reads_are_refused(plain):
    for option, file in (("--references", "ref0.txt"), ("--prompts", "src.txt")):
        result = call(plain / "out.txt", option, plain / file, "--metric", "diversity")
        assert result.exit_code == 2
        assert "none of these metrics reads it; leave it out" in " ".join(result.output.split())


def test_a_source_that_is_needed(tmp_path):
    file = write(tmp_path / "out.jsonl", [{"completion": "a", "references": "a"}])
    with pytest.raises(
        DataError, match=r"no row has a prompt \(source\) in the column 'prompt', and sari compares with it"
    ):
        score_file(str(file), ["sari"])


HEAVY = "import sys, rl4lms.cli.main as m\ntry: m.main()\nexcept SystemExit: pass\nprint(sorted({'torch', 'transformers', 'datasets', 'nltk', 'sacrebleu'} & sys.modules.keys()))"


@pytest.mark.parametrize(
    "words",
    [
        ["missing.jsonl", "--metric", "rouge"],
        ["missing.txt", "--metric", "sacrebleu"],
        ["missing.jsonl", "--metric", "rogue"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_what_is_wrong_with_the_files_is_told_before_anything_heavy_is_imported(words, tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", HEAVY, "metrics", "score", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert found.stdout.splitlines()[-1] == "[]"
    assert words == ["--help"] or "error: " in found.stderr
