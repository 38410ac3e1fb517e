from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from rl4lms.tasks.rules import RuleTable

FEATURES = {"n": ("sg", "pl"), "p": ("good", "bad")}
LINKED = {"q": ("p", {"good": "bad", "bad": "good"})}

AGREEMENT = """
S<p> -> the DOG<n> BE<n> ADJ<p>          # plain
  | the DOG<n> BE<n> not ADJ<q>
DOG<sg> -> dog
DOG<pl> -> dogs
BE<sg> -> is
BE<pl> -> are
ADJ<good> -> nice
ADJ<bad> -> mean
"""


def table(text: str) -> RuleTable:
    return RuleTable(text, FEATURES, LINKED)


def accepts(rules: RuleTable, text: str) -> bool:
    return rules.accepts("S", text.split())


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("the dog is nice", True, False),
        ("the dogs are nice", True, False),
        ("the dog is not nice", False, True),
        ("the dogs are not mean", True, False),
        ("the dogs is nice", False, False),  # agreement
        ("the dog is", False, False),
        ("the dog is nice nice", False, False),
        ("", False, False),
    ],
)
def test_features_carry_agreement_and_linked_features_turn_around(text, good, bad):
    rules = table(AGREEMENT)
    assert rules.accepts("S<good>", text.split()) is good
    assert rules.accepts("S<bad>", text.split()) is bad


def test_everything_that_is_written_is_accepted_and_nothing_is_left_out():
    rules = table(AGREEMENT)
    rng = Random(0)
    written = {" ".join(rules.write("S<good>", rng)) for _ in range(200)}
    assert written == {"the dog is nice", "the dogs are nice", "the dog is not mean", "the dogs are not mean"}
    assert all(rules.accepts("S<good>", text.split()) for text in written)


def test_words_and_lexicon():
    rules = table(AGREEMENT)
    assert rules.words == {"the", "dog", "dogs", "is", "are", "not", "nice", "mean"}
    assert rules.lexicon("DOG<pl>") == ("dogs",)


def test_weights():
    rules = table("S -> rare | often @9")
    rng = Random(1)
    counts = Counter(rules.write("S", rng)[0] for _ in range(5000))
    assert 0.08 < counts["rare"] / 5000 < 0.12


def test_articles_follow_the_word():
    rules = table("S -> it is AN:ADJ film\nADJ -> dull | awful")
    assert accepts(rules, "it is a dull film")
    assert accepts(rules, "it is an awful film")
    assert not accepts(rules, "it is an dull film")
    assert not accepts(rules, "it is a awful film")


def test_ambiguous_prefixes_are_all_followed():
    rules = table("S -> A B | A\nA -> x | x x | x x x\nB -> x end")
    assert accepts(rules, "x x x end")
    assert not accepts(rules, "x x x x x end")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S -> A", "undefined"),
        ("S -> A x\nA -> S y", "left recursion"),
        ("S x", "no '->'"),
        ("S -> x | ", "empty"),
        ("S -> AN:A\nA -> b c", "article"),
    ],
)
def test_malformed_tables_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        table(text)


def test_readings_tell_what_symbols_stand_for():
    rules = table("S -> WHO met AN:THING | WHO met AN:THING in PLACE\nWHO -> x y | x\nTHING -> owl | cat\nPLACE -> y z")
    assert rules.readings("S", ["x", "y", "met", "an", "owl"], {"WHO", "THING"}) == {
        frozenset({("WHO", "x y"), ("THING", "owl")})
    }
    assert rules.readings("S", ["x", "met", "a", "cat", "in", "y", "z"], {"PLACE"}) == {frozenset({("PLACE", "y z")})}
    assert rules.readings("S", ["x", "met", "a", "cat"], {"PLACE"}) == {frozenset()}  # derivable, and tells nothing
    assert rules.readings("S", ["x", "met", "an", "cat"], {"WHO"}) == set()


def test_an_ambiguous_text_has_several_readings():
    rules = table("S -> A B\nA -> x | x x\nB -> x | x x")
    assert rules.readings("S", ["x", "x", "x"], {"A"}) == {frozenset({("A", "x")}), frozenset({("A", "x x")})}
