from __future__ import annotations

import copy
import pickle

import pytest

from rl4lms.errors import ConfigError, DataError, MissingPartError
from rl4lms.metrics import build
from rl4lms.metrics.meteor import Meteor, MeteorExactStem
from rl4lms.metrics.wordnet import own_folder
from tests.unit.metrics.wordnet_files import write_wordnet


def score(
    matches: int, size: int, reference_size: int, chunks: int, alpha: float = 0.9, beta: float = 3.0, gamma: float = 0.5
) -> float:
    """From the harmonic mean as it is written in the paper."""
    precision, recall = matches / size, matches / reference_size
    return 1 / (alpha / recall + (1 - alpha) / precision) * (1 - gamma * (chunks / matches) ** beta)


def one(metric: MeteorExactStem, text: str, *references: str) -> float:
    ((value,),) = metric([text], [references]).values()
    return value


@pytest.fixture
def meteor(tmp_path, monkeypatch) -> Meteor:
    monkeypatch.setenv("RL4LMS_CACHE", str(tmp_path))
    write_wordnet(own_folder())
    return build("meteor")


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("a b c d", "a b c d", score(4, 4, 4, 1)),
        ("c d a b", "a b c d", score(4, 4, 4, 2)),
        ("a x b", "a b", score(2, 3, 2, 2)),  # neighbours in one text only
        ("a", "a b c", score(1, 1, 3, 1)),
        ("The dogs ran", "the dog ran", score(3, 3, 3, 1)),  # case and stems
        ("dog dogs", "dogs cat dog", score(2, 2, 3, 2)),  # equal words before equal stems
        ("a b a", "a c a", score(2, 3, 3, 2)),
        ("a", "x a y a", score(1, 1, 4, 1)),
        ("Yes, he is.", "yes he is", score(3, 5, 3, 2)),  # punctuation marks are words
        ("a", "b", 0.0),
        ("", "a", 0.0),
        ("a", "", 0.0),
        ("", "", 0.0),
    ],
)
def test_by_hand(text, reference, expected):
    assert one(MeteorExactStem(), text, reference) == pytest.approx(expected, abs=1e-12)


def test_repeated_words_are_aligned_from_the_end():
    # the last a of the text takes the last a of the reference, so b follows no a that is its neighbour
    assert one(MeteorExactStem(), "a b", "a b a") == pytest.approx(score(2, 2, 3, 2))
    assert one(MeteorExactStem(), "b a", "a b a") == pytest.approx(score(2, 2, 3, 1))


def test_parameters():
    for options in ({"alpha": 0.5}, {"beta": 1.0}, {"gamma": 0.0}, {"alpha": 1.0, "gamma": 1.0}, {"alpha": 0.0}):
        assert one(MeteorExactStem(**options), "c d a", "a b c d") == pytest.approx(score(3, 3, 4, 2, **options)), (
            options
        )
    with pytest.raises(ConfigError, match="alpha"):
        build({"name": "meteor", "alpha": 1.5})


def test_best_reference_counts():
    metric = MeteorExactStem()
    assert one(metric, "a b c", "x", "a b", "a b c") == one(metric, "a b c", "a b c") > one(metric, "a b c", "x", "a b")
    with pytest.raises(DataError, match="row 2 has none"):
        metric(["a", "b"], [("a",), ()])


def test_synonyms(meteor):
    assert one(meteor, "the hound sprints", "the dog runs") == pytest.approx(score(3, 3, 3, 1))
    assert one(meteor, "a car", "a automobile") == pytest.approx(score(1, 2, 2, 1))  # the stem `automobil` is no word
    assert one(meteor, "a big hound", "a large dog") == pytest.approx(score(2, 3, 3, 2))
    assert one(MeteorExactStem(), "the hound", "the dog") == pytest.approx(score(1, 2, 2, 1))


def test_synonyms_come_last(meteor):
    # `dog` belongs to `dogs` by its stem, so nothing is left for `hound`
    assert one(meteor, "hound dog", "dogs x") == pytest.approx(score(1, 2, 2, 1))
    # of two synonyms the last one is taken, each once
    assert one(meteor, "hound hound", "dog x dog") == pytest.approx(score(2, 2, 3, 2))
    assert one(meteor, "hound x", "dog dog x") == pytest.approx(score(2, 2, 3, 1))


def test_without_wordnet(tmp_path, monkeypatch):
    monkeypatch.setenv("RL4LMS_CACHE", str(tmp_path))
    monkeypatch.setattr("nltk.data.path", [str(tmp_path / "nltk")])
    with pytest.raises(
        MissingPartError,
        match=r"WordNet, which METEOR needs, is missing; run: rl4lms metrics setup-wordnet, or use meteor_exact_stem",
    ):
        build("meteor")
    assert build("meteor_exact_stem")(completions=["a"], references=[("a",)]) == {"meteor_exact_stem": [0.5]}


def test_keys_and_signatures(meteor):
    assert set(meteor(["a"], [("a",)])) == {"meteor"}
    assert meteor.signature.startswith(
        "meteor|stages:exact+stem+wordnet|alpha:0.9|beta:3|gamma:0.5|tokenize:treebank|version:rl4lms-"
    )
    assert MeteorExactStem().signature.startswith("meteor_exact_stem|stages:exact+stem|")
    assert meteor.higher_is_better


def test_copies_and_other_processes(meteor):
    for other in (pickle.loads(pickle.dumps(meteor)), copy.deepcopy(meteor)):
        assert one(other, "the hound", "the dog") == one(meteor, "the hound", "the dog") > 0.5


def test_odd_texts():
    metric = MeteorExactStem()
    for text in ("...", "e\u0301", "🙂🙂", "日本語", "שלום", "\ud800x", "\x00", "a\u2028b"):
        assert 0 < one(metric, text, text) <= 1, ascii(text)
        assert one(metric, text, "dog") == one(metric, "dog", text) == 0.0, ascii(text)
