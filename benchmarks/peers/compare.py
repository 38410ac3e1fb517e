"""Time an iteration of this library beside one of its peers, on the same work, and print a table of ratios.

    make bench-peers        # makes an environment for each peer; about an hour, mostly workload A
    python benchmarks/peers/compare.py --trl .venv-peers-trl/bin/python --trl-ppo .venv-peers-trl-ppo/bin/python

Workloads A and B are those of `benchmarks/workloads.py`: the same folder of random weights, the same prompts token for
token, completions of exactly 48 tokens, minibatches of 16 in 4 epochs (RLOO: one), AdamW, a reference model, float32, a
reward that costs nothing, one thread. Every script asserts that it did this work, and pairs whose work differs are
refused. PPO has 64 prompts with one completion each, GRPO and RLOO 16 with four.

Every measurement is a fresh process, ours and the peer's in turn, so that what else the machine does slows both. On B
the second iteration of a process is measured, on A the only one, after a tiny rollout. Seconds are those of the
processor, memory is the largest resident one of the process. Each pair is a line of JSON as soon as it is there, the
last line one JSON object with every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ITERATIONS = {"A": 1, "B": 2}

Record = dict[str, Any]
Pair = tuple[Record, Record]


@dataclass(frozen=True, slots=True)
class Peer:
    """A script, the option that names its Python, and what is aimed at: ratios of seconds and of memory."""

    script: str
    environment: str
    faster: float
    memory: float | None = None


PEERS = {
    "ppo": Peer("trl_ppo.py", "trl_ppo", 1.6),
    "grpo": Peer("trl_grpo.py", "trl", 2.5, 0.6),
    "rloo": Peer("trl_grpo.py", "trl", 2.5, 0.6),
}


class WorkError(RuntimeError):
    """The two of a pair did not do the same."""


def same_work(pair: Pair) -> None:
    """Refuse a pair whose work differs.

    Raises:
        WorkError: it names what does.
    """
    ours, theirs = (record["work"] for record in pair)
    differ = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if differ:
        found = "; ".join(f"{name}: {ours.get(name)} and {theirs.get(name)}" for name in differ)
        raise WorkError(f"the two of a pair did not do the same work: {found}")


def ratios(pairs: list[Pair]) -> dict[str, Any]:
    """Return medians of each side and of the ratios of the pairs: how many times as long the peer takes, and which part
    of its memory is used.
    """
    seconds = [[record["cpu_s"] for record in side] for side in zip(*pairs, strict=True)]
    memory = [statistics.median(record["max_rss_gb"] for record in side) for side in zip(*pairs, strict=True)]
    faster = [theirs["cpu_s"] / ours["cpu_s"] for ours, theirs in pairs]
    return {
        "ours_cpu_s": statistics.median(seconds[0]),
        "peer_cpu_s": statistics.median(seconds[1]),
        "faster": statistics.median(faster),
        "faster_of_pairs": faster,
        "ours_gb": memory[0],
        "peer_gb": memory[1],
        "memory": memory[0] / memory[1],
    }


def table(results: dict[str, list[Pair]]) -> str:
    """Return the results as a Markdown table; the keys are `<algorithm> <workload>`."""
    head = "| | ours, CPU s | peer, CPU s | times as fast | of each pair | aim | ours, GB | peer, GB | memory | aim |"
    lines = [head, "|---" * 10 + "|"]
    for name, pairs in results.items():
        r, peer = ratios(pairs), PEERS[name.split()[0]]
        of_pairs = ", ".join(f"{value:.2f}" for value in r["faster_of_pairs"])
        cells = [
            f"{name} against {pairs[0][1]['package']} {pairs[0][1]['versions'][pairs[0][1]['package']]}",
            f"{r['ours_cpu_s']:.3g}",
            f"{r['peer_cpu_s']:.3g}",
            f"{r['faster']:.2f}",
            of_pairs,
            aim(r["faster"] >= peer.faster, f"≥ {peer.faster:g}"),
            f"{r['ours_gb']:.2f}",
            f"{r['peer_gb']:.2f}",
            f"{r['memory']:.2f}",
            "" if peer.memory is None else aim(r["memory"] <= peer.memory, f"≤ {peer.memory:g}"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def aim(reached: bool, words: str) -> str:
    """Return an aim and whether it was reached."""
    return words if reached else f"{words}: **missed**"


def machine() -> str:
    """Return the processor's name, where Linux tells it, and the number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores"


def run(python: str, script: str, arguments: list[str]) -> str:
    """Run a script in an environment; return what it prints."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run([python, str(HERE / script), *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{script} {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def measured(python: str, script: str, arguments: list[str]) -> Record:
    """Run a script that measures; return the figures of its last line."""
    record: Record = json.loads(run(python, script, arguments).splitlines()[-1])
    return record


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", nargs="+", choices=["A", "B"], default=["B", "A"])
    parser.add_argument("--algorithm", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--pairs", type=int, nargs="+", default=[3, 1], help="of each workload (default: 3 1)")
    parser.add_argument("--ours", default=sys.executable, help="Python of this library (default: that of this script)")
    parser.add_argument("--trl", help="Python of the environment with TRL 1.16, for grpo and rloo")
    parser.add_argument("--trl-ppo", help="Python of the environment with TRL 0.11.4, for ppo")
    parser.add_argument("--plain-products", action="store_true", help="ours without models/products.py")
    options = parser.parse_args()
    if len(options.pairs) != len(options.workload) or min(options.pairs) < 1:
        parser.error(f"--pairs: one number from 1 for each of the workloads {' '.join(options.workload)}")
    for name in options.algorithm:
        if getattr(options, PEERS[name].environment) is None:
            parser.error(f"--{PEERS[name].environment.replace('_', '-')}: needed for {name}")
    return options


def main() -> None:
    """Measure and print."""
    options = arguments()
    results: dict[str, list[Pair]] = {}
    for workload, pairs in zip(options.workload, options.pairs, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            run(options.ours, "ours.py", ["--write", folder, "--workload", workload])
            for name in options.algorithm:
                peer = PEERS[name]
                work = ["--folder", folder, "--algorithm", name, "--iterations", str(ITERATIONS[workload])]
                own = ["--plain-products"] if options.plain_products else []
                for _ in range(pairs):
                    pair = (
                        measured(options.ours, "ours.py", [*work, *own]),
                        measured(getattr(options, peer.environment), peer.script, work),
                    )
                    same_work(pair)
                    results.setdefault(f"{name} {workload}", []).append(pair)
                    # At once: an hour of measurements is not to be lost with the last of them
                    print(json.dumps({f"{name} {workload}": pair}), flush=True)
                    seconds = " and ".join(f"{record['cpu_s']:.2f}" for record in pair)
                    print(f"{name} {workload}: {seconds} CPU s", file=sys.stderr, flush=True)
    print(table(results))
    print(machine())
    summary = {name: ratios(pairs) for name, pairs in results.items()}
    print(json.dumps({"machine": machine(), "ratios": summary, "pairs": results}))


if __name__ == "__main__":
    main()
