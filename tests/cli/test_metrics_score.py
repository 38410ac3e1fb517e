"""`rl4lms metrics score`: metrics of a file of texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.errors import ConfigError, DataError
from rl4lms.evaluation.score_file import score_file

ROWS = [
    {
        "prompt": "p",
        "completion": "a cat sat on the mat",
        "references": ["the cat sat on the mat", "a cat"],
        "concepts": ["cat", "sit"],
    },
    {"prompt": "q", "completion": "dogs run", "references": "dogs run in the park", "concepts": ["dog", "park"]},
]


def call(*words: object):
    return CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, ["metrics", "score", *map(str, words)])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "outputs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_a_table_and_a_file_with_signatures_and_rows(file, tmp_path):
    output = tmp_path / "scores.json"
    result = call(
        file,
        "--metric",
        "rouge",
        "--metric",
        "{name: bleu, max_n: 2}",
        "--metric",
        "concept_coverage",
        "--output",
        output,
    )
    assert result.exit_code == 0, result.output
    assert "concept_coverage" in result.output
    assert max(len(line) for line in result.output.splitlines() if "written to" not in line) <= 80
    written = json.loads(output.read_text())
    assert written["results"]["concept_coverage"] == {
        "mean": 0.75,
        "stderr": 0.25,
        "n": 2,
        "signature": written["results"]["concept_coverage"]["signature"],
    }
    assert written["results"]["rouge1"]["signature"].startswith("rouge|")
    assert [row["concept_coverage"] for row in written["samples"]] == [1.0, 0.5]
    assert {"bleu-1", "bleu-2", "sentence_bleu-2"} <= written["results"].keys()
    assert "bleu-3" not in written["results"]
    assert written["absent"] == {}


def test_a_corpus_is_named_for_metrics_that_need_one(file):
    with pytest.raises(
        ConfigError,
        match="cider_d takes document frequencies from a fixed corpus: name a file of references with --corpus",
    ):
        score_file(str(file), ["cider_d"])
    by_option = score_file(str(file), ["cider_d"], corpus=str(file)).results["cider_d"]
    by_metric = score_file(str(file), [{"name": "cider_d", "corpus": str(file)}]).results["cider_d"]
    assert by_option.values == by_metric.values
    assert by_option.mean > 0


def test_a_part_that_is_missing_is_absent_and_told(file, monkeypatch):
    monkeypatch.setattr("rl4lms.metrics.wordnet.search_places", lambda: [])
    result = call(file, "--metric", "meteor", "--metric", "rouge")
    assert result.exit_code == 3
    assert "rouge1" in result.output
    allowed = call(file, "--metric", "meteor", "--metric", "rouge", "--allow-absent")
    assert (allowed.exit_code, allowed.output) == (0, result.output)
    assert [line.split() for line in result.output.splitlines() if line.startswith("meteor")] == [["meteor", "absent"]]
    assert "absent: meteor: WordNet, which METEOR needs, is missing; run: rl4lms metrics setup-wordnet" in " ".join(
        result.output.split()
    )


def test_nothing_measured_is_a_failure(file, monkeypatch, tmp_path):
    monkeypatch.setattr("rl4lms.metrics.wordnet.search_places", lambda: [])
    result = call(file, "--metric", "meteor", "--output", tmp_path / "scores.json")
    assert result.exit_code == 2
    assert "error: none of the metrics could be computed" in " ".join(result.output.split())
    assert not (tmp_path / "scores.json").exists()
    assert call(file, "--metric", "meteor", "--allow-absent").exit_code == 2


def test_what_could_be_computed_is_written_where_a_metric_is_absent(file, monkeypatch, tmp_path):
    monkeypatch.setattr("rl4lms.metrics.wordnet.search_places", lambda: [])
    result = call(file, "--metric", "meteor", "--metric", "token_f1", "--output", tmp_path / "scores.json")
    assert result.exit_code == 3
    written = json.loads((tmp_path / "scores.json").read_text())
    assert list(written["results"]) == ["token_f1"]
    assert list(written["absent"]) == ["meteor"]


def test_columns_may_have_other_names_and_prompts_may_be_missing(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("output,gold\na cat,the cat\n")
    scored = score_file(str(path), ["token_f1"], completion_column="output", references_column="gold")
    assert scored.results["token_f1"].values == (1.0,)
    assert scored.samples == [{"prompt": "", "completion": "a cat", "references": ["the cat"], "token_f1": 1.0}]


def starts(prompts, full_prompts, completions, texts=None):
    """Where each completion begins in its text, and the lengths of the prompts."""
    found = [text.index(completion.strip()) for text, completion in zip(texts or [], completions, strict=True)]
    return {"start": found, "seen": [len(p) for p in prompts], "whole": [len(p) for p in full_prompts]}


def test_a_text_of_both_goes_to_metrics_where_a_file_has_it(tmp_path):
    row = {"prompt": "good", "full_prompt": "so good", "completion": ", and", "text": "good, and"}
    rows = [row, {"prompt": "disapp", "completion": "ointed", "text": "disappointed"}]
    path = tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {key: result.values for key, result in score_file(str(path), [f"{__file__}:starts"]).results.items()}
    assert values == {"start": (4.0, 6.0), "seen": (4.0, 6.0), "whole": (7.0, 6.0)}
    grammar = score_file(str(path), ["imdb_grammar"]).results["derivable"]
    assert grammar.values == (0.0, 0.0)


def test_a_file_with_strings_alone_says_what_to_do(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text(json.dumps({"prompt": "the plot was", "completion": "dull ."}) + "\n")
    with pytest.raises(
        DataError, match=r"row 1 has .* white space between: 'the plot was' and 'dull \.'.*`text`.*`join`"
    ):
        score_file(str(path), ["imdb_grammar"])
    joined = score_file(str(path), [{"name": "imdb_grammar", "join": " "}]).results
    assert joined["derivable"].values == (1.0,)
    path.write_text(json.dumps({"prompt": "the plot was", "completion": "dull .", "own": "the plot was dull ."}) + "\n")
    result = call(path, "--metric", "imdb_grammar", "--text-column", "own")
    assert result.exit_code == 0, result.output


def test_a_column_text_that_is_something_else_is_told(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text(json.dumps({"prompt": "p", "completion": "a cat", "text": "A document."}) + "\n")
    with pytest.raises(DataError, match=r"the column 'text' should have prompt and completion .* --text-column"):
        score_file(str(path), ["diversity"])
    assert score_file(str(path), ["diversity"], text_column="none").results
    assert score_file(str(path), ["diversity"], completion_column="text").results


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, r"out\.jsonl:1: no column 'completion', where the text to score should be; there are: text"),
        ({"completion": 3}, r"out\.jsonl:1: int in the column 'completion'"),
        ({"completion": "a", "references": {"a": 1}}, r"out\.jsonl:1: 'references' must be a text or a list of texts"),
        (
            {"completion": "a"},
            r"out\.jsonl: no row has a reference in the column .references., and exact_match compares with ref",
        ),
    ],
)
def test_what_cannot_be_scored_is_named(tmp_path, row, message):
    path = tmp_path / "out.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=message):
        score_file(str(path), ["exact_match"])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("rogue", "unknown metric 'rogue'; did you mean 'rouge'?"),
        ("{name: rouge", "--metric {name: rouge: not YAML"),
        ("{name: rouge, stemer: true}", "did you mean 'stemmer'?"),
        ("5", "--metric 5: name a metric, or {name: ..., option: ...}"),
        ("[rouge]", "--metric [rouge]: name a metric, or {name: ..., option: ...}"),
        ("{nam: rouge}", "--metric {nam: rouge}: name a metric, or {name: ..., option: ...}"),
        ("reference_perplexity", "scores texts under the policy, and can be used in evaluations only"),
    ],
)
def test_bad_metrics_end_with_a_message(file, metric, message):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["metrics", "score", str(file), "--metric", metric])
    assert f"error: {message}" in " ".join(result.output.split()) or message in " ".join(result.output.split())
    assert result.exit_code == 2


def test_an_empty_file(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.write_text("")
    with pytest.raises(DataError, match=r"out\.jsonl: there are no rows|no rows"):
        score_file(str(path), ["rouge"])


@pytest.mark.parametrize("metric", [5, ["rouge"], {"nam": "rouge"}, None])
def test_what_is_no_metric_is_refused_by_the_function(file, metric):
    with pytest.raises(ConfigError, match=r"^metric .*: name a metric, or \{name: \.\.\., option: \.\.\.\}"):
        score_file(str(file), [metric])


def test_a_metric_named_twice_is_refused_before_anything_is_read(tmp_path):
    missing = str(tmp_path / "missing.jsonl")
    message = "the metric 'rouge' is named twice; its keys would be the same, so score them in two calls"
    with pytest.raises(ConfigError, match=message):
        score_file(missing, ["rouge", {"name": "rouge", "stemmer": False}])
    two = [{"name": "perplexity", "model": "a"}, {"name": "perplexity", "model": "b"}]
    with pytest.raises(
        ConfigError, match="so give one of them another name with its option `key`, or score them in two calls"
    ):
        score_file(missing, two)


def test_two_metrics_with_the_same_key(file, monkeypatch):
    import rl4lms
    from rl4lms.plugins import registry

    monkeypatch.setattr(registry.metrics, "_entries", dict(registry.metrics._entries))

    @rl4lms.metric("another_f1")
    def another_f1(completions, **columns):
        return {"token_f1": [0.0] * len(completions)}

    with pytest.raises(
        ConfigError, match="the metric 'another_f1' reports 'token_f1', as another does; score them in two calls"
    ):
        score_file(str(file), ["token_f1", "another_f1"])


def test_the_output_is_tried_before_the_scoring(tmp_path):
    missing = tmp_path / "missing.jsonl"  # read first, its absence would be what is told
    result = call(missing, "--metric", "rouge", "--output", tmp_path)
    assert result.exit_code == 2
    assert f"--output {tmp_path}: this is a folder; name a file" in "".join(result.output.splitlines())
    (tmp_path / "file").write_text("mine")
    result = call(missing, "--metric", "rouge", "--output", tmp_path / "file" / "scores.json")
    assert result.exit_code == 2
    assert "the file cannot be written: " in " ".join(result.output.split())
    assert (
        call(missing, "--metric", "rouge", "--output", tmp_path / ("x" * 250)).output.count("File name too long") == 1
    )
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_named_column_counts_where_another_has_the_usual_name(tmp_path):
    from rl4lms.evaluation.score_file import score_file

    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"completion": "a b", "references": "x y", "gold": "a b"}) + "\n")
    options = {"references_column": "gold"}
    assert score_file(str(path), ["exact_match"], **options).results["exact_match"].mean == 1.0
    assert score_file(str(path), ["exact_match"]).results["exact_match"].mean == 0.0


def test_a_named_column_that_is_not_there_is_refused(tmp_path):
    from rl4lms.errors import DataError
    from rl4lms.evaluation.score_file import score_file

    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"completion": "a b", "references": "x y"}) + "\n")
    for option in ("references_column", "prompt_column", "text_column"):
        with pytest.raises(DataError, match=rf"rows\.jsonl: no row has the column 'gold' \({option}\); there are: "):
            score_file(str(path), ["diversity"], **{option: "gold"})


def test_rows_without_references_are_left_out_and_a_file_without_any_is_named(tmp_path):
    from rl4lms.errors import DataError
    from rl4lms.evaluation.score_file import score_file

    path = tmp_path / "rows.jsonl"
    rows = [{"completion": "a", "references": "a"}, {"completion": "b", "references": []}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = score_file(str(path), ["exact_match"]).results["exact_match"]
    assert (result.mean, result.n) == (1.0, 1)
    path.write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(
        DataError, match=r"rows\.jsonl: no row has a reference in the column 'references', and rouge com"
    ):
        score_file(str(path), ["rouge"])
