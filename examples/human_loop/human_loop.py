"""People's preferences become a reward, the reward trains a model, and people judge the result: with simulated people
whose taste is known.

    python examples/human_loop/human_loop.py runs/human-loop          about ten minutes on one core

1. A grid of the task `commongen` (mini) with a supervised model; its texts for training prompts, and the base model's.
2. A pairwise study of their texts. Its raters are simulated: they like sentences of about nine words that say where
   something happens, dislike repeated words, choose with the noise of the Bradley-Terry model, and give one answer in
   ten blindly.
3. `rl4lms human to-reward` learns a preference model from what they said.
4. PPO from the supervised model with that model as its reward.
5. A second pairwise study on test prompts, by other raters with the same taste: who wins?

The two reports are in `report-1.json` and `report-2.json`. Nothing but the raters' answers knows their taste. It is not
about whether a sentence makes sense, and RL finds that out: reports/human-loop.md.
"""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

from rl4lms.human_eval.answers import read_answers
from rl4lms.human_eval.store import Study
from rl4lms.supervised.assets import word_tokenizer
from rl4lms.tasks.commongen.grammar import vocabulary
from rl4lms.tasks.commongen.table import SCENES

PLACES = {place.partition(":")[2] for _, _, _, places, _ in SCENES.values() for place in places}


def main(folder: Path) -> None:
    """Run all five steps; each is skipped where it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    first, second, taught = folder / "first", folder / "second", folder / "taste"
    grid = ["grue", "run", "--tasks", "commongen", "--seeds", "1", "--jobs", "1", "--quiet"]
    rl4lms(*grid, "--systems", "supervised", "--output", first)
    base = folder / "base.yaml"
    base.write_text("task: commongen\n", encoding="utf-8")  # the model that the supervised one began with
    models = {"base": base, "supervised": first / "cells" / "commongen" / "supervised" / "seed-0" / "run"}
    texts = {name: folder / f"{name}.json" for name in models}
    for name, model in models.items():
        if not texts[name].exists():  # for training prompts: those of test are for the second study
            many = ["evaluation.prompts=2600", "evaluation.on_training_data=true"]
            rl4lms("evaluate", model, "--split", "train", "--output", texts[name], *many)
    study(folder / "study-1", *texts.values(), items=2400, people=72, seed=1)

    tiny_encoder(folder / "encoder")
    if not taught.exists():
        training = ["--base", folder / "encoder", "--epochs", 8, "--learning-rate", 1e-3]
        rl4lms("human", "to-reward", folder / "study-1", *training, "--output", taught)

    reward = f"{{name: preference, model: {taught / 'model'}, join: ' '}}"
    systems = ["--systems", "supervised,people=supervised+ppo", "--reward", reward]
    rl4lms(*grid, *systems, "--output", second, "evaluation.prompts=200")
    study(folder / "study-2", second, items=150, people=9, seed=2)
    for number in (1, 2):
        report = ["--format", "json", "--output", folder / f"report-{number}.json"]
        rl4lms("human", "report", folder / f"study-{number}", *report)
    rl4lms("human", "report", folder / "study-2")


def rl4lms(*words: object) -> None:
    """Run a command, and stop where it fails."""
    print("\n$ rl4lms", *words, flush=True)
    subprocess.run([sys.executable, "-m", "rl4lms", *map(str, words)], check=True)


def tiny_encoder(folder: Path) -> None:
    """Write an encoder that knows the words of the task and nothing else; a pretrained one does better."""
    if folder.exists():
        return
    set_seed(0)
    tokenizer: PreTrainedTokenizerFast = word_tokenizer(vocabulary())
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def study(folder: Path, *texts: Path, items: int, people: int, seed: int) -> None:
    """Make a study of texts, and let simulated people answer it."""
    if not folder.exists():
        asked = ["--attention", 2, "--repeats", 4, "--raters", 3, "--people", people, "--items", items, "--seed", seed]
        rl4lms("human", "create", *texts, "--form", "general-pairwise", *asked, "--output", folder)
    opened = Study(folder / "study.sqlite")
    with (folder / "invites.csv").open(encoding="utf-8") as file:
        links = [row["link"] for row in csv.DictReader(file) if row["kind"] == "rater"]
    for link in links:
        rater = opened.doors.rater_of_invite(link.rpartition("/")[2])
        assert rater is not None
        answer_all(opened, rater, Random(f"{seed} {rater}"))
    opened.close()


def answer_all(opened: Study, rater: int, random: Random) -> None:
    """Answer every page of a rater as somebody with the taste would."""
    opened.consent(rater)
    while (position := opened.next_position(rater)) is not None:
        page = opened.open_page(rater, position)
        texts = [page.texts[output] for output in page.order]
        asked = next((place for place in (1, 2) if f"Text {place}" in texts[0]), None)  # a check of attention
        choice = asked or 1 + (not prefers_first(texts, random))
        read = read_answers(opened.form, {"choice": [str(choice)]}, page.texts, page.order)
        opened.save(rater, position, read.answers)


def prefers_first(texts: Sequence[str], random: Random) -> bool:
    """Choose by taste with the noise of the Bradley-Terry model, and now and then blindly."""
    if random.random() < 0.1:
        return random.random() < 0.5
    return random.random() < 1 / (1 + math.exp(taste(texts[1]) - taste(texts[0])))


def taste(text: str) -> float:
    """4 for saying where, -0.5 for each word more or less than nine, -1.5 for each that is repeated."""
    words = [word for word in text.split() if word.isalpha()]
    content = [word for word in words if word not in ("the", "a", "an")]
    return 4.0 * bool(PLACES & set(words)) - 0.5 * abs(len(words) - 9) - 1.5 * (len(content) - len(set(content)))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
