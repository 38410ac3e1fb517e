"""Answers of a study as files: of our own, for training, and for other annotation tools. Systems are named in all."""

from __future__ import annotations

import dataclasses
import io
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, get_args

from rl4lms.errors import DataError
from rl4lms.human_eval.records import Rating
from rl4lms.human_eval.table import Answered, comparisons_of, values_of
from rl4lms.reporting.inert import comma_separated

Format = Literal["csv", "jsonl", "parquet", "trl", "argilla", "label-studio", "potato"]
FORMATS: tuple[Format, ...] = get_args(Format)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Of names of raters in Argilla, which are UUIDs.
_RATERS = uuid.UUID("6f2f6f0e-3a52-4d0f-9f0a-7a2a8c3d5b11")
#: What the first line of our own JSONL begins with.
STUDY = "rl4lms_study"


def export(answered: Answered, format: Format, *, gap: float = 1.0) -> bytes:
    """Return the answers of a study as a file.

    Args:
        answered: of the study; raters who withdrew are not in it.
        format: `csv`, `jsonl` and `parquet` have a row for each answer; `trl` has preferences (see `preferences`);
            `argilla` has records, `label-studio` tasks with annotations, `potato` a line for each annotated instance.
        gap: of `trl`, from Likert ratings: by how much means must differ.

    Raises:
        DataError: there are no answers, or of `trl` no preferences.
    """
    if not answered.ratings:
        raise DataError(f"{answered.name}: nobody has answered anything yet, so there is nothing to export")
    if format == "trl":
        return _lines(preferences(answered, gap=gap))
    return _WRITERS[format](answered)


def rating_row(rating: Rating) -> dict[str, Any]:
    """Return an answer as JSON has it."""
    row = dataclasses.asdict(rating)
    return {**row, "rated_at": rating.rated_at.isoformat()}


def study_row(answered: Answered) -> dict[str, Any]:
    """Return what a study is beside its answers."""
    settings = None if answered.settings is None else answered.settings.model_dump(mode="json")
    form = answered.form.model_dump(mode="json")
    return {STUDY: 1, "name": answered.name, "form": form, "settings": settings, "missing": answered.missing}


def _json_lines(answered: Answered) -> bytes:
    return _lines([study_row(answered), *map(rating_row, answered.ratings)])


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")


def flat_rows(answered: Answered) -> list[dict[str, Any]]:
    """Return a row for each answer, for spreadsheets: systems and texts by letter, choices by system. `data` has all of
    the answer as JSON, in ASCII, which `imports` reads.
    """
    most = max(len(rating.systems) for rating in answered.ratings)
    keys = sorted({key for rating in answered.ratings for key in rating.answers})
    rows = []
    for rating in answered.ratings:
        row: dict[str, Any] = {
            name: getattr(rating, name) for name in ("rater", "item", "purpose", "prompt_id", "prompt", "stratum")
        }
        for place in range(most):
            known = place < len(rating.systems)
            letter = LETTERS[place]
            row[f"system_{letter}"] = (rating.systems[place] or "") if known else ""
            row[f"text_{letter}"] = rating.completions[place] if known else ""
        row["order"] = " ".join(LETTERS[place] for place in rating.order)
        row |= {f"answer_{key}": _shown(rating, key) for key in keys}
        row |= {"seconds": rating.seconds, "edits": rating.edits, "rated_at": rating.rated_at.isoformat()}
        row["data"] = json.dumps(rating_row(rating))
        rows.append(row)
    return rows


def _shown(rating: Rating, key: str) -> Any:
    value = rating.answers.get(key)
    if value is None:
        return ""
    if key in ("choice", "best", "worst") and isinstance(value, int):
        return rating.systems[value] or LETTERS[value]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _csv(answered: Answered) -> bytes:
    rows = flat_rows(answered)
    return comma_separated([list(rows[0]), *(list(row.values()) for row in rows)]).encode("utf-8", "replace")


def _parquet(answered: Answered) -> bytes:
    import pyarrow
    import pyarrow.parquet

    rows = flat_rows(answered)
    # answers of one question may be numbers and texts
    columns = {name: [str(row[name]) if name.startswith("answer_") else row[name] for row in rows] for name in rows[0]}
    out = io.BytesIO()
    study = json.dumps(study_row(answered)).encode()
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table.replace_schema_metadata({STUDY.encode(): study}), out)
    return out.getvalue()


def preferences(answered: Answered, *, gap: float = 1.0, question: str | None = None) -> list[dict[str, Any]]:
    """Return preferences in the format of TRL: `prompt`, `chosen` and `rejected`, and beside them systems and raters.

    Of two texts that were compared, the one is chosen that more raters prefer; where as many prefer the other there is
    no row. Of texts with ratings, every two of a prompt whose means differ by `gap` or more make a row.

    Args:
        answered: the answers.
        gap: in points of the scale, above 0.
        question: of a Likert form; the mean over all of its scales where None.

    Raises:
        DataError: there are none, or `gap` is not above 0.
    """
    if not gap > 0:
        raise DataError(f"gap is above 0, got {gap:g}: of equal ratings none is better")
    texts = {
        (rating.prompt_id, system): (rating.prompt, completion)
        for rating in answered.rated
        for system, completion in zip(rating.systems, rating.completions, strict=True)
        if system is not None
    }
    found = (
        _from_values(answered, texts, gap, question) if answered.form.kind == "likert" else _from_pairs(answered, texts)
    )
    if not found:
        raise DataError(
            f"{answered.name}: no two texts of a prompt are told apart, so there are no preferences"
            + ("; lower the gap" if answered.form.kind == "likert" else "")
        )
    return found


def _from_pairs(answered: Answered, texts: Mapping[tuple[str, str], tuple[str, str]]) -> list[dict[str, Any]]:
    votes: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for one in comparisons_of(answered):
        votes[one.prompt, one.first, one.second].append(one.outcome)
    found = []
    for (prompt, first, second), outcomes in votes.items():
        share = fmean(outcomes)
        chosen, rejected = (first, second) if share > 0.5 else (second, first)
        if share != 0.5:
            row = _preference(prompt, chosen, rejected, texts, len(outcomes))
            found += [row | {"agreement": max(share, 1 - share)}] if row is not None else []
    return found


def _from_values(
    answered: Answered, texts: Mapping[tuple[str, str], tuple[str, str]], gap: float, question: str | None
) -> list[dict[str, Any]]:
    scales = [one.key for one in answered.form.scales]
    if question is not None and question not in scales:
        raise DataError(f"question {question!r}: the form has no such scale; it has {', '.join(scales)}")
    ratings: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for value in values_of(answered):
        if value.question == question or (question is None and value.question in scales):
            ratings[value.prompt][value.system].append(value.value)
    found = []
    for prompt, of_system in ratings.items():
        means = {system: fmean(own) for system, own in of_system.items()}
        for chosen in means:
            for rejected in means:
                if means[chosen] - means[rejected] >= gap:
                    count = min(len(of_system[chosen]), len(of_system[rejected]))
                    row = _preference(prompt, chosen, rejected, texts, count)
                    found += [row | {"gap": means[chosen] - means[rejected]}] if row is not None else []
    return found


def _preference(
    prompt: str, chosen: str, rejected: str, texts: Mapping[tuple[str, str], tuple[str, str]], raters: int
) -> dict[str, Any] | None:
    asked, better = texts[prompt, chosen]
    _, worse = texts[prompt, rejected]
    if better == worse:
        return None
    return {
        "prompt": asked,
        "chosen": better,
        "rejected": worse,
        "prompt_id": prompt,
        "chosen_system": chosen,
        "rejected_system": rejected,
        "raters": raters,
    }


def of_items(ratings: Sequence[Rating]) -> dict[int, list[Rating]]:
    """Return answers by item."""
    found: dict[int, list[Rating]] = defaultdict(list)
    for rating in ratings:
        found[rating.item].append(rating)
    return dict(found)


def _about(rating: Rating) -> dict[str, Any]:
    """Return what tools keep beside a task, by letter of the text."""
    about: dict[str, Any] = {"item": rating.item, "purpose": rating.purpose, "prompt_id": rating.prompt_id}
    for letter, system in zip(LETTERS, rating.systems, strict=False):
        about[f"system_{letter}"] = system or ""
    return about


def _data(rating: Rating) -> dict[str, str]:
    texts = {f"text_{letter}": text for letter, text in zip(LETTERS, rating.completions, strict=False)}
    return {"prompt": rating.prompt, **texts}


def _told(rating: Rating, key: str) -> Any:
    """Return an answer as tools have it: a text by its letter."""
    value = rating.answers[key]
    if key in ("choice", "best", "worst") and isinstance(value, int):
        return LETTERS[value]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _argilla(answered: Answered) -> bytes:
    records = []
    for item, ratings in of_items(answered.ratings).items():
        first = ratings[0]
        responses: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for rating in ratings:
            user = str(uuid.uuid5(_RATERS, f"rater {rating.rater}"))
            for key in rating.answers:
                responses[key].append({"value": _told(rating, key), "user_id": user})
        records.append(
            {
                "id": f"item-{item}",
                "fields": _data(first),
                "metadata": _about(first),
                "suggestions": {},
                "responses": dict(responses),
                "vectors": {},
            }
        )
    return (json.dumps(records, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")


def argilla_settings(answered: Answered) -> dict[str, Any]:
    """Return the fields and questions that a data set of Argilla needs for the records of `export`."""
    form = answered.form
    most = max(len(rating.systems) for rating in answered.ratings)
    fields = [{"name": "prompt", "required": False}]
    fields += [{"name": f"text_{LETTERS[place]}", "required": True} for place in range(most)]
    questions: list[dict[str, Any]] = []
    for key in {"pairwise": ["choice"], "best_worst": ["best", "worst"]}.get(form.kind, []):
        labels = [*LETTERS[:most], *(["tie"] if key == "choice" and form.tie else [])]
        questions.append({"name": key, "type": "label_selection", "title": form.question, "labels": labels})
    for one in form.questions:
        about = {"name": one.key, "title": one.text, "required": one.required and one.type == "scale"}
        scale = {"type": "rating", "values": list(one.values)} if one.type == "scale" else {"type": "text"}
        questions.append({**about, **scale})
    return {"fields": fields, "questions": questions}


def _label_studio(answered: Answered) -> bytes:
    scales = {one.key for one in answered.form.scales}
    tasks = []
    for item, ratings in of_items(answered.ratings).items():
        annotations = [
            {
                "id": item * 100_000 + rating.rater,
                "completed_by": rating.rater,
                "created_at": rating.rated_at.isoformat(),
                "lead_time": rating.seconds,
                "result": [_result(rating, key, key in scales) for key in rating.answers],
            }
            for rating in ratings
        ]
        tasks.append({"id": item, "data": _data(ratings[0]) | _about(ratings[0]), "annotations": annotations})
    return (json.dumps(tasks, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")


def _result(rating: Rating, key: str, is_scale: bool) -> dict[str, Any]:
    value = _told(rating, key)
    kind, content = "textarea", {"text": [str(value)]}
    if key in ("choice", "best", "worst"):
        kind, content = "choices", {"choices": [str(value)]}
    elif is_scale:
        kind, content = "number", {"number": value}
    name = f"{rating.item}-{rating.rater}-{key}"
    return {"id": name, "from_name": key, "to_name": "text_a", "type": kind, "value": content}


def _potato(answered: Answered) -> bytes:
    scales = {one.key for one in answered.form.scales}
    rows = []
    for rating in answered.ratings:
        labels = {}
        for key in rating.answers:
            value = str(_told(rating, key))
            name = f"scale_{value}" if key in scales else value if key in ("choice", "best", "worst") else "text_box"
            labels[key] = {name: value}
        seconds = round(rating.seconds)
        rows.append(
            {
                "user": f"rater-{rating.rater}",
                "id": f"item-{rating.item}",
                "displayed_text": "\n".join(rating.completions),
                "label_annotations": labels,
                "span_annotations": [],
                "behavioral_data": {"time_string": f"Time spent: 0d 0h {seconds // 60}m {seconds % 60}s "},
                **_data(rating),
                **{key: value for key, value in _about(rating).items() if key != "item"},
            }
        )
    return _lines(rows)


_WRITERS: dict[str, Callable[[Answered], bytes]] = {
    "csv": _csv,
    "jsonl": _json_lines,
    "parquet": _parquet,
    "argilla": _argilla,
    "label-studio": _label_studio,
    "potato": _potato,
}
