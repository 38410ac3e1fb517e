"""From answers to a reward, and how far it agrees with people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.human_eval.table import Answered
from rl4lms.human_eval.to_reward import MODEL, REPORT, TEST, TRAIN, agreement_of_people, judgements, ratings, to_reward
from tests.unit.human_eval.simulated import LIKERT, PAIRWISE, likert_study, pairwise_study, rating
from tests.unit.supervised.test_reward_model import encoder

TRAINING = {"epochs": 8, "batch_size": 32, "learning_rate": 5e-3, "max_tokens": 32, "device": "cpu"}


def number_study(noise: float = 0.0, prompts: int = 120) -> Answered:
    """Texts are numbers; the larger first number is the better text, which raters say but for noise."""
    random = np.random.default_rng(0)
    answers = []
    for item in range(prompts):
        a, b = (int(n) for n in random.choice(20, 2, replace=False))
        texts = tuple(" ".join(map(str, (n, *random.integers(0, 20, 2)))) for n in (a, b))
        for rater in (1, 2, 3):
            wrong = random.random() < noise
            choice = int((a < b) != wrong)
            answers.append(
                rating(rater, item, ["s", "t"], {"choice": choice}, completions=texts, prompt="", context={})
            )
    return Answered("numbers", PAIRWISE, answers)


def test_a_model_of_preferences_agrees_with_people_it_has_not_seen(tmp_path: Path):
    made = to_reward(number_study(0.1), encoder(tmp_path / "base"), tmp_path / "liked", **TRAINING)
    assert made.people is not None
    assert made.people.value == pytest.approx(0.82, abs=0.1)  # 0.9² + 0.1²
    assert made.model.value > 0.75
    assert made.model.low < made.model.value < made.model.high
    parts = [
        {json.loads(line)["prompt_id"] for line in (tmp_path / "liked" / name).read_text().splitlines()}
        for name in (TRAIN, TEST)
    ]
    assert not parts[0] & parts[1]
    assert len(parts[1]) == made.test_prompts == 24
    told = json.loads((tmp_path / "liked" / REPORT).read_text())
    assert (
        told["use"]
        == made.use
        == f"reward: {{name: preference, model: {tmp_path / 'liked' / MODEL}, include_prompt: false}}"
    )


def test_the_line_of_a_recipe_is_a_reward(tmp_path: Path):
    import yaml

    from rl4lms.plugins.component import Component
    from rl4lms.rewards import build

    study = number_study(prompts=40)
    study = Answered(
        "numbers",
        PAIRWISE,
        [
            rating(r.rater, r.item, r.systems, r.answers, completions=r.completions, prompt=f"{r.item % 20}")
            for r in study.ratings
        ],
    )
    made = to_reward(study, encoder(tmp_path / "base"), tmp_path / "liked", **{**TRAINING, "epochs": 1})
    line = yaml.safe_load(made.use)["reward"]
    assert line["join"] == " "
    reward = build(Component(**line))
    assert len(reward(prompts=["1", "2"], completions=["3 4", "5 6"])) == 2


@pytest.mark.slow
def test_a_model_of_ratings(tmp_path: Path):
    random = np.random.default_rng(1)
    answers = [
        rating(
            r,
            2 * p + s,
            [f"s{s}"],
            {"quality": 1 + n // 4, "fluency": 3},
            completions=(f"{n} {n}",),
            prompt="",
            prompt_id=f"p{p}",
        )
        for p in range(60)
        for s in (0, 1)
        for n in [int(random.integers(0, 20))]
        for r in (1, 2)
    ]
    study = Answered("ratings", LIKERT, answers)
    made = to_reward(
        study,
        encoder(tmp_path / "base"),
        tmp_path / "m",
        kind="ratings",
        question="quality",
        **{**TRAINING, "epochs": 80},
    )
    assert made.result["spearman"] > 0.7
    assert made.people is not None
    assert made.people.value == 1


def test_rows_of_ratings_are_means():
    answers = [rating(r, 1, ["a"], {"quality": q, "fluency": 1}, prompt_id="p") for r, q in ((1, 2), (2, 5))]
    (row,) = ratings(Answered("x", LIKERT, answers), "quality")
    assert (row["rating"], row["raters"], row["system"]) == (3.5, 2, "a")
    assert ratings(Answered("x", LIKERT, answers))[0]["rating"] == 2.25
    with pytest.raises(DataError, match="no such scale"):
        ratings(Answered("x", LIKERT, answers), "nothing")


def test_judgements_of_ratings_are_those_of_one_rater():
    answers = [
        rating(1, 1, ["a"], {"quality": 4}, prompt_id="p"),
        rating(1, 2, ["b"], {"quality": 2}, prompt_id="p"),
        rating(2, 1, ["a"], {"quality": 3}, prompt_id="p"),
        rating(2, 2, ["b"], {"quality": 3}, prompt_id="p"),
        rating(3, 1, ["a"], {"quality": 1}, prompt_id="p"),
    ]
    (one,) = judgements(Answered("x", LIKERT, answers), "quality")
    assert (one.rater, one.better, one.worse) == (1, "a", "b")


def test_agreement_of_people_is_that_of_pairs_of_raters():
    answers = [rating(r, 1, ["a", "b"], {"choice": c}) for r, c in ((1, 0), (2, 0), (3, 1))]
    found = agreement_of_people(judgements(Answered("x", PAIRWISE, answers)))
    assert found is not None
    assert found.value == pytest.approx(1 / 3)
    assert agreement_of_people([]) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [({"holdout": 0.0}, "holdout is a share"), ({"kind": "ratings"}, "has none"), ({"gap": 0.0}, "gap is above 0")],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, object], message: str):
    study = pairwise_study(np.random.default_rng(2), {"a": 1.0, "b": 0.0}, prompts=4)
    with pytest.raises((ConfigError, DataError), match=message):
        to_reward(study, "nothing", tmp_path / "x", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


def test_one_prompt_cannot_be_divided(tmp_path: Path):
    study = likert_study(np.random.default_rng(3), {"a": 1.5, "b": 4.5}, prompts=1)
    with pytest.raises(DataError, match="of one prompt"):
        to_reward(study, "nothing", tmp_path / "x")
