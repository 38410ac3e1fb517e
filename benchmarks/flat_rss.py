"""Whether the memory of a long run stays flat: 2,000 iterations of a tiny model, with evaluations, checkpoints and logs
as in any run.

Prints the resident set size every 200 iterations. The last line is one JSON object; the exit code is 1 where memory
grows by more than the limit between iterations 400 and 2,000. What comes before is not counted: allocators and caches
fill up.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from rl4lms.config import recipe_from_dict
from rl4lms.runs.display import quiet_libraries
from rl4lms.training.loop import Loop
from rl4lms.training.run import assemble

WARM, EVERY = 400, 200
# A leak of one tensor of one completion per iteration is above this: 1,600 iterations x 4 kB.
LIMIT_MB = 4.0


def rss_mb() -> float:
    """Resident set size of this process."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(
        resource.RUSAGE_SELF
    ).ru_maxrss  # elsewhere the peak stands for it: where that is flat, so is the size
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def write_model(folder: Path, words: int = 40) -> Path:
    """Return a GPT-2 of one layer with a tokenizer of numbers."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *map(str, range(words))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"vocab_size": len(vocabulary), "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
    GPT2LMHeadModel(GPT2Config(pad_token_id=0, eos_token_id=1, bos_token_id=1, **shape)).save_pretrained(folder)
    return folder


def settings(folder: Path, iterations: int, algorithm: str) -> dict[str, Any]:
    """Everything a real run does, as fast as it goes; completions end at different lengths."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text(
        "".join(
            json.dumps({"prompt": " ".join(str((i * k) % 40) for k in range(1, 2 + i % 4))}) + "\n" for i in range(256)
        )
    )
    options = {"mask_top_p": 0.9, "mask_update_every": 10} if algorithm == "nlpo" else {}
    return {
        "output_dir": str(folder / "run"),
        "device": "cpu",
        "model": {"path": str(write_model(folder / "model")), "value": "shared"},
        "data": {"train": str(prompts), "validation": str(prompts)},
        "prompt": {"max_tokens": 8},
        "reward": {"name": "increasing_numbers", "min_tokens": 8},
        "algorithm": {"name": algorithm, "n_epochs": 1, "minibatch_size": 8, **options},
        "rollout": {"max_new_tokens": 8},
        "training": {"iterations": iterations, "prompts_per_iteration": 8},
        "evaluation": {"every": 50, "prompts": 8, "metrics": [{"name": "diversity"}], "on_training_data": True},
        "checkpoint": {"every": 50, "keep_last": 2},
        "tracking": {"progress": False},
    }


def measure(loop: Loop, iterations: int) -> dict[int, float]:
    """Run the loop; the resident set size by iteration."""
    sizes: dict[int, float] = {}

    def after_step(step: int, numbers: dict[str, float]) -> None:
        if step % EVERY == 0:
            gc.collect()
            sizes[step] = rss_mb()
            print(f"iteration {step:5d}  {sizes[step]:8.1f} MB", flush=True)

    loop.after_step = after_step
    loop.run()
    assert loop.state.step == iterations
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument(
        "--algorithm", choices=("ppo", "nlpo"), default="nlpo", help="nlpo does everything that ppo does, and masks"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.iterations < WARM + EVERY:
        parser.error(f"--iterations: at least {WARM + EVERY}")
    torch.set_num_threads(options.threads)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run").mkdir()
        loop = assemble(recipe_from_dict(settings(folder, options.iterations, options.algorithm)), folder / "run")
        started = time.perf_counter()
        sizes = measure(loop, options.iterations)
        seconds = time.perf_counter() - started
    growth = max(size for step, size in sizes.items() if step > WARM) - sizes[WARM]
    result = {
        "algorithm": options.algorithm,
        "iterations": options.iterations,
        "seconds": round(seconds, 1),
        "rss_mb": {str(step): round(size, 1) for step, size in sizes.items()},
        "growth_mb": round(growth, 2),
        "limit_mb": LIMIT_MB,
        "flat": growth <= LIMIT_MB,
    }
    print(json.dumps(result))
    raise SystemExit(not result["flat"])


if __name__ == "__main__":
    main()
