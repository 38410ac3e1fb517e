"""The parts of the two benchmarks of metrics that measure nothing: what pairs are made of, and what the reports say."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import metrics_speed

    return metrics_speed


@pytest.fixture
def people(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import metrics_vs_people

    return metrics_vs_people


def test_commongen_pairs_have_a_reference(speed, tmp_path):
    folder = tmp_path / "commongen"
    folder.mkdir()
    for side, lines in {
        "src": ["dog run", "cat", "dog run", "sun shine", "sun shine"],
        "trg": ["A dog.", "Cat!", "Dogs run.", "x", "y"],
    }.items():
        (folder / f"train_{side}.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    pairs = speed.commongen(tmp_path, 1)
    assert (pairs.prompts, pairs.completions, pairs.references) == (["dog run"], ["A dog."], [("Dogs run.",)])
    assert pairs.columns("parent")["table"] == [[["concept", "dog"], ["concept", "run"]]]
    assert pairs.columns("totto_bleu")["highlighted_cells"] == [[[0, 0], [0, 1]]]
    assert pairs.columns("rouge") == {}
    assert len(speed.commongen(tmp_path, 9).completions) == 2


def test_speed_report(speed):
    fast = {"runs_a_model": False, "commongen_s": 2.0, "commongen_package_s": 8.0}
    calls = dict.fromkeys(speed.CALLS, 0.1)
    report = {
        "iteration_cpu_s": 10.0,
        "limit_s": 0.5,
        "repeats": 3,
        "pairs": {"commongen": 1000, "summaries": 10},
        "references": {"commongen": 2.0, "summaries": 1.0},
        "metrics": {
            "quick": fast | {"reward_s": calls},
            "slow": fast | {"reward_s": calls | {"again": 0.6}},
            "large": fast | {"runs_a_model": True, "reward_s": calls | {"again": 7.0}},
            "whole": fast | {"no_reward": "of no row"},
            "gone": {"absent": "not here"},
        },
    }
    lines = speed.markdown(report).splitlines()
    assert "| quick | 500 |  | 125 |  | 4.0 |" in lines
    assert "| quick | 0.100 | 0.100 | 0.100 | 0.100 | 1.0% | pass |" in lines
    assert "| slow | 0.100 | 0.600 | 0.100 | 0.100 | 6.0% | **fail** |" in lines
    assert "| large | 0.100 | 7.000 | 0.100 | 0.100 | 70.0% | runs a model |" in lines
    assert "| whole, as a reward | of no row |" in lines
    assert "| gone | not here |" in lines


def test_limit_comes_from_the_report_of_the_iteration(speed):
    assert speed.iteration_seconds(BENCHMARKS.parent / "reports" / "speed.json") == pytest.approx(8.59, abs=0.01)


def test_without_data_there_is_a_message(speed, people, monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("RL4LMS_TEST_DATA", raising=False)
    for program in (speed, people):
        monkeypatch.setattr("sys.argv", ["program"])
        assert program.main() == 2
        assert "RL4LMS_TEST_DATA" in capsys.readouterr().err
        monkeypatch.setattr("sys.argv", ["program", "--data", str(tmp_path)])
        assert program.main() == 2
        assert "has no folder" in capsys.readouterr().err


def test_votes_of_people(people, tmp_path):
    texts = {"0": {"src": "s", "ref_summ": "s", "sys_summs": {"0": {"sys_summ": "a b", "scores": {"fact": 0.5}}}}}
    (tmp_path / "bartscore_QAGS_CNN.json.gz").write_bytes(gzip.compress(json.dumps(texts).encode()))
    sentences = [
        {"responses": [{"response": vote} for vote in votes]} for votes in (["yes", "yes", "no"], ["no", "no", "yes"])
    ]
    (tmp_path / "mturk_cnndm.jsonl").write_text(json.dumps({"article": "s", "summary_sentences": sentences}) + "\n")
    judged = people.qags(tmp_path)
    assert judged.completions == ["a b"]
    assert judged.human["majority"].tolist() == [[0.5]]
    assert judged.human["votes"].tolist() == [[0.5]]


def test_table_marks_the_best_and_merges_equal_keys(people):
    def row(value: float) -> dict[str, dict[str, dict[str, float]]]:
        return {"fluency": {"kendall": {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 3}}}

    lines = people.table({"a": row(0.2), "b": row(0.5), "c": row(0.2)}, "kendall")
    assert lines[2:] == ["| b | **0.50** [0.40, 0.60] |", "| a, c | 0.20 [0.10, 0.30] |"]


def test_what_people_wrote_is_kept(people, tmp_path):
    report = tmp_path / "report.md"
    people.write_markdown(report, "one\n")
    report.write_text(report.read_text() + people.READING + "\nGood.\n")
    people.write_markdown(report, "two\n")
    assert report.read_text() == "two\n" + people.READING + "\nGood.\n"


def test_copied_pairs(people):
    assert people.copied("The cat sat . the dog", "A dog and the cat sat .") == 3 / 5
    assert people.copied("cat", "cat") == 0


def test_scores_have_one_sign_and_name_what_is_not_there(people):
    judged = people.Judged(
        ["s"] * 4, ["a b c", "a b d", "a e d", "f e d"], [("a b c",)] * 4, {"fluency": np.zeros((2, 2))}
    )
    absent: dict[str, str] = {}
    scores = people.scores_of(["ter", "parent", "dates"], judged, absent, {})
    assert scores["sentence_ter"].tolist() == [[0.0, pytest.approx(-100 / 3)], [pytest.approx(-200 / 3), -100.0]]
    assert set(absent) == {"parent", "dates"}
