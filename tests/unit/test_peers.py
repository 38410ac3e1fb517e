"""The parts of the benchmark of peers that measure nothing: what counts as the same work, and what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
WORK = {"prompts": "a", "completions": 64, "completion_tokens": 3072, "optimizer_steps": 16}


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(str(PEERS))
    import compare

    return compare


def pair(ours: float, theirs: float, gb: tuple[float, float] = (1.0, 2.0)):
    packages = {"rl4lms": "0.1.0"}, {"trl": "1.16.0"}
    return tuple(
        {"package": next(iter(versions)), "cpu_s": cpu_s, "max_rss_gb": memory, "work": WORK, "versions": versions}
        for versions, cpu_s, memory in zip(packages, (ours, theirs), gb, strict=True)
    )


def test_ratios_are_medians_of_pairs_not_ratios_of_medians(compare):
    r = compare.ratios([pair(1, 3), pair(2, 4), pair(4, 5)])
    assert r["faster_of_pairs"] == [3, 2, 1.25]
    assert (r["faster"], r["ours_cpu_s"], r["peer_cpu_s"]) == (2, 2, 4)
    uneven = compare.ratios([pair(1, 10), pair(10, 11), pair(2, 4)])
    assert uneven["faster"] == 2
    assert uneven["peer_cpu_s"] / uneven["ours_cpu_s"] == 5


def test_less_memory_is_a_smaller_ratio(compare):
    assert compare.ratios([pair(1, 1, gb=(1.5, 3.0))])["memory"] == 0.5


def test_the_table_says_what_was_missed(compare):
    rows = compare.table({"ppo A": [pair(10, 15)], "grpo A": [pair(10, 30, gb=(3, 4))], "rloo B": [pair(10, 25)]})
    ppo, grpo, rloo = (line.split(" | ") for line in rows.splitlines()[2:])
    assert len({line.count("|") for line in rows.splitlines()}) == 1
    assert ppo[:6] == ["| ppo A against trl 1.16.0", "10", "15", "1.50", "1.50", "≥ 1.6: **missed**"]
    assert (grpo[3], grpo[5]) == ("3.00", "≥ 2.5")
    assert grpo[8:] == ["0.75", "≤ 0.6: **missed** |"]
    assert rloo[5] == "≥ 2.5"
    assert rloo[8:] == ["0.50", "≤ 0.6 |"]


@pytest.mark.parametrize("name", sorted(WORK))
def test_other_work_is_refused(compare, name):
    ours, theirs = pair(1, 2)
    compare.same_work((ours, theirs))
    theirs["work"] = WORK | {name: 1}
    with pytest.raises(compare.WorkError, match=name):
        compare.same_work((ours, theirs))


def test_work_that_one_side_does_not_know_is_refused(compare):
    ours, theirs = pair(1, 2)
    theirs["work"] = {name: value for name, value in WORK.items() if name != "optimizer_steps"}
    with pytest.raises(compare.WorkError, match="optimizer_steps: 16 and None"):
        compare.same_work((ours, theirs))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--algorithm", "ppo"], "--trl-ppo: needed for ppo"),
        (["--algorithm", "rloo", "--trl-ppo", "python"], "--trl: needed for rloo"),
        (["--workload", "A", "B", "--pairs", "1"], "one number from 1 for each of the workloads A B"),
        (["--pairs", "0", "1"], "one number from 1"),
    ],
)
def test_what_is_needed_is_asked_for(compare, monkeypatch, capsys, options, words):
    monkeypatch.setattr("sys.argv", ["compare.py", *options])
    with pytest.raises(SystemExit) as stopped:
        compare.arguments()
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_every_package_of_an_environment_is_pinned():
    for path in sorted(PEERS.glob("*.txt")):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert any(line.startswith("torch==") for line in lines)
        assert all("==" in line for line in lines), path.name
