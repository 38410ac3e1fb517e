"""Runs the benchmark and compares its ratios with the baselines: fails where one is worse than its tolerance allows.

    python benchmarks/check.py [--workload B D] [--write]

Seconds differ between machines and from hour to hour, so only ratios of one run are compared (`baselines/ratios.json`):
efficiency over that of a plain forward and backward pass, rollout over HF `generate`, NLPO over PPO, cost per real
token over B's, and peak memory. Ratios, too, depend on the vector instructions, so each kind of processor has baselines
of its own. A ratio that has a baseline and was not measured fails.

One measurement of NLPO over PPO is off by up to a tenth on a shared machine, since the two are measured minutes apart.
So where a ratio is worse than its tolerance allows, everything is measured twice more, and the medians of the three
decide. `--write` measures three times, makes the medians the baselines of this kind of processor, and keeps the
tolerances. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BASELINES = HERE / "baselines" / "ratios.json"
HIGHER_IS_BETTER = {"efficiency_over_plain"}
AGAIN = 2

Ratios = dict[str, dict[str, float]]


def main() -> int:
    """Run, compare, report; the exit status is 1 where something got worse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", nargs="+", choices=["A", "B", "C", "D"], default=["B", "D"])
    parser.add_argument("--write", action="store_true", help="make what was measured the new baselines")
    parser.add_argument("--results", type=Path, nargs="+", help="outputs of bench.py, instead of runs of it")
    args = parser.parse_args()
    command = [sys.executable, str(HERE / "bench.py"), "--repeats", "3", "--workload", *args.workload]
    outputs = [path.read_text(encoding="utf-8") for path in args.results or ()]
    runs = [json.loads(output.splitlines()[-1]) for output in outputs] or [measured_by(command)]
    stored = json.loads(BASELINES.read_text(encoding="utf-8"))
    processor = runs[0]["processor"]
    tolerances, baselines = stored["tolerances"], stored["baselines"].setdefault(processor, {})
    if not baselines and not args.write:
        known = ", ".join(kind for kind in stored["baselines"] if kind != processor)
        print(
            f"{BASELINES.name} has baselines of processors with {known}, and none with {processor}: "
            "run the check with --write on a commit that is known to be good, and here again"
        )
        return 1
    if args.results is None and (args.write or compared(medians(runs), baselines, tolerances)):
        runs += [measured_by(command) for _ in range(AGAIN)]
    measured = medians(runs)
    if args.write:
        for run, figures in measured.items():
            baselines[run] = {name: round(value, 3) for name, value in figures.items()}
        BASELINES.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    worse = compared(measured, baselines, tolerances)
    print("\n".join(worse) or "no ratio is worse than its baseline allows")
    print(json.dumps({"worse": worse, "measurements": len(runs), "measured": measured}))
    return 1 if worse else 0


def measured_by(command: list[str]) -> dict[str, Any]:
    """Run the benchmark, show what it prints, and return the figures."""
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(output, end="", flush=True)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def medians(runs: list[dict[str, Any]]) -> Ratios:
    """Return the median of each ratio over some runs of the benchmark."""
    of_all = [run["ratios"] for run in runs]
    return {
        run: {name: statistics.median(one[run][name] for one in of_all) for name in figures}
        for run, figures in of_all[0].items()
    }


def compared(measured: Ratios, baselines: Ratios, tolerances: dict[str, float]) -> list[str]:
    """Return a line for each ratio that is missing, or worse than its tolerance allows."""
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
    return worse


if __name__ == "__main__":
    sys.exit(main())
