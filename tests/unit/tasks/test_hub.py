"""Rows as the Hub has them, by the documented columns. No test asks the Hub."""

from __future__ import annotations

from typing import Any

import pytest

from rl4lms.errors import DataError
from rl4lms.tasks import build, sources
from tests.unit.tasks.test_totto import row as totto_row


def two_languages(split: str) -> dict[str, Any]:
    return {"en": f"{split} sleeps.", "de": f"{split} schläft."}


def story(split: str) -> dict[str, Any]:
    summary = {"text": f"A story of {split}.", "tokens": []}
    answers = [{"text": "One", "tokens": []}, {"text": "Two", "tokens": []}]
    return {"document": {"id": split, "summary": summary}, "question": {"text": "Who?"}, "answers": answers}


def facts(split: str) -> dict[str, Any]:
    lex = {"text": ["Right.", "Wrong."], "comment": ["good", "bad"]}
    return {"modified_triple_sets": {"mtriple_set": [[f"{split} | is | B"]]}, "lex": lex, "category": "City"}


ROWS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "commongen": (lambda split: {"concepts": ["a", split], "target": "A b."}, ("A b.",)),
    "multi30k": (two_languages, ("train schläft.",)),
    "iwslt2017": (lambda split: {"translation": two_languages(split)}, ("train schläft.",)),
    "wmt16": (lambda split: {"translation": two_languages(split)}, ("train schläft.",)),
    "daily_dialog": (
        lambda split: {"dialog": [f"{split} ", *"abcde"], "act": [1] * 6, "emotion": [0] * 6},
        ("e",),
    ),
    "totto": (
        lambda split: (
            totto_row(table_webpage_url=split, table_page_title=split, overlap_subset="False")
            | {"sentence_annotations": {"final_sentence": ["One.", "Two."]}}
        ),
        ("One.", "Two."),
    ),
    "narrative_qa": (story, ("one", "two")),
    "cnn_daily_mail": (lambda split: {"article": split, "highlights": "One.\nTwo.", "id": "1"}, ("One.\nTwo.",)),
    "dialogsum": (lambda split: {"dialogue": split, "summary": "One.", "topic": "t", "id": "1"}, ("One.",)),
    "webnlg": (facts, ("Right.",)),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_hub(monkeypatch, name):
    make, references = ROWS[name]
    monkeypatch.setattr(sources, "load_dataset", lambda path, split, **options: [make(split)])
    samples = build(name, edition="full").samples("train")
    assert [sample.references for sample in samples] == [references]
    assert samples[0].prompt.strip()


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("commongen", {"concepts": ["a", "b"], "target": ""}),
        ("totto", totto_row(sentence_annotations={"final_sentence": [""]})),
        ("webnlg", facts("x") | {"lex": {"text": [], "comment": []}}),
    ],
)
def test_hidden_references_are_refused(monkeypatch, name, hidden):
    make, _ = ROWS[name]
    monkeypatch.setattr(
        sources, "load_dataset", lambda path, split, **options: [hidden if split == "test" else make(split)]
    )
    assert build(name, edition="full").samples("train")
    with pytest.raises(DataError, match=r"references of the test split are hidden .* the data set on the Hub"):
        build(name, edition="full").samples("test")


def test_without_the_hub_the_message_says_what_to_do():
    with pytest.raises(DataError, match=r"the Hub cannot be reached .*; or name a folder .* with task\.data_dir"):
        build("commongen", edition="full").samples("train")
