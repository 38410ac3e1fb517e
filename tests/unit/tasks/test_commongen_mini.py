from __future__ import annotations

import pytest

from rl4lms import rewards
from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics import load
from rl4lms.tasks.commongen import grammar
from rl4lms.tasks.commongen.table import forms, plural
from tests.unit.tasks.mini import broken_share, check_base_data, check_mini, mini_task, train_from_start


def perfect(sample, text):
    return float(grammar.solved(text, sample.meta["concepts"]))


def test_the_edition():
    check_mini("commongen", perfect)
    check_base_data("commongen")


def test_a_row_is_a_set_of_concepts_and_sentences_with_all_of_them():
    rows = [grammar.example(3, index) for index in range(500)]
    assert {len(row.meta["concepts"]) for row in rows} == {3, 4, 5}
    assert all(row.prompt.split() == sorted(row.meta["concepts"]) for row in rows)
    covered = load("concept_coverage")  # the rules of the published metric, which know nothing of this table
    for row in rows:
        concepts = [list(row.meta["concepts"])] * len(row.references)
        values = covered.compute(predictions=list(row.references), concepts=concepts)
        assert values["concept_coverage"] == 1.0


def test_errors_are_not_derivable():
    texts = [grammar.example(0, index).references[0] for index in range(300)]
    assert broken_share(texts, grammar.derivable) > 0.9
    for text in (
        "a dog are chasing the cat .",
        "a dog chases a fence .",
        "the man eats a pizza",
        "",
        "an boy throws a ball .",
    ):
        assert not grammar.derivable(text)
    assert grammar.derivable("an old boy throws a ball .")


def test_solved_means_all_concepts_in_any_form():
    concepts = ("ball", "boy", "throw")
    assert grammar.solved("two boys threw the balls .", concepts)
    assert not grammar.solved("two boys threw the balloons .", concepts)
    assert not grammar.solved("boy throw ball", concepts)
    assert grammar.grammar_metric(["two boys threw the balls .", "boy ."], [concepts, concepts]) == {
        "derivable": [1.0, 0.0],
        "solved": [1.0, 0.0],
    }
    with pytest.raises(DataError, match="concepts"):
        grammar.grammar_metric(["x"])


def test_inflections():
    """Against forms that were written down by hand, some from each rule."""
    assert [plural(noun) for noun in ("puppy", "boy", "brush", "child", "bus")] == [
        "puppies",
        "boys",
        "brushes",
        "children",
        "buses",
    ]
    assert forms("carry") == {"sg": "carries", "pl": "carry", "ing": "carrying", "past": "carried", "done": "carried"}
    assert forms("trim") == {"sg": "trims", "pl": "trim", "ing": "trimming", "past": "trimmed", "done": "trimmed"}
    assert forms("ride")["ing"] == "riding"


def test_gold_measures_are_no_rewards():
    with pytest.raises(ConfigError, match="gold"):
        rewards.build("commongen_grammar")
    assert mini_task("commongen").models["base"].architecture == "t5"


@pytest.mark.slow
def test_a_run(tmp_path, monkeypatch):
    numbers = train_from_start("commongen", tmp_path, monkeypatch)
    assert numbers["eval/derivable"] >= 0
    assert numbers["eval/meteor_exact_stem"] > 0.1  # of an untrained model: below 0.01
