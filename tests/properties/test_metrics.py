"""What holds for every metric: no text beats the reference, rows do not see each other, any text has a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rl4lms.metrics import build, compute
from rl4lms.metrics.wordnet import own_folder
from rl4lms.plugins import registry
from rl4lms.types import CorpusValue
from tests.unit.metrics.wordnet_files import write_wordnet

# Every registered metric is either here, or named below with the reason why it is tested elsewhere.
AGAINST_REFERENCES: dict[str, dict[str, Any]] = {
    "rouge": {},
    "rouge_combined": {},
    "rouge mean": {"name": "rouge", "multi_reference": "mean"},
    "coco_rouge_l": {},
    "rouge_l_max": {},
    "bleu": {},
    "bleu 13a floor": {"name": "bleu", "tokenize": "13a", "smoothing": "floor", "lowercase": True},
    "sacrebleu": {},
    "chrf": {},
    "chrf++": {"name": "chrf", "word_order": 2},
    "ter": {},
    "wer": {},
    "wer lower-cased": {"name": "wer", "lowercase": True, "no_punct": True},
    "cer": {},
    "exact_match": {},
    "token_f1": {},
    "meteor": {},
    "meteor_exact_stem": {},
    "cider": {},
    "cider_d": {},
}
WITHOUT_REFERENCES = {"diversity": {}, "increasing_numbers": {}, "dates": {}, "concept_coverage": {}}
ELSEWHERE = {
    "classifier": "runs a model: tests/unit/metrics/test_classifier.py",
    "perplexity": "runs a model: tests/unit/metrics/test_perplexity.py",
    "reference_perplexity": "runs the policy: tests/unit/metrics/test_perplexity.py",
    "bert_score": "runs a model: tests/unit/metrics/test_bert_score.py",
    "bleurt": "runs a model: tests/unit/metrics/test_bleurt.py",
    "embedding_similarity": "runs a model: tests/unit/metrics/test_embeddings.py",
    "summac_zs": "runs a model: tests/unit/metrics/test_summac.py",
    "summac_conv": "runs a model: tests/unit/metrics/test_summac.py",
    "intent_accuracy": "runs a model: tests/unit/metrics/test_intent.py",
    "spice": "runs a Java program: tests/unit/metrics/test_spice.py",
    "parent": "judges against a table, too, so a text can beat the reference: tests/unit/metrics/test_parent.py",
    "totto_parent": "as parent: tests/unit/metrics/test_totto.py",
    "totto_bleu": "one value for a whole set: tests/parity/test_totto.py",
    "nist": "one value for a whole set: tests/parity/test_nist.py",
    "sari": "judges against the source, too, so a text can beat the reference: tests/parity/test_sari.py",
    "local_recall": "has keys by the number of references: tests/unit/metrics/test_local_recall.py",
}
ELSEWHERE |= {
    name: "of one task: tests/unit/tasks"
    for name in registry.metrics.names()
    if getattr(registry.metrics.get(name), "gold", False)
}
# Of several references these take the best one.
MAX_TYPE = [
    "rouge",
    "rouge_combined",
    "coco_rouge_l",
    "rouge_l_max",
    "chrf",
    "exact_match",
    "token_f1",
    "meteor",
    "meteor_exact_stem",
]

CORPUS = [
    ("the cat sat on the mat", "a cat"),
    ("dogs run in the park .",),
    ("it was 2020-01-01 today",),
    ("a b c", "c b a"),
]

WORDS = st.sampled_from(
    [
        "the",
        "cat",
        "cats",
        "sat",
        "running",
        "ran",
        "Dog",
        "dogs",
        "a",
        "b",
        ".",
        ",",
        "U.S.",
        "état",
        "42",
        "it's",
        "\n",
    ]
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=14).map(" ".join)
# Anything that a broken decoder may write: every script, emoji, combining marks, control characters and halves of
# surrogate pairs.
ANYTHING = st.one_of(
    SENTENCES, st.text(max_size=30), st.text(st.characters(categories=["Cs", "Mn", "So", "Cc", "Lo"]), max_size=12)
)


def metric(name: str) -> Any:
    """The metric of a row of the tables above, with its corpus."""
    options = {**AGAINST_REFERENCES, **WITHOUT_REFERENCES}[name]
    if name == "meteor" and not (own_folder() / "index.noun").is_file():
        write_wordnet(own_folder())  # a few words
    built = build({"name": name, **options})
    if getattr(built, "corpus", None) is not None:
        built.fit(CORPUS, "test")
    return built


def per_row(built: Any, completions: Sequence[str], references: Sequence[tuple[str, ...]]) -> dict[str, list[float]]:
    """Checked per-row values by key."""
    columns = {"concepts": [["cat", "run"]] * len(completions)}
    batch = {
        "prompts": [""] * len(completions),
        "completions": list(completions),
        "references": list(references),
        "columns": columns,
    }
    return {result.key: list(result.values) for result in compute(built, **batch) if result.values is not None}


def better(built: Any, key: str) -> float:
    """1 where higher is better, -1 where lower is."""
    said = built.higher_is_better
    return 1.0 if (said if isinstance(said, bool) else said[key]) else -1.0


def test_every_metric_is_in_a_table():
    named = {options.get("name", name) for name, options in {**AGAINST_REFERENCES, **WITHOUT_REFERENCES}.items()}
    assert named | set(ELSEWHERE) == set(registry.metrics.names())
    for why in ELSEWHERE.values():
        assert (Path(__file__).parents[2] / why.rpartition(": ")[2]).exists(), why


@pytest.mark.parametrize("name", AGAINST_REFERENCES)
@settings(max_examples=15)
@given(candidate=SENTENCES, reference=SENTENCES)
def test_no_text_beats_the_reference_itself(name, candidate, reference):
    built = metric(name)
    values = per_row(built, [candidate, reference], [(reference,)] * 2)
    for key, (of_candidate, of_reference) in values.items():
        sign = better(built, key)
        assert sign * of_candidate <= sign * of_reference + 1e-9, key


@pytest.mark.parametrize("name", [*AGAINST_REFERENCES, *WITHOUT_REFERENCES])
@settings(max_examples=10)
@given(
    rows=st.lists(st.tuples(ANYTHING, st.lists(ANYTHING, min_size=1, max_size=3).map(tuple)), min_size=2, max_size=5),
    data=st.data(),
)
def test_rows_do_not_see_each_other(name, rows, data):
    built = metric(name)
    together = per_row(built, [text for text, _ in rows], [texts for _, texts in rows])
    order = data.draw(st.permutations(range(len(rows))))
    shuffled = per_row(built, [rows[i][0] for i in order], [rows[i][1] for i in order])
    for key, values in together.items():
        assert [values[i] for i in order] == shuffled[key]
        alone = [per_row(built, [text], [texts])[key][0] for text, texts in rows]
        assert values == alone


@pytest.mark.parametrize("name", [*AGAINST_REFERENCES, *WITHOUT_REFERENCES])
@settings(max_examples=20)
@given(completion=ANYTHING, references=st.lists(ANYTHING, min_size=1, max_size=3).map(tuple))
@example(completion="", references=("",))
@example(completion="", references=("the cat",))
@example(completion="the cat", references=("",))
@example(completion=" \n\t ", references=("...", "\u200b"))
@example(completion="\ud800", references=("\udfff\ud83d",))
@example(completion="e\u0301 👩\u200d👩\u200d👧 العربية 中文字", references=("é 中文 字",))
def test_any_text_has_a_finite_value(name, completion, references):
    built = metric(name)
    for key, values in per_row(built, [completion], [references]).items():
        assert math.isfinite(values[0]), key
    for key, value in built(
        completions=[completion], references=[references], prompts=[""], concepts=[["cat"]]
    ).items():
        if isinstance(value, CorpusValue | float):
            assert math.isfinite(value.value if isinstance(value, CorpusValue) else value), key


@pytest.mark.parametrize("name", MAX_TYPE)
@settings(max_examples=15)
@given(candidate=SENTENCES, references=st.lists(SENTENCES, min_size=1, max_size=3), another=SENTENCES)
def test_another_reference_never_lowers_the_best(name, candidate, references, another):
    built = metric(name)
    values = per_row(built, [candidate] * 2, [tuple(references), (*references, another)])
    for key, (few, more) in values.items():
        assert more >= few - 1e-12, key


@pytest.mark.parametrize("name", [*AGAINST_REFERENCES, *WITHOUT_REFERENCES])
def test_every_number_says_how_it_was_computed(name):
    built = metric(name)
    batch = {
        "prompts": ["p"],
        "completions": ["a cat sat"],
        "references": [("the cat sat",)],
        "columns": {"concepts": [["cat"]]},
    }
    for result in compute(built, **batch):
        assert result.signature, result.key
