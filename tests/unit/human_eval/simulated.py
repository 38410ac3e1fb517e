"""Raters of known quality: studies whose true scores, preferences and biases are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from rl4lms.human_eval.forms import Form, Question
from rl4lms.human_eval.records import Rating, Settings
from rl4lms.human_eval.table import Answered, Comparison, Value

TIME = datetime(2026, 1, 1, tzinfo=UTC)
LIKERT = Form(
    name="simulated-likert",
    kind="likert",
    title="Simulated",
    instructions=("Rate the text.",),
    questions=(Question(key="quality", text="How good is the text?"), Question(key="fluency", text="Is it fluent?")),
)
PAIRWISE = Form(
    name="simulated-pairwise", kind="pairwise", title="Simulated", instructions=("Choose.",), question="Which?"
)
BEST_WORST = Form(
    name="simulated-best-worst", kind="best_worst", title="Simulated", instructions=("Choose.",), question="Which?"
)


def rating(rater: int, item: int, systems: Sequence[str | None], answers: Mapping[str, Any], **changes: Any) -> Rating:
    """One answer; `changes` replace any field."""
    prompt = changes.pop("prompt_id", f"p{item}")
    fields: dict[str, Any] = {
        "rater": rater,
        "item": item,
        "purpose": "rate",
        "prompt_id": prompt,
        "prompt": f"prompt of {prompt}",
        "stratum": "",
        "repeat_of": None,
        "expected": {},
        "context": {"text": f"prompt of {prompt}"},
        "systems": tuple(systems),
        "completions": tuple(f"text of {system} for {prompt}" for system in systems),
        "seeds": (None,) * len(systems),
        "values": ({},) * len(systems),
        "order": tuple(range(len(systems))),
        "answers": dict(answers),
        "seconds": 20.0,
        "edits": 0,
        "rated_at": TIME,
    }
    return Rating(**{**fields, **changes})


def given(rng: np.random.Generator, items: int, per_item: int, raters: int) -> list[np.ndarray]:
    """By item its raters, those with the fewest items first, as the plan of a study does."""
    loads = np.zeros(raters)
    found: list[np.ndarray] = [np.zeros(0)] * items
    for item in rng.permutation(items):
        chosen = np.lexsort((rng.random(raters), loads))[:per_item]
        loads[chosen] += 1
        found[item] = chosen
    return found


def likert(
    rng: np.random.Generator,
    means: Mapping[str, float],
    *,
    prompts: int = 40,
    per_item: int = 3,
    raters: int = 8,
    bias: float = 0.4,
    prompt: float = 0.5,
    text: float = 0.3,
    noise: float = 0.7,
    taste: float = 0.0,
) -> list[Value]:
    """Values on an unbounded scale: system + rater + prompt + text + rater's taste of a system + noise."""
    of_rater, of_prompt = rng.normal(0, bias, raters), rng.normal(0, prompt, prompts)
    systems = list(means)
    tastes = rng.normal(0, taste, (raters, len(systems)))
    places = [(p, s) for p in range(prompts) for s in range(len(systems))]
    found = []
    for item, (chosen, (p, s)) in enumerate(zip(given(rng, len(places), per_item, raters), places, strict=True)):
        of_text = rng.normal(0, text)
        for r in chosen:
            value = means[systems[s]] + of_rater[r] + of_prompt[p] + of_text + tastes[r, s] + rng.normal(0, noise)
            found.append(Value(int(r) + 1, item + 1, f"p{p}", systems[s], "quality", float(value)))
    return found


def likert_study(rng: np.random.Generator, means: Mapping[str, float], **options: Any) -> Answered:
    """A whole study with whole numbers from 1 to 5, a second question that is noise, checks and repeats."""
    values = likert(rng, means, **options)
    ratings = [
        rating(
            one.rater,
            one.item,
            [one.system],
            {
                "quality": int(np.clip(round(one.value), 1, 5)),
                "fluency": int(np.clip(round(one.value + rng.normal(0, 0.5)), 1, 5)),
            },
            prompt_id=one.prompt,
            seconds=float(rng.gamma(4, 6)),
        )
        for one in values
    ]
    for rater in sorted({one.rater for one in values}):
        check = {"quality": 2, "fluency": 2} if rater > 1 else {"quality": 5, "fluency": 5}
        for number in (9001, 9002):
            ratings.append(
                rating(
                    rater,
                    number,
                    [None],
                    check,
                    purpose="check",
                    prompt_id="check",
                    expected={"quality": [2], "fluency": [2]},
                )
            )
        first = next(one for one in ratings if one.rater == rater and one.purpose == "rate")
        ratings.append(
            rating(
                rater,
                9100 + rater,
                first.systems,
                first.answers,
                purpose="repeat",
                repeat_of=first.item,
                prompt_id=first.prompt_id,
            )
        )
    settings = Settings(name="simulated", task="commongen", per_item=options.get("per_item", 3))
    return Answered("simulated", LIKERT, ratings, settings, raters={"finished": options.get("raters", 8)})


def compared(
    rng: np.random.Generator,
    strengths: Mapping[str, float],
    *,
    prompts: int = 60,
    per_item: int = 3,
    raters: int = 8,
    text: float = 0.0,
    left: float = 0.0,
    ties: float = 0.0,
    skill: Sequence[float] | None = None,
) -> list[Comparison]:
    """Comparisons by Bradley and Terry's model: of every two systems for every prompt.

    Args:
        text: standard deviation of what a text adds to its system's strength.
        left: what standing on the left adds.
        ties: share of comparisons that are ties whatever the texts are.
        skill: by rater what log-odds are multiplied by; 0 is chance.
    """
    systems = sorted(strengths)
    pairs = [(i, j) for i in range(len(systems)) for j in range(i + 1, len(systems))]
    places = [(p, pair) for p in range(prompts) for pair in pairs]
    of_text = rng.normal(0, text, (prompts, len(systems)))
    found = []
    for item, (chosen, (p, (i, j))) in enumerate(zip(given(rng, len(places), per_item, raters), places, strict=True)):
        for place, r in enumerate(chosen):
            first_left = bool((item + place) % 2)
            gap = strengths[systems[i]] - strengths[systems[j]] + of_text[p, i] - of_text[p, j]
            gap = gap * (1.0 if skill is None else skill[r]) + (left if first_left else -left)
            outcome = 0.5 if rng.random() < ties else float(rng.random() < 1 / (1 + np.exp(-gap)))
            found.append(
                Comparison(int(r) + 1, item + 1, f"p{p}", systems[i], systems[j], outcome, first_left, len(found))
            )
    return found


def pairwise_study(rng: np.random.Generator, strengths: Mapping[str, float], **options: Any) -> Answered:
    """A whole study of pairs."""
    ratings = [
        rating(
            one.rater,
            one.item,
            [one.first, one.second],
            {"choice": "tie" if one.outcome == 0.5 else 0 if one.outcome == 1 else 1},
            prompt_id=one.prompt,
            order=(0, 1) if one.first_left else (1, 0),
        )
        for one in compared(rng, strengths, **options)
    ]
    settings = Settings(name="simulated pairs", task="commongen", per_item=options.get("per_item", 3))
    return Answered("simulated pairs", PAIRWISE, ratings, settings)
