"""Time a forward and backward pass in which completions share their prompt, against one in which each has its own.

    python benchmarks/shared_prompts.py                   # workloads A, B and C of bench.py, one thread
    python benchmarks/shared_prompts.py --device cuda --prompts 32 --completions 8

Prints seconds (of the processor on a CPU) of both, their ratio, what a run would choose, and the largest difference of
a gradient, relative to the largest gradient.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from typing import Any

import torch
from torch import Tensor
from workloads import WORKLOADS

from rl4lms.core.packing import Packed
from rl4lms.models.families import CausalFamily
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy


def timed(work: Any, repeats: int, device: torch.device) -> float:
    """Return the median of some runs, in seconds."""
    found = []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize()
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(clock() - start)
    return statistics.median(found)


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what is printed of one workload."""
    torch.manual_seed(0)
    device, n = torch.device(options.device), options.completions
    lm = WORKLOADS[name].build().eval().to(device)
    policy = Policy(lm, special_tokens(lm, None), autocast=torch.bfloat16 if options.bf16 else None)
    vocab, b = policy.tokens.vocab_size, options.prompts
    prompts = torch.randint(3, vocab, (b, options.prompt_tokens), device=device)
    completions = torch.randint(3, vocab, (b * n, options.new_tokens), device=device)
    own, real = torch.ones_like(prompts, dtype=torch.bool), torch.ones_like(completions, dtype=torch.bool)

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        policy.zero_grad()
        # a weight for each token, so that no gradient is near zero
        weight = torch.linspace(-1, 1, real.sum(), device=device)
        loss = lambda new, piece: (new.behaviour * weight[piece]).sum()  # noqa: E731
        out = policy(ids, mask, completions, real, full=False, entropy=False, loss=loss)
        assert out.loss is not None
        out.loss.backward()
        return torch.cat([p.grad.flatten() for p in policy.lm.parameters() if p.grad is not None])

    chosen = not isinstance(policy.family, CausalFamily) or Packed(prompts, own, completions, real).pays(
        policy.family.trunk.config.hidden_size
    )
    always = Packed.pays
    apart = lambda: run(prompts.repeat_interleave(n, 0), own.repeat_interleave(n, 0))  # noqa: E731
    together = lambda: run(prompts, own)  # noqa: E731
    Packed.pays = lambda *given: True  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, Packed, "pays", always)
        one, other = together(), apart()
        difference = float((one - other).abs().max() / other.abs().max())
        seconds = {"apart": timed(apart, options.repeats, device), "together": timed(together, options.repeats, device)}
    return {
        "workload": name, **{key: round(value, 4) for key, value in seconds.items()},
        "ratio": round(seconds["apart"] / seconds["together"], 2), "chosen": "together" if chosen else "apart",
        "gradient": f"{difference:.1e}",
    }  # fmt: skip


def main() -> None:
    """Print one line of JSON per workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=["A", "B", "C"], nargs="*", default=["A", "B", "C"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="torch.autocast")
    for option, default in (
        ("prompts", 4),
        ("completions", 4),
        ("prompt-tokens", 64),
        ("new-tokens", 48),
        ("repeats", 3),
    ):
        parser.add_argument(f"--{option}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.workload:
        print(json.dumps(compare(name, options)), flush=True)


if __name__ == "__main__":
    main()
