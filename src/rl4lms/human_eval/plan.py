"""The plan of a study: which items there are, who rates which, in which order, and with which text on which side."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from rl4lms.errors import ConfigError, plural
from rl4lms.human_eval.answers import places_to_outputs
from rl4lms.human_eval.forms import Example, Form

Purpose = Literal["rate", "check", "repeat", "practice"]


@dataclass(frozen=True, slots=True)
class Output:
    """A text of a system.

    Attributes:
        prompt_id: the same for all systems that answered a prompt.
        prompt, completion, system: what was asked and answered, and by whom.
        seed: of the run, where it is known.
        context: of the page; see `Item`.
        stratum: of the prompt.
        values: automatic metrics of the text, where they are known.
        references: gold texts, where they are known.
    """

    prompt_id: str
    prompt: str
    completion: str
    system: str
    seed: int | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    stratum: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A text of an item, and what raters are not told: whose it is.

    Attributes:
        system: None for a check of attention.
        completion: the text.
        seed: of the run, where it is known.
        values: automatic metrics of the text, where they are known.
    """

    system: str | None
    completion: str
    seed: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """What is shown on one page.

    Attributes:
        number: from 0, its place in the plan.
        purpose: `rate`; `check` and `practice` have right answers; `repeat` is another item once more.
        prompt_id: what it was taken from; items of one prompt have the same.
        prompt: what the texts answer, whether it is shown or not.
        context: of the page: `text`, and `turns`, or `table` with `title`, where there are any.
        outputs: its texts, in an order that says nothing.
        stratum: of its prompt.
        expected: of a check or practice: accepted answers by question, outputs named by their place.
        why: explanation of a practice item.
        repeat_of: number of the item that it repeats.
    """

    number: int
    purpose: Purpose
    prompt_id: str
    prompt: str
    context: Mapping[str, Any]
    outputs: tuple[Shown, ...]
    stratum: str = ""
    expected: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    repeat_of: int | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """That one rater sees one item.

    Attributes:
        rater: the number of the rater, from 0.
        item: the number of the item.
        order: the outputs in the order of the page.
    """

    rater: int
    item: int
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Items, and who rates them.

    Attributes:
        items: all.
        assignments: those of each rater in the order in which they are shown; each item of purpose `rate` has
            `per_item` of them.
        raters, spares: how many there are of both; spares have the numbers after those of the others.
        per_item: ratings of each item.
        identical: by pair of systems, prompts for which both wrote the same: a pair without a question, counted as a
            tie.
    """

    items: tuple[Item, ...]
    assignments: tuple[Assignment, ...]
    raters: int
    spares: int
    per_item: int
    identical: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    @property
    def ratings(self) -> int:
        """How many answers the study asks for, checks, repeats and practice included."""
        return len(self.assignments)


def make_plan(
    outputs: Sequence[Output],
    form: Form,
    *,
    items: int,
    per_item: int,
    raters: int,
    checks: Sequence[Example] = (),
    attention: int = 0,
    repeats: int = 0,
    spares: int = 0,
    seed: int = 0,
) -> Plan:
    """Plan a study.

    Prompts are drawn from all strata in proportion to their sizes. With a likert form every system's text is an item,
    with a pairwise form every two systems' texts, with a best_worst form those of all systems. Each item is given to
    `per_item` raters, so that all raters have equally many up to one. Over the items of a pair each system stands on
    the left equally often up to one; over those of a set each stands at each place equally often.

    Args:
        outputs: texts of at least one system, of two where they are compared; prompts that lack one are left out.
        form: of the study.
        items: prompts.
        per_item: raters of each item.
        raters: of the study.
        checks: items with right answers, for every rater.
        attention: checks for every rater that say in words what is to be chosen.
        repeats: items of each rater that are shown to them once more.
        spares: further raters, who begin with practice and checks and take over what others leave.
        seed: of all draws.

    Raises:
        ConfigError: there are too few prompts, systems or raters.
    """
    if per_item > raters:
        raise ConfigError(
            f"{plural(raters, 'rater')} cannot give {per_item} ratings to each item; invite {per_item} or more"
        )
    random = Random(f"human study {seed}")
    systems = sorted({output.system for output in outputs})
    needed = {"likert": 1, "pairwise": 2, "best_worst": 3}[form.kind]
    if len(systems) < needed:
        raise ConfigError(
            f"a {form.kind} study compares {needed} systems or more, got {len(systems)}: {', '.join(systems)}"
        )
    by_prompt = _by_prompt(outputs, systems, random)
    prompts = _drawn(by_prompt, items, random)
    rated, identical = _items(form, by_prompt, prompts, systems)
    if not rated:
        raise ConfigError("all systems wrote the same texts for these prompts; there is nothing to compare")
    shared = [_check(form, example, "practice") for example in form.practice]
    shared_checks = [_check(form, example, "check") for example in checks]
    shared_checks += [_attention(form, random) for _ in range(attention)]
    numbered: list[Item] = []
    for item in (*rated, *shared, *shared_checks):
        numbered.append(_numbered(item, len(numbered)))
    rated, shared = numbered[: len(rated)], numbered[len(rated) : len(rated) + len(shared)]
    shared_checks = numbered[len(rated) + len(shared) :]
    given = _given(rated, per_item, raters, random)
    orders = _orders(rated, given, random)
    assignments: list[Assignment] = []
    for rater in range(raters + spares):
        own = _spread([item for item in rated if rater in given[item.number]], random)
        queue: list[tuple[Item, tuple[int, ...]]] = [(item, orders[item.number, rater]) for item in own]
        for item in random.sample(own, min(repeats, len(own))):
            again = _numbered(item, len(numbered), purpose="repeat", repeat_of=item.number)
            numbered.append(again)
            # in the second half, away from the first time, and with the texts in the other order
            first = next(number for number, (other, _) in enumerate(queue) if other is item)
            place = random.randint(max(len(queue) // 2, first + 1), len(queue))
            queue.insert(place, (again, orders[item.number, rater][::-1]))
        for item in shared_checks:
            queue.insert(random.randint(min(1, len(queue)), len(queue)), (item, _shuffled(item, random)))
        queue[:0] = [(item, tuple(range(len(item.outputs)))) for item in shared]
        assignments += [Assignment(rater, item.number, order) for item, order in queue]
    return Plan(tuple(numbered), tuple(assignments), raters, spares, per_item, identical)


def _numbered(item: Item, number: int, **changes: Any) -> Item:
    values = {name: getattr(item, name) for name in Item.__slots__}
    return Item(**{**values, "number": number, **changes})


def _by_prompt(outputs: Sequence[Output], systems: Sequence[str], random: Random) -> dict[str, dict[str, Output]]:
    """Return by prompt one text of every system, drawn where there are several, such as those of its seeds."""
    found: dict[str, dict[str, list[Output]]] = defaultdict(lambda: defaultdict(list))
    for output in outputs:
        found[output.prompt_id][output.system].append(output)
    return {
        prompt: {system: random.choice(texts[system]) for system in systems}
        for prompt, texts in found.items()
        if len(texts) == len(systems)
    }


def _drawn(by_prompt: Mapping[str, Mapping[str, Output]], count: int, random: Random) -> list[str]:
    """Return prompts: of each stratum its share, by the method of largest remainders."""
    if count > len(by_prompt):
        raise ConfigError(f"--items {count}, and {plural(len(by_prompt), 'prompt')} have a text of every system")
    strata: dict[str, list[str]] = defaultdict(list)
    for prompt, texts in by_prompt.items():
        strata[next(iter(texts.values())).stratum].append(prompt)
    exact = {name: count * len(prompts) / len(by_prompt) for name, prompts in strata.items()}
    quota = {name: math.floor(share) for name, share in exact.items()}
    rest = sorted(exact, key=lambda name: (quota[name] - exact[name], name))
    for name in rest[: count - sum(quota.values())]:
        quota[name] += 1
    chosen = [prompt for name in sorted(strata) for prompt in random.sample(strata[name], quota[name])]
    random.shuffle(chosen)
    return chosen


def _items(
    form: Form, by_prompt: Mapping[str, Mapping[str, Output]], prompts: Sequence[str], systems: Sequence[str]
) -> tuple[list[Item], dict[tuple[str, str], tuple[str, ...]]]:
    size = {"likert": 1, "pairwise": 2, "best_worst": len(systems)}[form.kind]
    found: list[Item] = []
    identical: dict[tuple[str, str], tuple[str, ...]] = {}
    for group in itertools.combinations(systems, size):
        for prompt in prompts:
            texts = [by_prompt[prompt][system] for system in group]
            if size > 1 and len({text.completion.strip() for text in texts}) == 1:
                if size == 2:
                    pair = (group[0], group[1])
                    identical[pair] = (*identical.get(pair, ()), prompt)
                continue
            shown = tuple(Shown(text.system, text.completion, text.seed, text.values) for text in texts)
            context = texts[0].context if form.context.show != "nothing" else {}
            found.append(Item(0, "rate", prompt, texts[0].prompt, context, shown, texts[0].stratum))
    return found, identical


def _check(form: Form, example: Example, purpose: Purpose) -> Item:
    outputs = tuple(Shown(None, text) for text in example.completions)
    context = {"text": example.prompt} if example.prompt else {}
    expected = places_to_outputs(form, example.answers)
    return Item(0, purpose, purpose, example.prompt, context, outputs, expected=expected, why=example.why)


def _attention(form: Form, random: Random) -> Item:
    """Return a check whose texts say what is to be chosen."""
    if form.kind == "likert":
        # a number that all scales have
        common = set.intersection(*(set(question.values) for question in form.scales))
        if not common:
            raise ConfigError(f"form {form.name}: its scales have no number in common, so no check can ask for one")
        wanted = random.choice(sorted(common))
        answers: dict[str, Any] = {question.key: wanted for question in form.scales}
        return _check(form, Example(completions=(form.word("check", wanted),), answers=answers), "check")
    # The place is that on the page, so the texts of a check stand in the order of the item.
    if form.kind == "pairwise":
        place = random.choice((1, 2))
        text = form.word("check", form.word("text_n", place))
        return _check(form, Example(completions=(text, text), answers={"choice": place}), "check")
    best, worst = random.sample((1, 2, 3), 2)
    text = form.word(
        "check", f"{form.word('best')}: {form.word('text_n', best)}, {form.word('worst')}: {form.word('text_n', worst)}"
    )
    return _check(form, Example(completions=(text,) * 3, answers={"best": best, "worst": worst}), "check")


def _given(items: Sequence[Item], per_item: int, raters: int, random: Random) -> dict[int, set[int]]:
    """Return by item its raters: always those with the fewest items, ties by lot."""
    loads = [0] * raters
    found: dict[int, set[int]] = {}
    for item in random.sample(items, len(items)):
        chosen = sorted(range(raters), key=lambda rater: (loads[rater], random.random()))[:per_item]
        for rater in chosen:
            loads[rater] += 1
        found[item.number] = set(chosen)
    return found


def _orders(
    items: Sequence[Item], given: Mapping[int, set[int]], random: Random
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return the order of the texts for each item and rater: rotations, one after the other for each group of systems,
    so that every system is equally often at every place; within a rater, for pairs, as equally as that allows.
    """
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    turn: Counter[tuple[str | None, ...]] = Counter()
    for item in random.sample(items, len(items)):
        group = tuple(output.system for output in item.outputs)
        base = list(range(len(group)))
        for rater in random.sample(sorted(given[item.number]), len(given[item.number])):
            shift = turn[group] % len(group)
            turn[group] += 1
            found[item.number, rater] = tuple(base[shift:] + base[:shift])
    return found


def _spread(items: list[Item], random: Random) -> list[Item]:
    """Return items by lot, those of one prompt apart where there are others to put between them."""
    left: dict[str, list[Item]] = defaultdict(list)
    for item in random.sample(items, len(items)):
        left[item.prompt_id].append(item)
    found: list[Item] = []
    while left:
        most = max(len(rest) for rest in left.values())
        last = found[-1].prompt_id if found else None
        others = [name for name in left if name != last] or list(left)
        # a prompt that would be left alone at the end goes first
        urgent = [name for name in others if len(left[name]) == most and most * 2 > sum(map(len, left.values()))]
        name = random.choice(urgent or others)
        found.append(left[name].pop())
        if not left[name]:
            del left[name]
    return found


def _shuffled(item: Item, random: Random) -> tuple[int, ...]:
    """Return an order of a check. Texts that say at which place they want to be chosen stay in theirs."""
    places = list(range(len(item.outputs)))
    same = len({output.completion for output in item.outputs}) == 1
    return tuple(places if same else random.sample(places, len(places)))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a study takes of its raters' time and of money.

    Attributes:
        answers: pages of all raters.
        hours: of all raters together.
        longest_minutes: of the rater with the most pages.
        pay: in the currency of the hourly pay.
    """

    answers: int
    hours: float
    longest_minutes: float
    pay: float


def cost_of(plan: Plan, seconds: float, pay_per_hour: float) -> Cost:
    """Estimate what a plan costs.

    Args:
        plan: of the study.
        seconds: that an answer takes.
        pay_per_hour: of a rater.
    """
    loads = Counter(assignment.rater for assignment in plan.assignments)
    hours = plan.ratings * seconds / 3600
    return Cost(plan.ratings, hours, max(loads.values()) * seconds / 60, hours * pay_per_hour)
