"""Runs the benchmark and compares its ratios with the baselines: fails where one is worse than its tolerance allows.

    python benchmarks/check.py [--workload B D] [--write]

Seconds differ between machines and from hour to hour, so only ratios of one run are compared (`baselines/ratios.json`):
efficiency over that of a plain forward and backward pass, rollout over HF `generate`, NLPO over PPO, cost per real
token over B's, and peak memory. Ratios, too, depend on the vector instructions, so each kind of processor has baselines
of its own. A ratio that has a baseline and was not measured fails. `--write` replaces the baselines of what was run on
this kind of processor and keeps the tolerances. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BASELINES = HERE / "baselines" / "ratios.json"
HIGHER_IS_BETTER = {"efficiency_over_plain"}


def main() -> int:
    """Run, compare, report; the exit status is 1 where something got worse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", nargs="+", choices=["A", "B", "C", "D"], default=["B", "D"])
    parser.add_argument("--write", action="store_true", help="make what was measured the new baselines")
    parser.add_argument("--results", type=Path, help="the output of bench.py, instead of a run of it")
    args = parser.parse_args()
    if args.results is not None:
        output = args.results.read_text(encoding="utf-8")
    else:
        command = [sys.executable, str(HERE / "bench.py"), "--repeats", "3", "--workload", *args.workload]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(output, end="")
    found = json.loads(output.splitlines()[-1])
    measured, processor = found["ratios"], found["processor"]
    stored = json.loads(BASELINES.read_text(encoding="utf-8"))
    tolerances, baselines = stored["tolerances"], stored["baselines"].setdefault(processor, {})
    if not baselines and not args.write:
        known = ", ".join(kind for kind in stored["baselines"] if kind != processor)
        print(
            f"{BASELINES.name} has baselines of processors with {known}, and none with {processor}: "
            "run the check with --write on a commit that is known to be good, and here again"
        )
        return 1
    if args.write:
        for run, figures in measured.items():
            baselines[run] = {name: round(value, 3) for name, value in figures.items()}
    worse = []
    for run, expectations in baselines.items():
        if run.split()[0] not in {name.split()[0] for name in measured}:
            continue
        for name, expected in expectations.items():
            value = measured.get(run, {}).get(name)
            if value is None:
                worse.append(f"{run}: {name} was not measured; its baseline is {expected:.3f}")
                continue
            change = (value - expected) / expected
            if (-change if name in HIGHER_IS_BETTER else change) > tolerances[name]:
                worse.append(
                    f"{run}: {name} is {value:.3f}, its baseline {expected:.3f} (tolerance {tolerances[name]:.0%})"
                )
    if args.write:
        BASELINES.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print("\n".join(worse) or "no ratio is worse than its baseline allows")
    print(json.dumps({"worse": worse, "measured": measured}))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
