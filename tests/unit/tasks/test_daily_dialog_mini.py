from __future__ import annotations

from collections import Counter

import pytest

from rl4lms import rewards
from rl4lms.errors import ConfigError, DataError
from rl4lms.supervised.assets import word_tokenizer
from rl4lms.tasks import build
from rl4lms.tasks.daily_dialog import grammar
from rl4lms.tasks.daily_dialog.real import INTENTS
from tests.unit.tasks.mini import broken_share, check_base_data, check_mini, mini_task, train_from_start


def perfect(sample, text):
    return float(grammar.intents(text) == [sample.meta["intent_name"]])


def test_the_edition():
    check_mini("daily_dialog", perfect)
    check_base_data("daily_dialog")


def test_a_row_is_a_conversation_and_answers_with_one_intent():
    rows = [grammar.example(2, index) for index in range(400)]
    assert {len(row.turns) for row in rows} == {3, 4, 5}
    assert all(row.prompt == " ".join(f"{turn} <EOU>" for turn in row.turns) for row in rows)
    assert all(len(grammar.intents(turn)) == 1 for row in rows for turn in row.turns)
    counts = Counter(row.meta["intent_name"] for row in rows)
    assert set(counts) == set(INTENTS)
    assert min(counts.values()) > 0.15 * len(rows)
    assert all(INTENTS[row.meta["intent"]] == row.meta["intent_name"] for row in rows)


def test_the_last_turn_alone_does_not_tell_the_intent():
    """A promise is thanked for or asked about, news are asked about or answered by another promise."""
    after: dict[str, set[str]] = {}
    for index in range(800):
        row = grammar.example(0, index)
        after.setdefault(row.turns[-1], set()).add(row.meta["intent_name"])
    assert {"inform", "question"} in after.values()
    assert sum(len(found) > 1 for found in after.values()) > 10


def test_intents_by_hand():
    for text, intent in {
        "well , the party is on friday .": "inform",
        "thank you , it is kind of you to book the taxi .": "inform",
        "when will you book the taxi ?": "question",
        "could you book the taxi on friday ?": "directive",
        "maybe you should close the window .": "directive",
        "i am afraid i can not book the taxi .": "commissive",
        "i promise i will come to the party .": "commissive",
    }.items():
        assert grammar.intents(text) == [intent]
    for text in (
        "",
        "the party is friday on .",
        "the party is on friday",
        "the party is on friday ?",
        "could you book the salad ?",
        "when will you ?",
        "sure , i will close the window .",
        "sure , i will book the taxi . sure .",
    ):
        assert grammar.intents(text) == []


def test_errors_are_not_derivable():
    texts = [grammar.example(0, index).references[0] for index in range(300)]
    assert broken_share(texts, lambda text: bool(grammar.intents(text))) > 0.9


def test_classifiers_read_the_answer_and_not_what_was_asked():
    rows = grammar.labelled(part="reward", count=400, seed=1)
    read = [(text.split(" <EOU> "), label) for text, label in rows]
    assert all(grammar.intents(answer) == [label] for (_, answer), label in read)
    own = {row.turns[-1]: set() for row in (grammar.example(1, 200_000 + index) for index in range(400))}
    assert {last for (last, _), _ in read} <= set(own)
    broken = grammar.labelled(part="reward", count=400, seed=1, broken=1.0)
    assert [label for _, label in broken] == [label for _, label in rows]
    assert sum(a != b for (a, _), (b, _) in zip(rows, broken, strict=True)) > 300
    task = mini_task("daily_dialog")
    reward, other = task.classifiers["intent"], task.classifiers["evaluator"]
    assert reward.labels == other.labels == INTENTS
    assert reward.data_options["part"] != other.data_options["part"]
    assert reward.seed != other.seed
    assert reward.shape != other.shape


def test_a_mark_is_a_word_wherever_it_stands():
    """`intent_accuracy` joins the last turn, the mark and the completion without a space."""
    tokenizer = word_tokenizer(["<EOU>", "a", "b"])
    assert tokenizer.tokenize("a <EOU>b") == tokenizer.tokenize("a<EOU> b") == ["a", "<EOU>", "b"]


def test_gold_measures():
    assert grammar.grammar_metric(["the party is on friday .", "when is the party ?", "friday"], [0, 0, 0]) == {
        "derivable": [1.0, 1.0, 0.0],
        "gold_intent": [1.0, 0.0, 0.0],
    }
    with pytest.raises(DataError, match="intent"):
        grammar.grammar_metric(["x"])
    with pytest.raises(ConfigError, match="gold"):
        rewards.build("daily_dialog_grammar")


def test_context_size_is_of_real_data():
    with pytest.raises(ConfigError, match="edition: full"):
        build("daily_dialog", context_size=3)


@pytest.mark.slow
def test_a_run(tmp_path, monkeypatch):
    numbers = train_from_start("daily_dialog", tmp_path, monkeypatch)
    assert numbers["eval/derivable"] >= 0
    assert numbers["eval/meteor_exact_stem"] > 0.1  # of random words: 0.03
