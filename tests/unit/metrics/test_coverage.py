from __future__ import annotations

import gzip
import json
import time

import pytest

from rl4lms.errors import DataError
from rl4lms.metrics import build
from rl4lms.metrics.coverage import ConceptCoverage, concepts_of, forms, missing_concepts


def share(text: str, concepts: object, **options: bool) -> float | None:
    return ConceptCoverage(**options)([text], concepts=[concepts])["concept_coverage"][0]


def test_share():
    assert share("A skier skis down the mountain", ["ski", "mountain", "skier", "snow"]) == 0.75
    assert share("", ["ski"]) == 0.0
    assert share("...", ["ski"]) == 0.0
    assert share("anything", []) is None
    assert share("The DOG's hat", ["Dog", "HAT"]) == 1.0
    assert share("dog dog", ["dog", "dog", "cat"]) == 0.5  # concepts count once
    assert share("a catalogue", ["cat"]) == 0.0


def test_without_inflection():
    assert share("two dogs ran", ["dog", "run", "two"], inflect=False) == pytest.approx(1 / 3)
    assert share("two dogs ran", ["dog", "run", "two"]) == 1.0


@pytest.mark.parametrize(
    "concepts", ["dog cat", "dog, cat", "dog#cat", "dog_N#cat_N", " dog  cat ", ["dog", "cat"], ("dog_N", "cat")]
)
def test_how_concepts_may_be_given(concepts):
    assert concepts_of(concepts, "x") == ["dog", "cat"]
    assert share("a dog", concepts) == 0.5


def test_phrases():
    assert share("he eats ice creams", ["ice cream"]) == 1.0
    assert share("he eats cream on ice", ["ice cream"]) == 0.0
    assert share("a well-known ski-lift", ["lift", "well-known"]) == 1.0


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("dog", "dogs"),
        ("walk", "walks walked walking"),
        ("hope", "hopes hoped hoping"),
        ("hop", "hops hopped hopping"),
        ("try", "tries tried trying"),
        ("play", "plays played playing"),
        ("die", "dies died dying dice"),
        ("see", "sees saw seen seeing"),
        ("box", "boxes boxed boxing"),
        ("watch", "watches watched watching"),
        ("go", "goes went gone going"),
        ("potato", "potatoes"),
        ("photo", "photos"),
        ("knife", "knives"),
        ("leaf", "leaves"),
        ("woman", "women"),
        ("travel", "travels travelled traveled travelling traveling"),
        ("visit", "visits visited visiting"),
        ("quit", "quits quitting quit"),
        ("quiz", "quizzes"),
        ("bus", "buses"),
        ("panic", "panicked panicking"),
        ("refuel", "refuelled refueled refuelling"),
        ("oasis", "oases"),
        ("cactus", "cacti cactuses"),
        ("be", "is are was were been being am"),
        ("write", "writes wrote written writing"),
        ("put", "puts putting"),
        ("look", "looked looking"),
        ("mix", "mixed mixing"),
        ("snow", "snowed snowing"),
        ("child", "children"),
    ],
)
def test_forms(base, expected):
    assert set(expected.split()) <= forms(base)


@pytest.mark.parametrize(
    ("base", "wrong"),
    [
        ("hop", "hoped"),
        ("hope", "hopped"),
        ("dog", "doggy"),
        ("ski", "skier"),
        ("try", "trys"),
        ("cat", "cater"),
        ("plan", "planed"),
        ("bus", "bu"),
    ],
)
def test_other_words_are_no_forms(base, wrong):
    assert wrong not in forms(base)


def test_missing_concepts():
    assert missing_concepts("a dog runs", ["cat", "run", "dog", "jump"]) == ["cat", "jump"]
    assert missing_concepts("a dog runs", ["run"], inflect=False) == ["run"]
    for text in ("\ud800 dog", "🙂 dog", "dog\u0301 dog", "日本語 dog"):
        assert missing_concepts(text, ["dog", "日本語"])[-1:] == ([] if "日" in text else ["日本語"])


def test_errors_for_users():
    metric = build({"name": "concept_coverage", "column": "words"})
    with pytest.raises(DataError, match="needs the data column 'words'"):
        metric(completions=["a"], concepts=[["a"]])
    for wrong in (None, 3, [3], {"a": 1}):
        with pytest.raises(DataError, match="words of row 2 is"):
            metric(completions=["a", "a"], words=[["a"], wrong])
    assert metric.signature.startswith("concept_coverage|inflect:yes|")


def test_long_texts_take_no_time():
    started = time.process_time()
    missing_concepts("word " * 20_000, ["cat", "ice cream", "run"])
    assert time.process_time() - started < 1


def test_people_use_the_concepts(test_data):
    """Those who wrote CommonGen's references had to use every concept; what is missed are slips (`flys`, `wraped`) and
    damaged concepts.
    """
    folder = test_data / "commongen"
    rows = []
    for part in ("dev", "test"):
        for line in (folder / f"commongen.{part}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows += [(text, row["concept_set"]) for text in row["scene"]]
    with (
        gzip.open(folder / "train_src.txt.gz", "rt", encoding="utf-8") as one,
        gzip.open(folder / "train_trg.txt.gz", "rt", encoding="utf-8") as two,
    ):
        train = [(text, concepts) for concepts, text in zip(one, two, strict=True)][:20_000]
    for part, least in ((rows, 0.9995), (train, 0.999)):
        values = ConceptCoverage()([text for text, _ in part], concepts=[concepts for _, concepts in part])[
            "concept_coverage"
        ]
        assert sum(values) / len(values) > least
    bare = ConceptCoverage(inflect=False)([text for text, _ in rows], concepts=[concepts for _, concepts in rows])[
        "concept_coverage"
    ]
    assert sum(bare) / len(bare) < 0.75
