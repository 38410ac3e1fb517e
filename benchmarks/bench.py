"""Speed of the three parts of an iteration: rollout, log-prob pass, update; rollout against HF `generate` at the same batch.

    python benchmarks/bench.py [--workload A|B|C] [--threads 1] [--repeats 3]

Workloads have random weights and no EOS. A: GPT-2-small's shape, 64 prompts of 64 tokens. B: 4 layers of width 256, vocabulary 4,096, the
same batch. C: T5-small's shape, 64 prompts of 256 tokens. All generate 48 tokens and update with minibatches of 16, 4 epochs, float32.
*Efficiency* is the floating-point work that one PPO iteration with a shared trunk needs (15 forward-equivalents: one rollout, one policy
and one reference pass, four epochs of three) over CPU seconds times this machine's float32 matmul rate, measured in the same run. The
last line of the output is one JSON object with every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--workload", choices=["A", "B", "C"], default="B")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--repeats", type=int, default=3)
arguments = parser.parse_args()
os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402 - the thread count must be set before
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, T5Config, T5ForConditionalGeneration  # noqa: E402

from rl4lms.algorithms.base import Learner  # noqa: E402
from rl4lms.algorithms.ppo import PPO  # noqa: E402
from rl4lms.config.algorithms import OptimizerConfig, PPOConfig  # noqa: E402
from rl4lms.config.generation import SamplingConfig  # noqa: E402
from rl4lms.core.padding import place_last  # noqa: E402
from rl4lms.core.sampling import draw_keys  # noqa: E402
from rl4lms.models.generate import MaskRule  # noqa: E402
from rl4lms.models.loading import special_tokens  # noqa: E402
from rl4lms.models.policy import Policy  # noqa: E402
from rl4lms.rollout.engine import score  # noqa: E402
from rl4lms.training.optimizer import build_optimizer  # noqa: E402
from rl4lms.types import Experience, Rollout, Sample  # noqa: E402

PROMPTS, NEW_TOKENS = 64, 48


def model(workload: str) -> tuple[PreTrainedModel, int]:
    """The workload's model and its prompt length."""
    torch.manual_seed(0)
    if workload == "C":
        sizes = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128}
        return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0, eos_token_id=None)).eval(), 256
    width, layers, heads, vocabulary = {"A": (768, 12, 12, 50257), "B": (256, 4, 4, 4096)}[workload]
    config = GPT2Config(vocab_size=vocabulary, n_embd=width, n_layer=layers, n_head=heads, bos_token_id=None, eos_token_id=None)
    return GPT2LMHeadModel(config).eval(), 64


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Median wall and CPU seconds, and the last result; one warm-up."""
    work()
    walls, cpus, result = [], [], None
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus), result


def matmul_rate() -> float:
    """Float32 GFLOP per CPU second of a 1792 x 768 by 768 x 3072 product, median of 20."""
    a, b = torch.randn(1792, 768), torch.randn(768, 3072)
    _, cpu, _ = timed(lambda: a @ b, 20)
    return 2 * 1792 * 768 * 3072 / cpu / 1e9


def forward_flop(lm: PreTrainedModel, prompt_tokens: int, completion_tokens: int) -> float:
    """Work of one forward pass: blocks on all tokens, output layer on completion tokens."""
    head = 2 * lm.config.hidden_size * lm.config.vocab_size * completion_tokens
    if not lm.config.is_encoder_decoder:
        blocks = sum(p.numel() for p in lm.transformer.h.parameters())
        return 2 * blocks * (prompt_tokens + completion_tokens) + head
    encoder = sum(p.numel() for p in lm.encoder.block.parameters())
    cross = sum(p.numel() for n, p in lm.decoder.block.named_parameters() if "EncDecAttention.k" in n or "EncDecAttention.v" in n)
    decoder = sum(p.numel() for p in lm.decoder.block.parameters()) - cross
    return 2 * (encoder + cross) * prompt_tokens + 2 * decoder * completion_tokens + head


def main() -> None:
    """Measures and prints."""
    torch.set_num_threads(arguments.threads)
    lm, length = model(arguments.workload)
    rate_before = matmul_rate()
    policy, ref_policy = Policy(lm, special_tokens(lm, None)), Policy(model(arguments.workload)[0], special_tokens(lm, None))
    policy.add_value(None)
    ids = torch.randint(3, lm.config.vocab_size, (PROMPTS, length))
    mask = torch.ones_like(ids, dtype=torch.bool)
    keys, settings = draw_keys(0, 0, 0, torch.arange(PROMPTS)), SamplingConfig(max_new_tokens=NEW_TOKENS)
    figures: dict[str, float] = {}

    def measure(name: str, work: Callable[[], Any]) -> Any:
        wall, cpu, result = timed(work, arguments.repeats)
        figures[f"{name}_wall_s"], figures[f"{name}_cpu_s"] = wall, cpu
        return result

    generation = measure("rollout", lambda: policy.generate(ids, mask, keys, settings=settings))
    rule = MaskRule(ref_policy, 0.9, 1)
    measure("rollout_nlpo", lambda: policy.generate(ids, mask, keys, settings=settings, mask_rule=rule))
    options = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": True, "top_k": 0, "pad_token_id": 0}
    with torch.no_grad():
        measure("rollout_hf_generate", lambda: lm.generate(input_ids=ids, attention_mask=mask.long(), **options))
    samples = [Sample(str(i), "") for i in range(PROMPTS)]
    rollout = Rollout(samples, ids, mask, generation.completion_ids, generation.completion_mask, [""] * PROMPTS, generation.terminated)
    current = measure("pass_policy", lambda: score(policy, rollout, values=True))
    reference = measure("pass_reference", lambda: score(ref_policy, rollout))
    learner = Learner(policy, build_optimizer(policy, OptimizerConfig(learning_rate=1e-6)), OptimizerConfig())
    algorithm = PPO(PPOConfig(n_epochs=4, minibatch_size=16), learner)

    def update() -> None:
        rows = torch.ones(PROMPTS, dtype=torch.bool)
        scores = place_last(torch.randn(PROMPTS), rollout.completion_mask)
        now = score(policy, rollout, values=True)
        kl = now.full_logprobs - reference.full_logprobs
        e = Experience(rollout, now.logprobs, reference.full_logprobs, kl, scores, scores, rows, values=current.values)
        algorithm.advantages(e)
        algorithm.update(e, 0)

    measure("update_and_pass", update)
    figures["update_wall_s"] = figures["update_and_pass_wall_s"] - figures["pass_policy_wall_s"]
    figures["update_cpu_s"] = figures["update_and_pass_cpu_s"] - figures["pass_policy_cpu_s"]
    rate_after = matmul_rate()
    tokens = PROMPTS * NEW_TOKENS
    flop = 15 * forward_flop(lm, PROMPTS * length, tokens)
    cpu = figures["rollout_cpu_s"] + figures["pass_policy_cpu_s"] + figures["pass_reference_cpu_s"] + figures["update_cpu_s"]
    rate = (rate_before + rate_after) / 2
    figures |= {
        "matmul_gflop_per_cpu_s_before": rate_before,
        "matmul_gflop_per_cpu_s_after": rate_after,
        "iteration_cpu_s": cpu,
        "tflop": flop / 1e12,
        "efficiency": flop / 1e9 / (rate * cpu),
        "rollout_tokens_per_cpu_s": tokens / figures["rollout_cpu_s"],
        "rollout_over_hf_generate": figures["rollout_cpu_s"] / figures["rollout_hf_generate_cpu_s"],
        "nlpo_rollout_over_ppo": figures["rollout_nlpo_cpu_s"] / figures["rollout_cpu_s"],
        "max_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    print(f"workload {arguments.workload}, {arguments.threads} thread(s), torch {torch.__version__}, median of {arguments.repeats}")
    for name, value in figures.items():
        print(f"  {name:32s} {value:10.3f}")
    print(json.dumps({"workload": arguments.workload, "threads": arguments.threads, **figures}))


if __name__ == "__main__":
    sys.exit(main())
