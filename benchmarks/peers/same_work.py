"""The work that every script here is given, how it is measured, and what shows that it was done.

Imports nothing of this library, so that it runs in the environments of the peers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parents[1]))
from workloads import EPOCHS, MINIBATCH, NEW_TOKENS, reward

__all__ = ["EPOCHS", "LEARNING_RATE", "MAX_GRAD_NORM", "MINIBATCH", "NEW_TOKENS", "Measurement", "Work", "reward"]

LEARNING_RATE, KL_COEF, MAX_GRAD_NORM = 1e-6, 0.05, 0.5
COMPLETIONS = 64
GROUP = {"ppo": 1, "grpo": 4, "rloo": 4}  # completions of a prompt
PASSES = {"ppo": EPOCHS, "grpo": EPOCHS, "rloo": 1}  # over the completions; RLOO has no ratio to correct further ones


class Work:
    """The work of one process, from its command line.

    Attributes:
        algorithm: `ppo`, `grpo` or `rloo`.
        model: folder of the random weights.
        group: completions of each prompt.
        passes: over the completions of an iteration.
        steps: optimiser steps of an iteration.
        iterations: how many there are; the last is measured, those before it warm up. With one, a tiny rollout warms
            up.
        data: file of the prompts, one JSON object with `prompt` a line.
        prompts: their texts; the word `w12` is token 12.
        plain_products: whether this library is to leave matrix products to PyTorch, as it does on Intel's processors.
    """

    def __init__(self, algorithms: Iterable[str]) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--algorithm", choices=list(algorithms), required=True)
        parser.add_argument("--folder", type=Path, required=True, help="what ours.py --write has made")
        parser.add_argument("--iterations", type=int, default=1)
        parser.add_argument("--plain-products", action="store_true", help="PyTorch's own matrix products (ours.py)")
        options = parser.parse_args()
        torch.set_num_threads(1)
        self.plain_products = options.plain_products
        self.algorithm, self.iterations, folder = options.algorithm, options.iterations, options.folder
        self.group, self.passes = GROUP[self.algorithm], PASSES[self.algorithm]
        self.steps = self.passes * COMPLETIONS // MINIBATCH
        self.model = folder / "model"
        self.data = folder / f"prompts-{COMPLETIONS // self.group}.jsonl"
        self.prompts = [json.loads(line)["prompt"] for line in self.data.read_text().splitlines()]
        self.ids = [[int(word[1:]) for word in prompt.split()] for prompt in self.prompts]
        assert len(self.prompts) * self.group == COMPLETIONS

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Return the tokenizer with an EOS that no row of the model's output stands for, so that none is sampled."""
        path = self.model / "tokenizer.json"  # what else the folder says of it depends on the version of transformers
        return PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="w0", eos_token="never")


def largest_gb() -> float:
    """Return the largest resident memory so far, in 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


class Measurement:
    """Counts what is done and clocks the last iteration.

    Call `started` and `ended` around every iteration, `rollout` with what it sampled, `report` at the end.
    """

    def __init__(self, work: Work) -> None:
        self.work, self.steps, self.sampled, self.loaded_gb = work, 0, [0, 0], 0.0
        self.seen: list[list[int]] = []
        register_optimizer_step_post_hook(self._stepped)

    def _stepped(self, optimizer: Any, *arguments: Any) -> None:
        self.steps += 1
        self.optimizer = type(optimizer).__name__

    def started(self) -> None:
        self.steps, self.sampled, self.seen = 0, [0, 0], []
        self.loaded_gb = self.loaded_gb or largest_gb()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def ended(self) -> None:
        self.cpu_s, self.wall_s = time.process_time() - self._cpu, time.perf_counter() - self._wall
        self.max_rss_gb = largest_gb()

    def rollout(self, prompt_ids: Iterable[Iterable[int]], lengths: Iterable[int]) -> None:
        """Note the prompts, one row for each completion, as the model was given them, and the completions' lengths."""
        lengths = list(lengths)
        assert set(lengths) == {NEW_TOKENS}, f"completions of {sorted(set(lengths))} tokens"
        self.sampled = [self.sampled[0] + len(lengths), self.sampled[1] + sum(lengths)]
        self.seen += [list(row) for row in prompt_ids]

    def report(self, package: str, named: Callable[[], Iterable[tuple[str, torch.Tensor]]]) -> None:
        """Assert that the work was done, and print the figures as one JSON object.

        Args:
            package: what was measured.
            named: the parameters of the language model, by their names in its folder.
        """
        work = self.work
        wanted = sorted(row for row in work.ids for _ in range(work.group))
        assert sorted(self.seen) == wanted, "other prompts than those of the file"
        assert self.sampled == [COMPLETIONS, COMPLETIONS * NEW_TOKENS], self.sampled
        assert self.steps == work.steps, f"{self.steps} optimiser steps in place of {work.steps}"
        before = load_file(work.model / "model.safetensors")
        after = dict(named())
        assert all(p.dtype == torch.float32 for p in after.values())
        # the output layer is the embeddings, which some folders hold once
        missing = set(before) - set(after)
        assert not missing, f"no weights of the names {missing}"
        still = [name for name, tensor in before.items() if torch.equal(tensor, after[name].detach())]
        assert not still, f"these weights have not moved: {still}"
        print(
            json.dumps(
                {
                    "package": package,
                    "algorithm": work.algorithm,
                    "cpu_s": self.cpu_s,
                    "wall_s": self.wall_s,
                    "max_rss_gb": self.max_rss_gb,
                    "loaded_rss_gb": self.loaded_gb,  # at most, before the first iteration
                    "load": os.getloadavg()[0],
                    "work": {
                        "prompts": hashlib.sha256(json.dumps(sorted(self.seen)).encode()).hexdigest(),
                        "completions": self.sampled[0],
                        "completion_tokens": self.sampled[1],
                        "optimizer_steps": self.steps,
                        "optimizer": self.optimizer,
                        "weights": sum(before[name].numel() for name in before),
                    },
                    "versions": {
                        "python": platform.python_version(),
                        **{name: version(name) for name in (package, "torch", "transformers")},
                    },
                    "instructions": torch.backends.cpu.get_cpu_capability(),
                }
            )
        )
