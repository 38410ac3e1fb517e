"""What a change of structure must not move: the numbers of short runs, and what `rl4lms show` says of every component.

    python -m tests.net.record            compares with tests/net/recorded.json, to the last bit
    python -m tests.net.record --write    records it anew

Hashes of weights agree between two runs on one machine; another CPU rounds otherwise, so the test of the suite compares
the numbers with a tolerance.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

RECORDED = Path(__file__).parent / "recorded.json"
ALGORITHMS = {"ppo": {"name": "ppo"}, "nlpo": {"name": "nlpo", "mask_top_p": 0.8, "mask_update_every": 2}}
FAMILIES = ("gpt2", "t5")
MODELS: dict[str, dict[str, Any]] = {
    "shared": {"value": "shared"},
    "separate": {"value": "separate"},
    "lora": {"lora": {"r": 4}},
}
CASES = [f"{algorithm} {family} {model}" for algorithm in ALGORITHMS for family in FAMILIES for model in MODELS]


def numbers(case: str) -> dict[str, Any]:
    """The metric lines of three iterations, without what the clock says, and a hash of all trained weights after
    them.
    """
    import torch

    from tests.runs import run_steps, small_loop

    torch.set_num_threads(1)
    algorithm, family, model = case.split()
    with tempfile.TemporaryDirectory() as folder:
        loop = small_loop(Path(folder), family, algorithm=ALGORITHMS[algorithm], model=MODELS[model])
        lines = [{k: v for k, v in line.items() if not k.startswith("time/")} for line in run_steps(loop, 3)]
    digest = hashlib.sha256()
    for name, parameter in sorted(loop.models.policy.named_parameters()):
        digest.update(name.encode() + parameter.detach().numpy().tobytes())
    return {"weights": digest.hexdigest()[:16], "lines": lines}


def shown() -> dict[str, str]:
    """What `rl4lms show` prints about every registered component."""
    from typer.testing import CliRunner

    from rl4lms.cli.main import app
    from rl4lms.plugins import registry

    kinds = (registry.algorithms, registry.rewards, registry.metrics, registry.tasks)
    names = sorted({name for kind in kinds for name in kind.names()})
    return {name: CliRunner().invoke(app, ["show", name], env={"COLUMNS": "100"}).output for name in names}


def main() -> int:
    """Compares, or records."""
    found = {"numbers": {case: numbers(case) for case in CASES}, "shown": shown()}
    if "--write" in sys.argv:
        RECORDED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return 0
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(found))
    differing = [
        f"{kind}: {key}"
        for kind in found
        for key in {*found[kind], *recorded[kind]}
        if found[kind].get(key) != recorded[kind].get(key)
    ]
    for line in sorted(differing):
        print("differs:", line)
        kind, key = line.split(": ", 1)
        if kind == "numbers" and key in recorded[kind] and key in found[kind]:
            worst = max(
                (abs(a[name] - b[name]), name)
                for a, b in zip(recorded[kind][key]["lines"], found[kind][key]["lines"], strict=True)
                for name in a.keys() & b.keys()
            )
            print("   largest difference of a number:", worst)
    print(f"{len(differing)} of {sum(map(len, found.values()))} differ")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
