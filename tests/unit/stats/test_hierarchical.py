"""The bootstrap over seeds and documents, against a loop that copies rows, and its coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl4lms.errors import DataError
from rl4lms.stats.hierarchical import hierarchical_bootstrap
from rl4lms.stats.paired import contrast
from tests.marks import slow_but
from tests.unit.stats.boards import draw_board


def naive(ours, theirs, documents, rng):
    """One sample: lists of rows, of the prompts of drawn documents, written out."""
    names = sorted(set(documents))
    chosen = [p for _ in names for name in [rng.choice(names)] for p, d in enumerate(documents) if d == name]
    sides = []
    for table in (ours, theirs):
        rows = [table[rng.integers(len(table))] for _ in table]
        sides.append(sum(row[p] for row in rows for p in chosen) / (len(rows) * len(chosen)))
    return sides[0] - sides[1]


def test_samples_are_distributed_as_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    documents = [0, 0, 0, 1, 2, 2, 3, 4, 5, 5]
    ours, theirs = rng.normal(1, 1, (3, 10)) + rng.normal(0, 1, (3, 1)), rng.normal(0, 1, (4, 10))
    found = hierarchical_bootstrap(ours, theirs, clusters=documents, resamples=20_000)
    loop = np.array([naive(ours.tolist(), theirs.tolist(), documents, rng) for _ in range(1000)])
    assert found.estimate.value == pytest.approx(ours.mean() - theirs.mean())
    assert found.draws.mean() == pytest.approx(loop.mean(), abs=4 * loop.std() / math.sqrt(len(loop)))
    assert found.draws.std() == pytest.approx(loop.std(), rel=0.1)
    assert found.estimate.low == pytest.approx(np.quantile(loop, 0.025), abs=0.25 * loop.std())
    assert found.estimate.high == pytest.approx(np.quantile(loop, 0.975), abs=0.25 * loop.std())


def test_systems_are_paired_and_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(0, 10, (1, 40))
    ours, theirs = np.repeat(common + 1, 3, 0), np.repeat(common, 3, 0)
    found = hierarchical_bootstrap(ours, theirs, resamples=200)
    assert found.draws == pytest.approx(1.0)  # 10 a prompt, and none of it left
    alone = hierarchical_bootstrap(ours, resamples=200)
    assert alone.draws.std() > 1
    assert np.array_equal(alone.draws, hierarchical_bootstrap(ours, resamples=200).draws)


@pytest.mark.parametrize(
    ("ours", "clusters", "said"),
    [
        ([[1.0, math.nan]], None, "finite"),
        ([1.0], None, "finite numbers"),
        ([[1.0, 2.0]], ["a"], "got 1 for 2 prompts"),
    ],
)
def test_what_cannot_be_resampled(ours, clusters, said) -> None:
    with pytest.raises(DataError, match=said):
        hierarchical_bootstrap(ours, clusters=clusters)


STATED = {
    (1, 3): (0.974, 0.912, 0.813),
    (1, 5): (0.970, 0.941, 0.888),
    (1, 10): (0.963, 0.956, 0.934),
    (1, 20): (0.966, 0.966, 0.942),
    (4, 3): (0.947, 0.919, 0.835),
    (4, 5): (0.961, 0.945, 0.903),
    (4, 10): (0.950, 0.957, 0.926),
    (4, 20): (0.920, 0.930, 0.928),
}


@pytest.mark.parametrize(("per_document", "seeds"), slow_but(STATED, []))
def test_the_coverage_that_the_docstring_states(per_document: int, seeds: int) -> None:
    said = str(hierarchical_bootstrap.__doc__)
    for spread, stated in zip((0.1, 0.3, 1.0), STATED[per_document, seeds], strict=True):
        rng, hits, hits_of_contrast, samples = np.random.default_rng(7), 0, 0, 600
        for number in range(samples):
            (ours, theirs), documents = draw_board(
                rng, [0, 0], seeds=seeds, prompts=64, spread=spread, per_document=per_document, own=math.sqrt(0.5)
            )
            found = hierarchical_bootstrap(ours, theirs, clusters=documents, resamples=500, seed=number).estimate
            exact = contrast(ours, theirs, clusters=documents)
            hits += found.low <= 0 <= found.high
            hits_of_contrast += exact.low <= 0 <= exact.high
        assert hits / samples == pytest.approx(stated, abs=0.04)
        assert f"{stated:.3f}" in said
        assert hits_of_contrast / samples >= 0.92
