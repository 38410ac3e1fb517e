"""What a rater answered: read from the fields of a page, checked, and turned from places on the page into outputs.

Fields of a page are named by the key of their question; `choice`, `best` and `worst` hold places on the page, 1 for the
first text. What is kept names outputs by their place in the item, 0 for the first, whatever their order on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl4lms.human_eval.forms import Form, Question

MAX_TEXT = 5_000
MAX_SPANS = 50

#: One value for each question: a number, a text, or a list of `{"words", "kind"}`; `choice` is the place of an output
#: or "tie", `best` and `worst` are places.
Answers = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Read:
    """What the fields of a page say.

    Attributes:
        answers: what was answered and is allowed.
        errors: by question what is wrong, in the language of the form.
    """

    answers: dict[str, Any]
    errors: dict[str, str]


def read_answers(
    form: Form, fields: Mapping[str, Sequence[str]], texts: Sequence[str], order: Sequence[int], *, draft: bool = False
) -> Read:
    """Read the fields of a page.

    Args:
        form: of the study.
        fields: by name all values that were sent.
        texts: of the outputs, in the order of the item.
        order: the outputs in the order of the page.
        draft: nothing is missing yet.
    """
    answers: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for key, (value, error) in _choices(form, fields, order).items():
        if error:
            errors[key] = form.word(error)
        elif value is not None:
            answers[key] = value
        elif not draft:
            errors[key] = form.word("required")
    if {"best", "worst"} <= answers.keys() and answers["best"] == answers["worst"]:
        errors["worst"] = form.word("same")
        if draft:
            del errors["worst"]
    for question in form.questions:
        value, error = _READERS[question.type](form, question, fields, texts)
        if error:
            errors[question.key] = error
        if value is not None:
            answers[question.key] = value
        elif question.type == "scale" and question.required and not error and not draft:
            errors[question.key] = form.word("required")
    return Read(answers, errors)


def _choices(form: Form, fields: Mapping[str, Sequence[str]], order: Sequence[int]) -> dict[str, tuple[Any, str]]:
    keys = {"pairwise": ["choice"], "best_worst": ["best", "worst"]}.get(form.kind, [])
    known: dict[str, Any] = {str(place + 1): output for place, output in enumerate(order)}
    if form.kind == "pairwise" and form.tie:
        known["tie"] = "tie"
    found: dict[str, tuple[Any, str]] = {}
    for key in keys:
        sent = _one(fields, key)
        found[key] = (None, "") if not sent else (known[sent], "") if sent in known else (None, "not_allowed")
    return found


def _one(fields: Mapping[str, Sequence[str]], key: str) -> str:
    """Return the one value of a field; several are none of the answers."""
    sent = fields.get(key, ())
    return sent[0] if len(sent) == 1 else "" if not sent else "\0"


def _scale(
    form: Form, question: Question, fields: Mapping[str, Sequence[str]], texts: Sequence[str]
) -> tuple[Any, str]:
    del texts
    sent = _one(fields, question.key)
    known = {str(value): value for value in question.values}
    return (known.get(sent), "" if not sent or sent in known else form.word("not_allowed"))


def _text(form: Form, question: Question, fields: Mapping[str, Sequence[str]], texts: Sequence[str]) -> tuple[Any, str]:
    del texts
    sent = _one(fields, question.key).replace("\r\n", "\n").strip().replace("\0", "")
    if len(sent) > MAX_TEXT:
        return None, form.word("too_long", MAX_TEXT)
    return sent or None, ""


def _spans(
    form: Form, question: Question, fields: Mapping[str, Sequence[str]], texts: Sequence[str]
) -> tuple[Any, str]:
    words = [text.replace("\r\n", "\n").strip() for text in fields.get(f"{question.key}_words", ())]
    kinds = list(fields.get(f"{question.key}_kind", ()))
    if len(words) > MAX_SPANS or len(kinds) != len(words):
        return None, form.word("not_allowed")
    found = []
    for text, kind in zip(words, kinds, strict=True):
        if not text:
            continue
        if not any(text in output for output in texts):
            return None, form.word("not_in_text")
        if kind not in question.categories:
            return None, form.word("which_kind")
        found.append({"words": text, "kind": kind})
    return found or None, ""


_READERS = {"scale": _scale, "text": _text, "spans": _spans}


def right(expected: Mapping[str, Any], answers: Answers) -> bool:
    """Return whether every expected answer was given; an expected list names several that are accepted."""
    for key, value in expected.items():
        accepted = value if isinstance(value, list) else [value]
        if answers.get(key) not in accepted:
            return False
    return True


def places_to_outputs(form: Form, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return expected answers of a form's example or check with outputs, 0 for the first, in place of places."""
    found: dict[str, Any] = {}
    for key, value in expected.items():
        several = value if isinstance(value, list) else [value]
        is_place = key in ("choice", "best", "worst") and form.kind != "likert"
        found[key] = [one - 1 if is_place and isinstance(one, int) else one for one in several]
    return found
