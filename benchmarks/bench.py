"""Speed and memory of a training iteration: rollout, log-prob passes, update; and the rollout against HF `generate`.

    python benchmarks/bench.py [--workload A B C D] [--variant ppo separate nlpo bf16 lora grpo] [--repeats 1]

Every workload and variant runs in a fresh process: `Loop.step` of a recipe, as `rl4lms train` runs it. A: GPT-2-small's
shape, 64 prompts of 64 tokens. B: 4 layers of width 256, vocabulary 4,096, the same batch. C: T5-small's shape, 64
prompts of 256 tokens. D: B with 256 prompts and completions of geometric length. All generate at most 48 tokens and
update with minibatches of 16 in 4 epochs; float32 and a shared trunk unless the variant says otherwise. *grpo* has a
quarter of the prompts, with four completions each, and no value function.

*Efficiency* is the work that an iteration needs over CPU seconds times this machine's float32 matmul rate, that of a
linear layer as the models here have it, measured before and after in the same process. The work is 15 forward passes,
whatever the code really runs (one rollout, a policy and a reference pass, four epochs of three), and for a separate
value LM 13 more of the blocks; a prompt counts once for all its completions. *plain* is the efficiency of a forward and
backward pass of one minibatch by the HF model alone, with PyTorch's own products. The last line of the output is one
JSON object with every figure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MINIBATCH, NEW_TOKENS = 16, 48
COLUMNS = ("rollout", "pass", "update", "iteration", "wall", "tok/s", "effic.", "plain", "GB", "vs HF", "vs PPO")


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", nargs="+", choices=["A", "B", "C", "D"], default=["A", "B", "C", "D"])
    parser.add_argument(
        "--variant", nargs="+", choices=["ppo", "separate", "nlpo", "bf16", "lora", "grpo"], default=None
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--repeats", type=int, default=1, help="iterations that are measured, after a warm-up; medians are shown"
    )
    parser.add_argument(
        "--one", action="store_true", help="measure in this process (what the fresh processes are started with)"
    )
    return parser.parse_args()


def variants_of(workload: str) -> list[str]:
    """Return what is measured where `--variant` is not given."""
    return {
        "A": ["ppo", "separate", "nlpo", "bf16", "lora", "grpo"],
        "B": ["ppo", "separate", "nlpo", "bf16", "grpo"],
        "C": ["ppo", "nlpo", "grpo"],
        "D": ["ppo"],
    }[workload]


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Median CPU seconds after one warm-up."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def measure(name: str, variant: str, threads: int, repeats: int) -> dict[str, Any]:
    """Return all figures of one workload and variant."""
    import torch
    from workloads import VARIANTS, WORKLOADS, forced_lengths, forward_flop, recipe, write_inputs

    from rl4lms.config import recipe_from_dict
    from rl4lms.models import generate
    from rl4lms.models.products import fast_products
    from rl4lms.training.loop import Loop
    from rl4lms.training.run import assemble

    torch.set_num_threads(threads)
    workload, cpu_seconds = WORKLOADS[name], dict[str, float]()

    wall_timed = Loop._timed

    @contextlib.contextmanager
    def timed_twice(loop: Loop, name: str) -> Iterator[None]:
        """The loop's own clock, which counts wall seconds, with CPU seconds beside it."""
        start = time.process_time()
        with wall_timed(loop, name):
            yield
        cpu_seconds[name] = time.process_time() - start

    Loop._timed = timed_twice  # type: ignore[method-assign]
    if workload.prompt_tokens is None:
        generate.draw = forced_lengths(generate.draw, eos=1)
    a, b = torch.randn(1792, 768), torch.randn(768, 3072)
    flop, linear = 2 * 1792 * 768 * 3072, torch.nn.Linear(768, 3072, bias=False).requires_grad_(False)
    fast_products(linear)
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(workload, Path(folder))
        loop = assemble(
            recipe_from_dict(recipe(workload, variant, *inputs, Path(folder) / "run")), Path(folder) / "run"
        )
    rates = [flop / timed(lambda: linear(a), 20)]
    warm_up = loop.engine.rollout(
        loop.samples[:2], loop.recipe.rollout, stream="evaluation", step=0, mask_rule=loop.masking and loop.masking.rule
    )
    steps: list[dict[str, float]] = []
    for step in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        numbers = loop.step(step)
        whole = {"iteration": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        steps.append(whole | cpu_seconds | {"tokens": numbers["rollout/completion_tokens"] * workload.completions})
    rates.append(flop / timed(lambda: linear(a), 20))
    figures = {key: statistics.median(s[key] for s in steps) for key in steps[0]}
    rate = statistics.mean(rates)
    prompts = loop.samples[: loop.recipe.training.prompts_per_iteration]
    prompt_tokens = sum(len(row) for row in loop.engine.encoder(prompts))
    blocks, head = forward_flop(loop.models.policy.lm, prompt_tokens, int(figures["tokens"]))
    needed = 15 * (blocks + head) + VARIANTS[variant][1] * blocks
    low = [m.bfloat16() for m in (a, b)]
    out: dict[str, Any] = {
        "workload": name,
        "variant": variant,
        "threads": threads,
        "rollout_cpu_s": figures["rollout"],
        "pass_cpu_s": figures["pass"],
        "update_cpu_s": figures["update"],
        "iteration_cpu_s": figures["iteration"],
        "iteration_wall_s": figures["wall"],
        "completion_tokens": figures["tokens"],
        "prompt_tokens": prompt_tokens,
        "tokens_per_wall_s": figures["tokens"] / figures["wall"],
        "cpu_s_per_1000_real_tokens": 1000 * figures["iteration"] / (prompt_tokens + figures["tokens"]),
        "tflop": needed / 1e12,
        "matmul_gflop_per_cpu_s": [r / 1e9 for r in rates],
        "efficiency": needed / rate / figures["iteration"],
        "max_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "torch": torch.__version__,
    }
    if variant == "bf16":  # minutes on a processor that has no such instructions
        out["bf16_over_float32_matmul"] = flop / statistics.mean(rates) / timed(lambda: low[0] @ low[1], 20)
    if variant in ("ppo", "bf16") and workload.prompt_tokens is not None:
        out["rollout_over_hf_generate"] = figures["rollout"] / hf_generate(
            loop, workload.completions, warm_up.prompt_ids[0].numel()
        )
    if variant == "ppo" and workload.prompt_tokens is not None:
        share = MINIBATCH / workload.completions
        seconds = timed(plain_pass(workload.build(), workload.prompt_tokens), 3)
        out["plain_efficiency"] = 3 * (blocks + head) * share / rate / seconds
    return out


def plain_pass(lm: Any, prompt_tokens: int) -> Callable[[], None]:
    """Forward and backward pass of one minibatch of the HF model, with the output layer on completion tokens alone."""
    import torch

    lm.eval()
    prompts, completions = (torch.randint(3, lm.config.vocab_size, (MINIBATCH, n)) for n in (prompt_tokens, NEW_TOKENS))

    def work() -> None:
        lm.zero_grad()
        if lm.config.is_encoder_decoder:
            logits = lm(input_ids=prompts, labels=completions, use_cache=False).logits
        else:
            hidden = lm.transformer(torch.cat([prompts, completions], 1), use_cache=False).last_hidden_state
            logits = lm.lm_head(hidden[:, prompt_tokens - 1 : -1])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), completions.flatten()).backward()

    return work


def hf_generate(loop: Any, prompts: int, length: int) -> float:
    """CPU seconds of HF `generate` on a batch of the same shape, sampling as many tokens."""
    import torch

    policy, new = loop.models.policy, loop.recipe.rollout.max_new_tokens
    ids = torch.randint(3, policy.lm.config.vocab_size, (prompts, length))
    options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": True, "top_k": 0, "pad_token_id": 0}
    start = time.process_time()
    with torch.no_grad(), policy.precision():
        policy.lm.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    return time.process_time() - start


def table(results: list[dict[str, Any]]) -> None:
    """Print the results; times in CPU seconds but for `wall`."""
    ppo = {r["workload"]: r for r in results if r["variant"] == "ppo"}
    print(f"{'':11s}" + "".join(f"{column:>10s}" for column in COLUMNS))
    for r in results:
        cells = [r["rollout_cpu_s"], r["pass_cpu_s"], r["update_cpu_s"], r["iteration_cpu_s"], r["iteration_wall_s"]]
        cells += [
            r["tokens_per_wall_s"],
            r["efficiency"],
            r.get("plain_efficiency"),
            r["max_rss_gb"],
            r.get("rollout_over_hf_generate"),
        ]
        cells.append(r["iteration_cpu_s"] / ppo[r["workload"]]["iteration_cpu_s"] if r["workload"] in ppo else None)
        print(
            f"{r['workload'] + ' ' + r['variant']:11s}"
            + "".join(f"{'':>10s}" if c is None else f"{c:10.3g}" for c in cells)
        )


def main() -> None:
    """Measures, or starts the processes that do."""
    args = arguments()
    if args.one:
        print(json.dumps(measure(args.workload[0], args.variant[0], args.threads, args.repeats)))
        return
    results = []
    environment = os.environ | {
        "OMP_NUM_THREADS": str(args.threads),
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
    }
    bf16 = native_bf16()
    for workload in args.workload:
        for variant in args.variant or variants_of(workload):
            if variant == "bf16" and not bf16:
                print(f"{workload} bf16: skipped, this CPU has neither avx512_bf16 nor AMX")
                continue
            settings = [
                "--workload",
                workload,
                "--variant",
                variant,
                "--threads",
                str(args.threads),
                "--repeats",
                str(args.repeats),
            ]
            done = subprocess.run(
                [sys.executable, __file__, "--one", *settings], env=environment, stdout=subprocess.PIPE, text=True
            )
            if done.returncode:
                sys.exit(f"{workload} {variant} failed")
            results.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{workload} {variant}: {results[-1]['iteration_cpu_s']:.1f} CPU s", file=sys.stderr, flush=True)
    table(results)
    by_name = {(r["workload"], r["variant"]): r for r in results}
    if ("B", "ppo") in by_name and ("D", "ppo") in by_name:
        d, b = by_name["D", "ppo"], by_name["B", "ppo"]
        print(
            f"D's cost per real token over B's: {d['cpu_s_per_1000_real_tokens'] / b['cpu_s_per_1000_real_tokens']:.3f}"
        )
    figures = {f"{r['workload']} {r['variant']}": ratios(r, by_name) for r in results}
    print(json.dumps({"processor": processor(), "results": results, "ratios": figures}))


def ratios(r: dict[str, Any], by_name: dict[tuple[str, str], dict[str, Any]]) -> dict[str, float]:
    """Return the figures that hardly depend on the machine: what `check.py` compares."""
    out = {"max_rss_gb": r["max_rss_gb"]}
    ppo, b = by_name.get((r["workload"], "ppo")), by_name.get(("B", "ppo"))
    if "plain_efficiency" in r:
        out["efficiency_over_plain"] = r["efficiency"] / r["plain_efficiency"]
    if "rollout_over_hf_generate" in r:
        out["rollout_over_hf_generate"] = r["rollout_over_hf_generate"]
    if ppo is not None and ppo is not r:
        out["iteration_over_ppo"] = r["iteration_cpu_s"] / ppo["iteration_cpu_s"]
    if r["workload"] == "D" and b is not None:
        out["cost_per_real_token_over_b"] = r["cpu_s_per_1000_real_tokens"] / b["cpu_s_per_1000_real_tokens"]
    return out


def processor() -> str:
    """Return the vector instructions that torch uses, such as AVX2, and whether linear layers are oneDNN's."""
    import torch

    from rl4lms.models.products import pays

    return torch.backends.cpu.get_cpu_capability() + (", oneDNN" if pays() else "")


def native_bf16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.is_file() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


if __name__ == "__main__":
    main()
