"""SIGKILL at any moment: the resumed run ends with the weights, numbers, texts and files of one that was not killed.

The short version is one of the default tests. The sweep prints what it did, and writes it to the file that
`RL4LMS_SWEEP_JSON` names.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from tests.faults.sweep import KINDS, OTHERS, VARIANTS, Nursery, Tally, Victim, record, table

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="no fork on this system: runs cannot be killed by the hundred"
)

RANDOM_KILLS_PER_VARIANT = 24
# Each is a fresh run that dies at every point named, one after the other: (point, how often it is reached before that).
POINTS: list[tuple[tuple[str, int], ...]] = [
    (("config.resolved.yaml: before the rename", 1),),
    (("samples: before the rename", 1), ("samples: before the rename", 2)),
    (("rollout: one batch", 2),),
    (("rollout: whole", 3),),
    (("log-prob pass", 5),),
    (("reward", 6),),
    (("update: one optimiser step", 1), ("update: one optimiser step", 7)),
    (("evaluation: decoded", 1), ("evaluation: decoded", 2)),
    (("metrics: torn line", 1), ("metrics: torn line", 4)),
    (("metrics: line written", 4), ("metrics.jsonl: before the rename", 1)),
    (("checkpoint: policy torn", 1), ("checkpoint: policy torn", 2)),
    (("checkpoint: policy written", 2),),
    (("checkpoint: optimizer torn", 1),),
    (("checkpoint: optimizer written", 2),),
    (("checkpoint: before the manifest", 1), ("checkpoint: before the manifest", 2)),
    (("checkpoint: before the rename", 2),),
    (("checkpoint: after the rename", 1), ("checkpoint: after the rename", 1), ("checkpoint: after the rename", 1)),
    (("prune: half removed", 1),),
    (("prune: removed", 1), ("metrics: torn line", 1)),
    (("evaluation: decoded", 4),),
    (("model: files written", 1),),
    (("model: before the rename", 1), ("result.json: before the rename", 1)),
    (("model: renamed", 1), (".model.replaced: renamed", 1), ("model: files written", 1)),
    (("result.json: before the rename", 1), ("model: before the rename", 1)),
]
# Points that only some variants have.
OWN_POINTS: dict[str, list[tuple[tuple[str, int], ...]]] = {
    "causal NLPO separate": [
        (("checkpoint: mask_policy torn", 2),),
        (("best: before the rename", 1), ("best: renamed", 1), (".best.replaced: renamed", 1)),
    ],
    "encoder-decoder NLPO shared": [(("checkpoint: mask_policy written", 1),)],
    "LoRA causal NLPO separate": [(("checkpoint: mask_policy torn", 1),)],
    "warm start, causal PPO separate": [
        (("warm start: one step", 5), ("warm start: one step", 11)),
        (("supervised.jsonl: before the rename", 1), ("supervised.jsonl: renamed", 1)),
        (("supervised: before the rename", 1), ("supervised: renamed", 1), ("rollout: whole", 1)),
    ],
}


@pytest.mark.parametrize(
    ("variant", "points"),
    [
        (
            "causal NLPO separate",
            [("checkpoint: policy torn", 2), ("metrics: torn line", 2), ("result.json: before the rename", 1)],
        ),
        pytest.param(
            "LoRA encoder-decoder PPO shared",
            [("checkpoint: before the rename", 1), ("update: one optimiser step", 3), ("evaluation: decoded", 2)],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(
    tmp_path: Path, nursery: Nursery, variant: str, points: list[tuple[str, int]]
) -> None:
    victim = Victim(variant, tmp_path / "victim", nursery)
    victim.injected_kill(*points)
    victim.random_kills(1, random.Random(variant))
    assert victim.tally.injected.total() == 3
    assert victim.tally.random.total() == 1
    assert victim.tally.equal == victim.tally.finished >= 2


@pytest.mark.slow
@pytest.mark.parametrize("variant", OTHERS)
def test_every_other_algorithm_killed_and_resumed(tmp_path: Path, nursery: Nursery, variant: str) -> None:
    victim = Victim(variant, tmp_path / "victim", nursery)
    victim.injected_kill(("checkpoint: policy torn", 2), ("metrics: torn line", 2))
    victim.injected_kill(("checkpoint: after the rename", 1), ("reward", 3))
    victim.random_kills(1, random.Random(variant))
    assert victim.tally.injected.total() == 4
    assert victim.tally.equal == victim.tally.finished >= 2


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_whole_sweep(tmp_path: Path, nursery: Nursery, capsys: pytest.CaptureFixture[str]) -> None:
    tallies: dict[str, Tally] = {}
    try:
        for number, variant in enumerate(VARIANTS):
            victim = Victim(variant, tmp_path / str(number), nursery)
            tallies[variant] = victim.tally
            for points in [*POINTS[number % 3 :: 3], *OWN_POINTS.get(variant, [])]:
                victim.injected_kill(*points)
            victim.random_kills(RANDOM_KILLS_PER_VARIANT, random.Random(number))
    finally:
        with capsys.disabled():
            print(f"\n{table(tallies)}")
        if path := os.environ.get("RL4LMS_SWEEP_JSON"):
            Path(path).write_text(json.dumps(record(tallies), indent=1) + "\n")
    assert sum(tally.random.total() for tally in tallies.values()) >= 200
    assert sum(tally.injected.total() for tally in tallies.values()) >= 20
    for kind, has in KINDS.items():
        assert sum(tally.kills for name, tally in tallies.items() if has(name)) >= 10, kind
    assert all(tally.equal == tally.finished > 0 for tally in tallies.values())
