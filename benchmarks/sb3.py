"""PPO of Stable-Baselines3 beside PPO of this library: one model, one task, one set of hyper-parameters.

The model has no EOS, so that an iteration of either is the same number of whole completions; the reward is
`increasing_numbers`. What remains different: Stable-Baselines3 whitens advantages by minibatch, draws minibatches of
states and not of completions, and starts its value function at 0. Prints the mean reward of the rollouts and the
seconds of an iteration; the last line is one JSON object. The first iteration warms up and is left out of the seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import PPO
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from rl4lms.config import recipe_from_dict
from rl4lms.integrations.sb3 import KLPenalty, LMActorCriticPolicy, TextGenVecEnv
from rl4lms.runs.display import quiet_libraries
from rl4lms.training.run import assemble

RATE, EPOCHS, KL_COEF, GAE_LAMBDA = 1e-3, 4, 0.01, 0.95


def write(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what both train on: a random GPT-2 whose words are numbers, prompts, the reward, the lengths."""
    vocabulary = {"<pad>": 0, "<unk>": 1, **{str(i): i + 2 for i in range(options.vocab - 2)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder / "lm")
    torch.manual_seed(0)
    shape = {"n_embd": options.width, "n_layer": options.layers, "n_head": max(2, options.width // 64)}
    length = options.prompt_tokens + options.new_tokens
    config = GPT2Config(vocab_size=options.vocab, n_positions=length, **shape)
    config.bos_token_id = config.eos_token_id = None
    config.pad_token_id = 0
    GPT2LMHeadModel(config).save_pretrained(folder / "lm")
    rows = [
        {"prompt": " ".join(str((i * k) % (options.vocab - 2)) for k in range(1, options.prompt_tokens + 1))}
        for i in range(1, 65)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model": str(folder / "lm"),
        "data": str(folder / "prompts.jsonl"),
        "reward": {"name": "increasing_numbers", "min_tokens": options.new_tokens},
        "prompt": {"max_tokens": options.prompt_tokens},
    }


def of_sb3(task: dict[str, Any], options: argparse.Namespace, seed: int) -> tuple[list[float], list[float]]:
    """Return mean rewards and seconds of the iterations of Stable-Baselines3's PPO."""
    env = TextGenVecEnv(**task, num_envs=options.prompts, max_new_tokens=options.new_tokens)
    agent = PPO(
        LMActorCriticPolicy,
        env,
        learning_rate=RATE,
        n_steps=options.new_tokens,
        batch_size=options.states,
        n_epochs=EPOCHS,
        gamma=1.0,
        gae_lambda=GAE_LAMBDA,
        seed=seed,
        device=options.device,
        policy_kwargs={"model": task["model"], "optimizer_kwargs": {"eps": 1e-8}},
    )
    penalty, scores, seconds, paid = KLPenalty(KL_COEF), list[float](), list[float](), list[float]()

    class Scores(type(penalty).__base__):  # type: ignore[misc]
        """Keeps what the task paid."""

        def _on_step(self) -> bool:
            paid.append(float(sum(info["score"] for info in self.locals["infos"])))
            return True

    for step in range(options.iterations):
        paid.clear()
        started = time.perf_counter()
        agent.learn(options.prompts * options.new_tokens, callback=[penalty, Scores()], reset_num_timesteps=step == 0)
        waited(options.device)
        seconds.append(time.perf_counter() - started)
        scores.append(sum(paid) / options.prompts)
    return scores, seconds


def of_rl4lms(task: dict[str, Any], options: argparse.Namespace, seed: int) -> tuple[list[float], list[float]]:
    """Return mean rewards and seconds of the iterations of this library's PPO."""
    settings = {
        **task,
        "seed": seed,
        "device": options.device,
        "model": {"path": task["model"]},
        "data": {"train": task["data"], "holdout": 0},
        "algorithm": {
            "name": "ppo",
            "minibatch_size": max(1, options.states // options.new_tokens),
            "n_epochs": EPOCHS,
            "gae_lambda": GAE_LAMBDA,
        },
        "rollout": {"max_new_tokens": options.new_tokens},
        "optimizer": {"learning_rate": RATE},
        "kl": {"kl_coef": KL_COEF},
        "training": {"iterations": options.iterations, "prompts_per_iteration": options.prompts},
        "evaluation": {"every": 0, "on_training_data": True, "split": "train"},
        "checkpoint": {"every": 0},
        "tracking": {"progress": False},
    }
    scores, seconds = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        loop = assemble(recipe_from_dict(settings), Path(folder))
        for step in range(options.iterations):
            started = time.perf_counter()
            numbers = loop.step(step)
            waited(options.device)
            seconds.append(time.perf_counter() - started)
            scores.append(numbers["rollout/score"])
            loop.state.step = step + 1
    return scores, seconds


def waited(device: str) -> None:
    """Wait for what a GPU has still to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, words in (
        ("layers", 2, "of the GPT-2"),
        ("width", 64, "of the GPT-2"),
        ("vocab", 24, "tokens of the vocabulary"),
        ("prompt-tokens", 4, "tokens of every prompt"),
        ("new-tokens", 8, "tokens of every completion"),
        ("prompts", 64, "completions of an iteration"),
        ("states", 128, "tokens of a minibatch"),
        ("iterations", 80, "rollouts, each with an update"),
        ("threads", 1, "of torch"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{words} (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if options.iterations < 2:
        parser.error("--iterations: at least 2, since the first warms up")
    torch.set_num_threads(options.threads)
    quiet_libraries()
    result: dict[str, Any] = {"settings": vars(options), "torch": torch.__version__}
    if options.device == "cuda":
        result["gpu"] = torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as name:
        task = write(Path(name), options)
        found: dict[str, Any] = {"stable-baselines3": [], "rl4lms": []}
        for seed in options.seeds:  # one after the other, so that what else the machine does slows both
            found["stable-baselines3"].append(of_sb3(task, options, seed))
            found["rl4lms"].append(of_rl4lms(task, options, seed))
    for label, runs in found.items():
        middle = statistics.median(second for _, seconds in runs for second in seconds[1:])
        first = [round(scores[0], 3) for scores, _ in runs]
        last = [round(statistics.fmean(scores[-3:]), 3) for scores, _ in runs]
        tenths = [[scores[i] for scores, _ in runs] for i in range(0, options.iterations, 10)]
        result[label] = {
            "first": first,
            "last_three": last,
            "mean_every_tenth": [round(statistics.fmean(scores), 3) for scores in tenths],
            "seconds_per_iteration": round(middle, 4),
        }
        print(f"{label:18s} reward {first} -> {last}, {middle:.3f} s per iteration", flush=True)
    result["times_slower"] = round(
        result["stable-baselines3"]["seconds_per_iteration"] / result["rl4lms"]["seconds_per_iteration"], 2
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
