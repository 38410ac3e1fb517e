"""Answers from the files of other tools, row by row: Mechanical Turk, Argilla, Label Studio, Potato."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rl4lms.errors import DataError
from rl4lms.human_eval.exports import LETTERS
from rl4lms.human_eval.records import Rating

_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Reading:
    """What is gathered while a file is read: raters and items get numbers in the order in which they come."""

    path: str
    ratings: list[Rating] = field(default_factory=list)
    raters: dict[str, int] = field(default_factory=dict)
    items: dict[tuple[Any, ...], int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        rater: str,
        systems: Sequence[str | None],
        completions: Sequence[str],
        prompt: str,
        answers: Mapping[str, Any],
        **changes: Any,
    ) -> None:
        """Add an answer; `changes` are further fields of a `Rating`, and `key` what tells items apart."""
        number = self.raters.setdefault(rater, len(self.raters) + 1)
        key = changes.pop("key", (prompt, *systems, *completions))
        item = self.items.setdefault(key, len(self.items) + 1)
        about: dict[str, Any] = {
            "purpose": "rate",
            "prompt_id": prompt or str(item),
            "stratum": "",
            "repeat_of": None,
            "expected": {},
            "context": {"text": prompt} if prompt else {},
            "order": tuple(range(len(systems))),
            "seconds": 0.0,
            "edits": 0,
            "rated_at": _UNKNOWN,
        }
        about |= {name: value for name, value in changes.items() if value is not None}
        self.ratings.append(
            Rating(
                rater=number,
                item=item,
                prompt=prompt,
                systems=tuple(systems),
                completions=tuple(completions),
                seeds=(None,) * len(systems),
                values=({},) * len(systems),
                answers=dict(answers),
                **about,
            )
        )


def _turk(reading: Reading, place: str, row: Mapping[str, Any]) -> None:
    status = str(row.get("AssignmentStatus") or "").lower()
    if status == "rejected":
        reading.notes[:] = [_rejected(reading)]
        return
    inputs = {key[6:].lower(): str(value or "") for key, value in row.items() if str(key).startswith("Input.")}
    answers = {key[7:]: value for key, value in row.items() if str(key).startswith("Answer.")}
    if isinstance(answers.get("taskAnswers"), str):
        given = json_of(answers.pop("taskAnswers"), f"{place}: Answer.taskAnswers", "it")
        answers |= given[0] if isinstance(given, list) and given and isinstance(given[0], dict) else {}
    worker = str(row.get("WorkerId") or "")
    if not worker:
        raise DataError(f"{place}: no WorkerId, so nobody knows whose answer it is")
    seconds = _number(row.get("WorkTimeInSeconds"))
    prompt = inputs.get("prompt") or inputs.get("concept") or inputs.get("source") or ""
    found: dict[str, Any]
    if "choice_a" in inputs and "choice_b" in inputs:
        systems = [inputs.get("choice_a_id") or "A", inputs.get("choice_b_id") or "B"]
        texts = [inputs["choice_a"], inputs["choice_b"]]
        found = {"choice": _turk_choice(answers, place)}
        _swap(systems, texts, found)
    else:
        if not inputs.get("algorithm") and not inputs.get("system"):
            raise DataError(f"{place}: no Input.algorithm, so nobody knows which system wrote the text")
        systems = [inputs.get("algorithm") or inputs["system"]]
        texts = [inputs.get("machine_completion") or inputs.get("completion") or inputs.get("text") or ""]
        found = {_key(name): value for name, raw in answers.items() if (value := _number(raw)) is not None}
        if not found:
            raise DataError(
                f"{place}: no Answer column holds a whole number; there are: {', '.join(answers) or 'none'}"
            )
    found |= {
        _key(name): str(value) for name, value in answers.items() if "feedback" in name.lower() and str(value or "")
    }
    order = found.pop("order", None)
    spent = None if seconds is None else float(seconds)
    reading.add(worker, systems, texts, prompt, found, seconds=spent, order=order)


def _rejected(reading: Reading) -> str:
    count = 1
    for note in reading.notes:
        if match := re.match(r"(\d+) rejected", note):
            count += int(match[1])
    return f"{count} rejected assignments are left out"


def _swap(systems: list[str], texts: list[str], found: dict[str, Any]) -> None:
    """Put the systems of a pair into one order, whichever stood on the left, so that both are one item."""
    found["order"] = (0, 1)
    if systems[0] > systems[1]:
        systems.reverse()
        texts.reverse()
        found["order"] = (1, 0)
        if found["choice"] != "tie":
            found["choice"] = 1 - found["choice"]


def _turk_choice(answers: Mapping[str, Any], place: str) -> int | str:
    known: dict[str, int | str] = {"1": 0, "a": 0, "choice_a": 0, "2": 1, "b": 1, "choice_b": 1, "tie": "tie"}
    for name, value in answers.items():
        if "option" in name.lower() or "choice" in name.lower():
            picked, dot, which = name.rpartition(".")
            if dot and str(value).lower() == "true" and which.lower() in known:  # a radio button with a column each
                return known[which.lower()]
            if isinstance(value, Mapping):
                value = next((key for key, on in value.items() if on), "")
            if str(value).strip().lower() in known and not (dot and picked):
                return known[str(value).strip().lower()]
    raise DataError(f"{place}: no Answer column says which text was chosen (1 or 2); there are: {', '.join(answers)}")


def _texts(row: Mapping[str, Any], about: Mapping[str, Any], place: str) -> tuple[list[str | None], list[str]]:
    texts = [str(row[f"text_{letter}"]) for letter in LETTERS if row.get(f"text_{letter}") is not None]
    if not texts:
        single = next((row[name] for name in ("completion", "text", "machine_completion") if row.get(name)), None)
        if single is None:
            raise DataError(f"{place}: no text (text_a, completion or text); there are: {', '.join(map(str, row))}")
        texts = [str(single)]
    named = [about.get(f"system_{letter}") for letter, _ in zip(LETTERS, texts, strict=False)]
    if len(texts) == 1 and named[0] is None:
        named = [about.get("system") or about.get("algorithm") or about.get("model")]
    purpose = about.get("purpose") or "rate"
    if purpose == "rate" and not all(named):
        raise DataError(f"{place}: no system_a (or system) says who wrote the text")
    return [str(one) if one else None for one in named], texts


def _same(about: Mapping[str, Any], item: object) -> dict[str, Any]:
    """Return what an item keeps of its study."""
    purpose = about.get("purpose")
    return {
        "purpose": purpose if purpose in ("check", "repeat", "practice") else None,
        "prompt_id": str(about["prompt_id"]) if about.get("prompt_id") else None,
        "key": ("item", str(item)),
    }


def _answer(key: str, value: Any, place: str) -> Any:
    """Return an answer of a tool as ours: letters become places."""
    if key in ("choice", "best", "worst"):
        said = str(value).strip().lower()
        if said == "tie" and key == "choice":
            return "tie"
        if len(said) == 1 and said in LETTERS:
            return LETTERS.index(said)
        raise DataError(f"{place}: {key} is {value!r}; it should be the letter of a text, or tie")
    if isinstance(value, str) and value.startswith("[{"):
        return json_of(value, place, key)
    number = _number(value)
    return value if number is None else number


def _argilla(reading: Reading, place: str, row: Mapping[str, Any]) -> None:
    fields, about, responses = (row.get(name, {}) for name in ("fields", "metadata", "responses"))
    about = {} if about is None else about
    if not isinstance(fields, Mapping) or not isinstance(about, Mapping) or not isinstance(responses, Mapping):
        raise DataError(f"{place}: fields, metadata and responses of a record are mappings")
    systems, texts = _texts(fields, about, place)
    of_user: dict[str, dict[str, Any]] = {}
    for key, given in responses.items():
        for one in given if isinstance(given, list) else ():
            if not isinstance(one, Mapping) or "value" not in one:
                raise DataError(f"{place}: a response to {key} is no mapping with a value")
            of_user.setdefault(str(one.get("user_id")), {})[_key(key)] = _answer(_key(key), one["value"], place)
    for user, answers in of_user.items():
        reading.add(
            user, systems, texts, str(fields.get("prompt") or ""), answers, **_same(about, row.get("id", place))
        )


def _label_studio(reading: Reading, place: str, row: Mapping[str, Any]) -> None:
    data, annotations = row["data"], row["annotations"]
    if not isinstance(data, Mapping) or not isinstance(annotations, list):
        raise DataError(f"{place}: a task has data, a mapping, and annotations, a list")
    systems, texts = _texts(data, data, place)
    for one in annotations:
        if not isinstance(one, Mapping) or one.get("was_cancelled"):
            continue
        answers: dict[str, Any] = {}
        for result in one.get("result") or []:
            value = result.get("value") if isinstance(result, Mapping) else None
            if not isinstance(value, Mapping) or not result.get("from_name"):
                raise DataError(f"{place}: a result without from_name and value")
            content = next((value[name] for name in ("number", "rating", "choices", "text") if name in value), None)
            content = content[0] if isinstance(content, list) and content else content
            if content is not None:
                key = _key(str(result["from_name"]))
                answers[key] = _answer(key, content, place)
        by = one.get("completed_by")
        user = str(by.get("id") or by.get("email")) if isinstance(by, Mapping) else str(by)
        seconds = _number(one.get("lead_time"))
        about = {**_same(data, row.get("id", place)), "seconds": None if seconds is None else float(seconds)}
        reading.add(user, systems, texts, str(data.get("prompt") or ""), answers, **about)


def _potato(reading: Reading, place: str, row: Mapping[str, Any]) -> None:
    labels = row["label_annotations"]
    if not isinstance(labels, Mapping):
        raise DataError(f"{place}: label_annotations is no mapping")
    systems, texts = _texts(row, row, place)
    answers = {}
    for key, given in labels.items():
        if not isinstance(given, Mapping) or not given:
            continue
        label, value = next(iter(given.items()))
        text = str(value if value not in (True, "true", "on") else label).removeprefix("scale_")
        answers[_key(str(key))] = _answer(_key(str(key)), text, place)
    user = str(row.get("user") or row.get("user_id") or Path(reading.path).parent.name)
    told = (row.get("behavioral_data") or {}).get("time_string") if isinstance(row.get("behavioral_data"), dict) else ""
    spent = re.search(r"(\d+)d (\d+)h (\d+)m (\d+)s", str(told or ""))
    seconds = sum(int(n) * s for n, s in zip(spent.groups(), (86400, 3600, 60, 1), strict=True)) if spent else None
    about = {**_same(row, row.get("id", place)), "seconds": None if seconds is None else float(seconds)}
    reading.add(user, systems, texts, str(row.get("prompt") or ""), answers, **about)


#: How each kind of file is seen from its first row, and what reads a row of it.
TOOLS: Sequence[tuple[Callable[[Mapping[str, Any]], bool], Callable[[Reading, str, Mapping[str, Any]], None]]] = (
    (lambda row: any(str(key).startswith("Input.") for key in row), _turk),
    (lambda row: "fields" in row and "responses" in row, _argilla),
    (lambda row: "data" in row and "annotations" in row, _label_studio),
    (lambda row: "label_annotations" in row, _potato),
)


def _key(name: str) -> str:
    """Return a name that a question can have."""
    found = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:40]
    return found if re.match(r"[a-z]", found) else f"q_{found}"[:40]


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    if number != number or abs(number) == float("inf"):
        return None
    return int(number) if number == int(number) else number


def json_of(text: str, place: str, what: str) -> Any:
    """Return what a text holds as JSON.

    Raises:
        DataError: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: {what} is not JSON") from error
