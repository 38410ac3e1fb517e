"""Forms: what raters see of an item, and what they are asked. Those of the library are the YAML files of `forms/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rl4lms.config.reader import read_file
from rl4lms.data.rows import open_rows
from rl4lms.errors import ConfigError, did_you_mean

Kind = Literal["likert", "pairwise", "best_worst"]
Text = Annotated[str, Field(min_length=1, max_length=20_000)]

_FOLDER = Path(__file__).parent / "forms"
#: Texts of the pages that a form may put into its language; `{}` is filled.
STRINGS: Mapping[str, str] = {
    "begin": "Begin",
    "consent": "I have read this, I am 18 or older, and I take part of my own free will.",
    "consent_needed": "Please tick the box if you want to take part.",
    "instructions": "Instructions",
    "example": "Example",
    "practice": "Practice",
    "practice_intro": "You begin with practice (items: {}). What you answer there decides whether you go on.",
    "practice_failed": "Thank you. The practice answers differ too much from what this study needs, so it ends here.",
    "item_of": "Item {} of {}",
    "done_of": "{} of {} done",
    "text": "Text",
    "text_n": "Text {}",
    "tie": "Both are equal",
    "best": "Best",
    "worst": "Worst",
    "save": "Save and go on",
    "back": "Back",
    "forward": "Forward",
    "optional": "optional",
    "required": "Please answer this question.",
    "not_allowed": "This is not one of the answers.",
    "too_long": "Please write at most {} characters.",
    "same": "The best and the worst must be two different texts.",
    "not_in_text": "These words are not in the text; please copy them as they stand there.",
    "which_kind": "Please choose what kind of error it is.",
    "wait": "Please read the text first; you can answer in {} seconds.",
    "edit_note": "You have answered this item; you may change it.",
    "draft_saved": "Draft saved",
    "draft_failed": "The draft is not saved. Please check your connection.",
    "not_saved": "Your answer could not be saved, and nothing is lost of what was saved before. Please try again.",
    "finished": "Thank you! You have rated all of your items.",
    "code": "Your completion code",
    "feedback": "Anything you want to tell us?",
    "send": "Send",
    "thanks": "Thank you, it is saved.",
    "withdraw": "Withdraw from the study",
    "withdraw_note": "Everything that you answered is deleted. This cannot be undone.",
    "withdrawn": "You have withdrawn, and your answers are deleted.",
    "paused": "The study is paused. What you answered is kept; please come back later.",
    "nothing_left": "There is nothing left to rate at the moment. Please come back later.",
    "reassigned": "This study waited a while for you, and your remaining items are with other people now.",
    "no_invite": "This study is open to people with an invitation. Please use the link that you were sent.",
    "keys": "Keys: 1 to 9 answer the question with the focus, Enter saves.",
    "keys_tie": "Keys: 1 and 2 choose, 0 or t is a tie, Enter saves.",
    "go_on": "Go on",
    "retry": "Try again",
    "look_again": "Please look at these answers again:",
    "practice_right": "This is what was expected.",
    "practice_wrong": "Something else was expected.",
    "preview": "This is a preview. Please accept the task first, then you can begin.",
    "full": "All places of this study are taken. Thank you for coming.",
    "no_page": "There is no such page.",
    "not_open": "This page is not open to you, or not any more.",
    "stale": "This page was open for too long. Please go back, load it again, and try once more.",
    "too_often": "Too many attempts. Please try again in {} minutes.",
    "too_large": "This is too long to be saved.",
    "problem": "Something went wrong on our side. Nothing is lost of what was saved before. Please try again.",
    "error_words": "Words with an error",
    "error_kind": "Kind of error",
    "error_add": "Mark selected words",
    "check": "This is a check of attention, no text to judge. For every question, please choose: {}",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Question(_Strict):
    """One question about the text of an item; where there are several texts, about the item as a whole.

    Attributes:
        key: its name in files; letters, digits and `_`.
        type: `scale` (whole numbers from `low` to `high`), `text` (free words) or `spans` (words of the text that are
            wrong, each with one of `categories`). Which text is better is asked by the kind of the form.
        text: the question.
        hint: a second line.
        labels: of a scale, for its numbers in their order; or two, for its ends.
        required: whether an item cannot be saved without; free texts and spans never are.
    """

    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    type: Literal["scale", "text", "spans"] = "scale"
    text: Text
    hint: str = ""
    low: int = Field(default=1, ge=-100, le=100)
    high: int = Field(default=5, ge=-100, le=100)
    labels: tuple[str, ...] = ()
    categories: tuple[Text, ...] = ()
    required: bool = True

    @property
    def values(self) -> range:
        """The numbers of a scale."""
        return range(self.low, self.high + 1)

    def label(self, value: int) -> str:
        """Return what stands beside a number of the scale."""
        if len(self.labels) == len(self.values):
            return self.labels[value - self.low]
        ends = {self.low: 0, self.high: -1}
        return self.labels[ends[value]] if self.labels and value in ends else ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.type == "scale":
            if not 2 <= len(self.values) <= 101:
                raise ValueError(f"question {self.key!r}: a scale has 2 to 101 values, from `low` to `high`")
            if self.labels and len(self.labels) not in (2, len(self.values)):
                raise ValueError(
                    f"question {self.key!r}: {len(self.labels)} labels; give one for each of {len(self.values)} "
                    "values, or two for the ends"
                )
        if (self.type == "spans") != bool(self.categories):
            raise ValueError(f"question {self.key!r}: `categories` are for questions of type spans, which need them")
        return self


class Context(_Strict):
    """What is shown above the texts: `nothing`, or the prompt as a text, as an `article` that scrolls, as `turns` of a
    dialogue or as a `table`.

    Attributes:
        label: its heading.
    """

    show: Literal["nothing", "text", "article", "turns", "table"] = "text"
    label: str = "Prompt"


class Example(_Strict):
    """An item that is explained in the instructions, or practised.

    Attributes:
        prompt: its context.
        completions: one text; two or more where a form compares texts.
        answers: by question what is right: a value, or several that are accepted. A pair has `choice` (1, 2 or tie),
            several texts have `best` and `worst` (their numbers from 1).
        why: the explanation.
    """

    prompt: str = ""
    completions: Annotated[tuple[Text, ...], Field(min_length=1)]
    answers: dict[str, Any]
    why: str = ""


class Form(_Strict):
    """A form of a study.

    Attributes:
        name, kind: which.
        tasks: for which it is the default of its kind.
        title: of the pages.
        instructions: paragraphs.
        consent: what raters agree to before they begin.
        context: what is shown beside the texts.
        question: of a form that compares texts: what is asked.
        tie: whether a pair may be equal.
        questions: about every text of the form (likert), or about the whole item (others).
        examples: shown with the instructions.
        practice: asked before the study begins; who answers less than `pass_share` of them right does not go on.
        wait_seconds: from when an item can be answered.
        language, direction: of the page; texts of models may be in any language and find their own direction.
        strings: other words for those of `STRINGS`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")]
    kind: Kind
    tasks: tuple[str, ...] = ()
    title: Text
    instructions: tuple[Text, ...]
    consent: tuple[Text, ...] = (
        "You take part in a study of texts that were written by computer programs. Some texts may be wrong, odd or "
        "unpleasant. You may stop at any time, and withdraw: then everything that you answered is deleted.",
        "We keep your answers and how long they took. We keep nothing that says who you are.",
    )
    context: Context = Context()
    question: str = ""
    tie: bool = True
    questions: tuple[Question, ...] = ()
    examples: tuple[Example, ...] = ()
    practice: tuple[Example, ...] = ()
    pass_share: float = Field(default=0.75, ge=0, le=1)
    wait_seconds: int = Field(default=0, ge=0, le=600)
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    direction: Literal["ltr", "rtl"] = "ltr"
    strings: dict[str, str] = Field(default_factory=dict)

    def word(self, key: str, *values: object) -> str:
        """Return a text of the pages in the form's language."""
        return self.strings.get(key, STRINGS[key]).format(*values)

    @property
    def scales(self) -> list[Question]:
        """Its questions with numbers."""
        return [question for question in self.questions if question.type == "scale"]

    @model_validator(mode="after")
    def _check(self) -> Self:
        keys = [question.key for question in self.questions]
        for key in keys:
            if keys.count(key) > 1 or key in ("choice", "best", "worst"):
                raise ValueError(f"question {key!r}: the key is used twice, or one of choice, best, worst")
        if self.kind == "likert" and not self.scales:
            raise ValueError("a likert form needs a question of type scale")
        if (self.kind == "likert") == bool(self.question):
            raise ValueError("`question` is what a pairwise or best_worst form asks, and these need it")
        for key, text in self.strings.items():
            if key not in STRINGS:
                raise ValueError(f"strings: {did_you_mean(key, STRINGS)}")
            if text.count("{}") != STRINGS[key].count("{}") or re.search(r"[{}]", text.replace("{}", "")):
                raise ValueError(f"strings: {key}: write {{}} as often as here: {STRINGS[key]!r}")
        for example in (*self.examples, *self.practice):
            self.check_example(example)
        return self

    def check_example(self, example: Example) -> None:
        """Raise a ValueError where an item is none of this form, or its answers are none that can be given."""
        wanted = {"likert": (1, 1), "pairwise": (2, 2), "best_worst": (3, 20)}[self.kind]
        count = len(example.completions)
        if not wanted[0] <= count <= wanted[1]:
            raise ValueError(f"an example of a {self.kind} form has {wanted[0]} completions or more, got {count}")
        known: dict[str, Any] = {question.key: list(question.values) for question in self.scales}
        places = list(range(1, count + 1))
        known |= {"pairwise": {"choice": [*places, *(["tie"] if self.tie else [])]}}.get(self.kind, {})
        known |= {"best_worst": {"best": places, "worst": places}}.get(self.kind, {})
        for key, value in example.answers.items():
            if key not in known:
                raise ValueError(f"an example answers {key!r}; {did_you_mean(key, known)}")
            accepted = value if isinstance(value, list) else [value]
            if not accepted or any(one not in known[key] for one in accepted):
                raise ValueError(f"an example answers {key!r} with {value!r}; it can be {known[key]}")


def read_form(path: str | Path) -> Form:
    """Read a form from a YAML file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; says what and in which line.
    """
    values, places = read_file(path)
    try:
        return Form.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = tuple(first["loc"])
        where = next((places[place[:n]] for n in range(len(place), -1, -1) if place[:n] in places), str(path))
        key = ".".join(str(part) for part in place)
        raise ConfigError(
            f"{where}: {key + ': ' if key else ''}{first['msg'].removeprefix('Value error, ')}"
        ) from error


@cache
def packaged_forms() -> Mapping[str, Form]:
    """Return the forms of the library by name."""
    return {form.name: form for form in map(read_form, sorted(_FOLDER.glob("*.yaml")))}


def find_form(given: str, task: str | None) -> Form:
    """Return the form that a user asked for.

    Args:
        given: `likert`, `pairwise` or `best_worst`, for the form of that kind that the task has, or else the general
            one; the name of a form; or a YAML file.
        task: the name of the task, None where there is none.

    Raises:
        ConfigError: there is no such form.
    """
    forms = packaged_forms()
    if given in ("likert", "pairwise", "best_worst"):
        own = [form for form in forms.values() if form.kind == given and task in form.tasks]
        return own[0] if own else forms[f"general-{given.replace('_', '-')}"]
    if given in forms:
        return forms[given]
    if Path(given).suffix in (".yaml", ".yml"):
        return read_form(given)
    raise ConfigError(
        f"form {given!r}: no such form; {did_you_mean(given, ['likert', 'pairwise', 'best_worst', *forms])}; a form of "
        "your own is a .yaml file"
    )


def read_checks(path: str, form: Form) -> list[Example]:
    """Return items with right answers from a table: `completions` (a list) or `completion`, `answers`, and `prompt`.

    Raises:
        ConfigError, DataError: the file cannot be read, or a row is no item of the form; says which.
    """
    rows = open_rows(path)
    found = []
    for number in range(len(rows)):
        row = {key: value for key, value in rows[number].items() if value is not None}
        if "completion" in row:
            row["completions"] = [row.pop("completion")]
        try:
            example = Example.model_validate(row)
            form.check_example(example)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{rows.place(number)}: {key + ': ' if key else ''}{first['msg']}") from error
        except ValueError as error:
            raise ConfigError(f"{rows.place(number)}: {error}") from error
        found.append(example)
    return found
