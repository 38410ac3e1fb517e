"""From what people said to a reward: a training set, a model, and how well it agrees with people it has not seen."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rl4lms.errors import ConfigError, DataError
from rl4lms.human_eval.exports import preferences
from rl4lms.human_eval.table import Answered, Comparison, comparisons_of, values_of
from rl4lms.runs.outputs import check_folder
from rl4lms.stats.base import Estimate
from rl4lms.stats.clustered import clustered_share

#: Of the folder that is written.
MODEL, TRAIN, TEST, REPORT = "model", "train.jsonl", "test.jsonl", "to_reward.json"
Kind = Literal["preferences", "ratings"]
Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One rater's choice between two texts of a prompt: the first is the better one."""

    rater: int
    prompt: str
    better: str
    worse: str


@dataclass(frozen=True, slots=True)
class ToReward:
    """A reward that was made of a study.

    Attributes:
        use: the line of a recipe.
        kind: `preferences` or `ratings`.
        train_rows, test_rows: of the training set and of the held-out one.
        train_prompts, test_prompts: how many prompts each has; none is in both.
        model: share of held-out judgements that the model agrees with, ties of its scores counted half.
        people: share of pairs of raters of the same two texts who agree with each other; None where no two texts were
            judged by two raters.
        judgements: how many held-out judgements there are.
        result: what the training reports, see `supervised.reward_model.train_reward_model`.
    """

    use: str
    kind: Kind
    train_rows: int
    test_rows: int
    train_prompts: int
    test_prompts: int
    model: Estimate
    people: Estimate | None
    judgements: int
    result: Mapping[str, Any]


def to_reward(
    answered: Answered,
    base: str,
    output: Path,
    *,
    kind: Kind = "preferences",
    question: str | None = None,
    gap: float = 1.0,
    holdout: float = 0.2,
    join: str = " ",
    seed: int = 0,
    device: Device = "auto",
    progress: Callable[[int, int], None] | None = None,
    **training: Any,
) -> ToReward:
    """Train a reward model on the answers of a study.

    Args:
        answered: the answers; who is to be left out is not in it any more.
        base: Hub id or folder of the pretrained model.
        output: folder to write: the model in `model`, both sets of data, and `to_reward.json`.
        kind: `preferences` of two texts, see `exports.preferences`; or `ratings`, the means of a Likert form.
        question: of a Likert form; the mean over all of its scales where None.
        gap: of preferences from ratings: by how much means must differ.
        holdout: share of the prompts that are held out.
        join: stands between prompt and text.
        seed: of the split and the training.
        device, progress, training: see `supervised.reward_model.train_reward_model`.

    Raises:
        ConfigError: an option makes no sense, or there is something in the output folder.
        DataError: too few prompts, or nothing to learn.
        ModelError: the base model cannot be used.
    """
    from rl4lms.supervised.reward_model import train_reward_model
    from rl4lms.supervised.reward_rows import Columns

    if kind == "ratings" and answered.form.kind != "likert":
        raise ConfigError(f"kind ratings: the study is {answered.form.kind}, which has none; leave it out")
    if not 0 < holdout < 1:
        raise ConfigError(f"holdout is a share of the prompts, above 0 and below 1, got {holdout:g}")
    check_folder(output)
    rows = preferences(answered, gap=gap, question=question) if kind == "preferences" else ratings(answered, question)
    test_prompts = _held_out(sorted({row["prompt_id"] for row in rows}), holdout, seed)
    parts = {
        TRAIN: [row for row in rows if row["prompt_id"] not in test_prompts],
        TEST: [row for row in rows if row["prompt_id"] in test_prompts],
    }
    if not any(row["prompt"] for row in rows):
        join = ""  # of nothing
    output.mkdir(parents=True, exist_ok=True)
    for name, own in parts.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in own)
        (output / name).write_text(text, encoding="utf-8")
    result = train_reward_model(
        base,
        str(output / TRAIN),
        output / MODEL,
        test=str(output / TEST),
        kind=kind,
        columns=Columns(join=join),
        seed=seed,
        device=device,
        progress=progress,
        **training,
    )
    made = _told(answered, question, output, kind, parts, join, device, result)
    (output / REPORT).write_text(json.dumps(asdict(made), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return made


def _told(
    answered: Answered,
    question: str | None,
    output: Path,
    kind: Kind,
    parts: Mapping[str, Sequence[Mapping[str, Any]]],
    join: str,
    device: Device,
    result: Mapping[str, Any],
) -> ToReward:
    """Return what is told of a model that was trained."""
    about = json.loads((output / MODEL / "reward_model.json").read_text(encoding="utf-8"))
    train, test = ({row["prompt_id"] for row in parts[name]} for name in (TRAIN, TEST))
    held = [one for one in judgements(answered, question) if one.prompt in test]
    model, people = _agreement(answered, held, output / MODEL, about, join, device)
    return ToReward(
        use=_with_join(about["use"], join) if about["include_prompt"] else about["use"],
        kind=kind,
        train_rows=len(parts[TRAIN]),
        test_rows=len(parts[TEST]),
        train_prompts=len(train),
        test_prompts=len(test),
        model=model,
        people=people,
        judgements=len(held),
        result=result,
    )


def _with_join(use: str, join: str) -> str:
    return f"{use.removesuffix('}')}, join: {json.dumps(join, ensure_ascii=False)}}}"


def ratings(answered: Answered, question: str | None = None) -> list[dict[str, Any]]:
    """Return the mean rating of every text, as rows with `prompt`, `text` and `rating`.

    Raises:
        DataError: the form has no such question, or nobody answered it.
    """
    scales = [one.key for one in answered.form.scales]
    if question is not None and question not in scales:
        raise DataError(f"question {question!r}: the form has no such scale; it has {', '.join(scales)}")
    texts = {(rating.prompt_id, rating.systems[0]): (rating.prompt, rating.completions[0]) for rating in answered.rated}
    given: dict[tuple[str, str], list[float]] = defaultdict(list)
    for value in values_of(answered):
        if value.question == question or (question is None and value.question in scales):
            given[value.prompt, value.system].append(value.value)
    found = []
    for (prompt_id, system), values in given.items():
        prompt, text = texts[prompt_id, system]
        found.append(
            {
                "prompt": prompt,
                "text": text,
                "rating": fmean(values),
                "prompt_id": prompt_id,
                "system": system,
                "raters": len(values),
            }
        )
    if not found:
        raise DataError(f"{answered.name}: nobody has rated a text, so there is nothing to learn")
    return found


def _held_out(prompts: Sequence[str], holdout: float, seed: int) -> set[str]:
    if len(prompts) < 2:
        raise DataError("the answers are of one prompt, so none can be held out; collect more")
    count = min(max(1, round(holdout * len(prompts))), len(prompts) - 1)
    return set(random.Random(seed).sample(list(prompts), count))


def judgements(answered: Answered, question: str | None = None) -> list[Judgement]:
    """Return every choice of a single rater between two texts of a prompt, ties left out: comparisons as they were
    made, and of ratings those of two texts that the rater rated differently.
    """
    if answered.form.kind != "likert":
        return [
            Judgement(one.rater, one.prompt, *_ordered(one)) for one in comparisons_of(answered) if one.outcome != 0.5
        ]
    scales = [one.key for one in answered.form.scales if question in (None, one.key)]
    given: dict[tuple[int, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for value in values_of(answered):
        if value.question in scales:
            given[value.rater, value.prompt][value.system].append(value.value)
    found = []
    for (rater, prompt), of_system in given.items():
        means = {system: fmean(own) for system, own in of_system.items()}
        for one, other in combinations(sorted(means), 2):
            if means[one] != means[other]:
                better, worse = (one, other) if means[one] > means[other] else (other, one)
                found.append(Judgement(rater, prompt, better, worse))
    return found


def _ordered(one: Comparison) -> tuple[str, str]:
    return (one.first, one.second) if one.outcome == 1 else (one.second, one.first)


def agreement_of_people(held: Sequence[Judgement]) -> Estimate | None:
    """Estimate how often two raters of the same two texts agree: what a model can reach at best, about, since it is
    compared with single raters as well.
    """
    of_pair: dict[tuple[str, str, str], list[Judgement]] = defaultdict(list)
    for one in held:
        first, second = sorted((one.better, one.worse))
        of_pair[one.prompt, first, second].append(one)
    agree, prompts, raters = [], [], []
    for own in of_pair.values():
        for one, other in combinations(own, 2):
            agree.append(float(one.better == other.better))
            prompts.append(one.prompt)
            raters.append(one.rater)
    return clustered_share(agree, prompts, raters) if agree else None


def _agreement(
    answered: Answered, held: Sequence[Judgement], folder: Path, about: Mapping[str, Any], join: str, device: Device
) -> tuple[Estimate, Estimate | None]:
    """Return the model's agreement with held-out judgements, and people's with each other."""
    if not held:
        raise DataError(
            f"{folder.parent}: the model is trained, but of the held-out prompts no rater has told two texts apart, so "
            "its agreement with people is not known; hold out more"
        )
    texts = {
        (rating.prompt_id, system): (rating.prompt, completion)
        for rating in answered.rated
        for system, completion in zip(rating.systems, rating.completions, strict=True)
        if system is not None
    }
    places = sorted({(one.prompt, system) for one in held for system in (one.better, one.worse)})
    score = dict(zip(places, _scores([texts[place] for place in places], folder, about, join, device), strict=True))
    right = []
    for one in held:
        better, worse = score[one.prompt, one.better], score[one.prompt, one.worse]
        right.append(0.5 if better == worse else float(better > worse))
    model = clustered_share(right, [one.prompt for one in held], [one.rater for one in held])
    return model, agreement_of_people(held)


def _scores(
    texts: Sequence[tuple[str, str]], folder: Path, about: Mapping[str, Any], join: str, device: Device
) -> list[float]:
    from rl4lms.rewards.preference import PreferenceReward

    reward = PreferenceReward(
        model=str(folder),
        include_prompt=about["include_prompt"],
        join=join,
        max_tokens=about["max_tokens"],
        truncation_side=about["truncation_side"],
        device=device,
    )
    return reward([prompt for prompt, _ in texts], [completion for _, completion in texts])
