"""What a template needs to show an item, and nothing that raters are not told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rl4lms.human_eval.answers import MAX_SPANS, MAX_TEXT
from rl4lms.human_eval.forms import Context, Example, Form, Question
from rl4lms.human_eval.records import Page

_MORE_ROWS = 3  # of words with an error, for browsers without the script


def field_names(form: Form) -> set[str]:
    """Return the names of the fields of an item."""
    names = {"active", *{"pairwise": ("choice",), "best_worst": ("best", "worst")}.get(form.kind, ())}
    for question in form.questions:
        spans = (f"{question.key}_words", f"{question.key}_kind")
        names |= set(spans) if question.type == "spans" else {question.key}
    return names


def fields_of(form: Form, answers: Mapping[str, Any], order: Sequence[int]) -> dict[str, list[str]]:
    """Return the fields of a page that lead to answers."""
    fields: dict[str, list[str]] = {}
    spans = {question.key for question in form.questions if question.type == "spans"}
    places = {"choice", "best", "worst"} if form.kind != "likert" else set()
    for key, value in answers.items():
        if key in spans:
            fields[f"{key}_words"] = [one["words"] for one in value]
            fields[f"{key}_kind"] = [one["kind"] for one in value]
        else:
            is_place = key in places and isinstance(value, int)
            fields[key] = [str(order.index(value) + 1 if is_place else value)]
    return fields


def context_view(context: Context, shown: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what is shown of a prompt, as its form wants it; as a text where there is nothing of that kind."""
    kind: str = context.show
    if kind == "nothing":
        return None
    if kind in ("turns", "table") and not shown.get(kind):
        kind = "text"
    value = shown.get("text" if kind == "article" else kind)
    return {"kind": kind, "label": context.label, "value": value, "title": shown.get("title", "")} if value else None


def example_answers(form: Form, example: Example) -> list[tuple[str, str]]:
    """Return the answers of an example in words: each question, and what is right."""
    asked = {"choice": form.question, "best": form.word("best"), "worst": form.word("worst")}
    scales = {question.key: question for question in form.scales}

    def words(key: str, value: Any) -> str:
        if key in scales:
            return f"{value} {scales[key].label(value)}".strip()
        return form.word("tie") if value == "tie" else form.word("text_n", value)

    found = []
    for key, value in example.answers.items():
        several = value if isinstance(value, list) else [value]
        text = scales[key].text if key in scales else asked[key]
        found.append((text, " / ".join(words(key, one) for one in several)))
    return found


def item_view(form: Form, page: Page, fields: Mapping[str, Sequence[str]], errors: Mapping[str, str]) -> dict[str, Any]:
    """Return what is shown on a page.

    Args:
        form: of the study.
        page: of the rater.
        fields: as they are to be filled.
        errors: by question what is wrong with them.
    """
    texts = [page.texts[output] for output in page.order]
    questions = [*_choices(form, len(texts), fields), *(_question(form, one, fields) for one in form.questions)]
    for question in questions:
        question["error"] = errors.get(question["key"], "")
    return {
        "context": context_view(form.context, page.context),
        "texts": texts,
        "questions": questions,
        "errors": [question for question in questions if question["error"]],
    }


def _choices(form: Form, count: int, fields: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    texts = [(str(place), form.word("text_n", place), str(place)) for place in range(1, count + 1)]
    if form.kind == "pairwise":
        options = [texts[0], *([("tie", form.word("tie"), "0 t")] if form.tie else []), texts[1]]
        return [_radios("choice", form.question, "", options, fields)]
    if form.kind == "best_worst":
        best = _radios("best", form.word("best"), form.question, texts, fields)
        return [best, _radios("worst", form.word("worst"), "", texts, fields)]
    return []


def _radios(
    key: str, text: str, hint: str, options: Sequence[tuple[str, str, str]], fields: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    sent = (fields.get(key) or ("",))[0]
    shown = [
        {"value": value, "label": label, "shortcuts": keys, "checked": value == sent, "number": ""}
        for value, label, keys in options
    ]
    question = {"key": key, "type": "choice", "text": text, "hint": hint, "options": shown, "required": True}
    return {**question, "first": f"{key}-1"}


def _question(form: Form, question: Question, fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    key = question.key
    shown: dict[str, Any] = {"key": key, "type": question.type, "text": question.text, "hint": question.hint}
    sent = (fields.get(key) or ("",))[0]
    if question.type == "scale":
        digits = question.low >= 0 and question.high <= 9
        options = [
            {
                "value": str(value),
                "number": str(value),
                "label": question.label(value),
                "shortcuts": str(value) if digits else str(place) if place <= 9 else "",
                "checked": str(value) == sent,
            }
            for place, value in enumerate(question.values, 1)
        ]
        return {**shown, "options": options, "required": question.required, "first": f"{key}-1"}
    shown |= {"required": False, "first": f"{key}-1", "longest": MAX_TEXT}
    if question.type == "text":
        return {**shown, "value": sent}
    words = list(fields.get(f"{key}_words", ()))[:MAX_SPANS]
    kinds = [*fields.get(f"{key}_kind", ()), *([""] * len(words))]
    rows = [(text, kind) for text, kind in zip(words, kinds, strict=False) if text or kind]
    rows += [("", "")] * max(1, _MORE_ROWS - len(rows))
    return {**shown, "rows": rows[:MAX_SPANS], "categories": question.categories}
