"""Comparisons of real runs: three seeds of two systems, against a computation from the files alone."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats as scipy_stats

import rl4lms
from rl4lms.errors import ConfigError, DataError
from rl4lms.runs.evaluations import kept_evaluations, read_evaluation
from rl4lms.studies.compare import compare, report
from rl4lms.training.run import run
from tests.runs import small_recipe
from tests.unit.reporting.test_page import Reader

SEEDS = (0, 1, 2)
SYSTEMS = {"plain": 1e-3, "fast": 2e-2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Three seeds of two recipes, which differ in the learning rate."""
    folder = tmp_path_factory.mktemp("runs")
    found: dict[str, list[Path]] = {}
    for name, rate in SYSTEMS.items():
        for seed in SEEDS:
            settings: dict[str, Any] = {
                "name": name,
                "seed": seed,
                "optimizer": {"learning_rate": rate},
                "output_dir": str(folder / f"{name}-{seed}"),
                "training": {"iterations": 2},
                "checkpoint": {"every": 0},
                "evaluation": {"prompts": 12, "generation": {"max_new_tokens": 6, "completions_per_prompt": 2}},
            }
            found.setdefault(name, []).append(run(small_recipe(folder, **settings)).folder)
    return found


def every(runs: dict[str, list[Path]]) -> list[Path]:
    return [path for paths in runs.values() for path in paths]


def by_prompt(path: Path, key: str, step: int = 2) -> dict[str, float]:
    """Means over the completions of each prompt, from the file."""
    rows = json.loads((path / "evaluations" / f"step-{step:06d}.json").read_text())["samples"]
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["id"], []).append(row[key])
    return {name: statistics.fmean(each) for name, each in values.items()}


def test_three_seeds_of_two_systems(runs: dict[str, list[Path]]) -> None:
    found = compare(every(runs))
    assert [system.label for system in found.systems] == ["plain", "fast"]
    difference = found.difference("reward", "fast")
    assert difference is not None
    tables = [[by_prompt(path, "reward") for path in runs[name]] for name in ("fast", "plain")]
    prompts = list(tables[0][0])
    each = [
        statistics.fmean(table[p] for table in tables[0]) - statistics.fmean(table[p] for table in tables[1])
        for p in prompts
    ]
    over_prompts = statistics.variance(each) / len(each)
    parts = [(over_prompts, len(each) - 1)]
    rest = 0.0
    for side in tables:
        means = [statistics.fmean(table.values()) for table in side]
        parts.append((statistics.variance(means) / 3, 2))
        of_prompt = {p: statistics.fmean(table[p] for table in side) for p in prompts}
        grand = statistics.fmean(means)
        left = [
            table[p] - of_prompt[p] - mean + grand for table, mean in zip(side, means, strict=True) for p in prompts
        ]
        rest += sum(x * x for x in left) / (2 * (len(prompts) - 1)) / (3 * len(prompts))
    over_seeds = parts[1][0] + parts[2][0]
    variance = max(over_prompts, over_seeds, over_prompts + over_seeds - rest)
    freedom = (over_prompts + over_seeds) ** 2 / sum(v * v / d for v, d in parts)
    half = scipy_stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    assert difference.mean == pytest.approx(statistics.fmean(each), rel=1e-9)
    assert difference.stderr == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert difference.interval == pytest.approx((difference.mean - half, difference.mean + half), rel=1e-7)
    assert (difference.over, difference.prompts, difference.seeds) == ("prompts and seeds", 12, (3, 3))
    assert difference.mean != 0


def test_one_run_against_its_start(runs: dict[str, list[Path]]) -> None:
    path = runs["fast"][0]
    found = report([path])
    assert [system.label for system in found.systems] == ["before training", "fast"]
    difference = found.difference("reward", "fast")
    assert difference is not None
    before, after = by_prompt(path, "reward", 0), by_prompt(path, "reward")
    expected = scipy_stats.ttest_rel(list(after.values()), list(before.values()))
    assert difference.mean / difference.stderr == pytest.approx(expected.statistic)
    assert difference.over == "prompts"
    # the numbers are those of the run's own log
    line = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    assert found.results["fast"]["reward"].value == pytest.approx(line["eval/reward"])


def test_starts_that_wrote_the_same_are_one_row(runs: dict[str, list[Path]]) -> None:
    found = report({"a": runs["plain"][0], "b": runs["fast"][0]})
    assert [system.label for system in found.systems] == ["before training", "a", "b"]
    assert {(d.system, d.against) for d in found.differences} == {("a", "before training"), ("b", "before training")}
    other_seed = report({"a": runs["plain"][0], "b": runs["fast"][1]})
    assert [system.label for system in other_seed.systems] == ["before a", "before b", "a", "b"]


def test_decoding_again_gives_what_the_runs_have_kept(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    pair = [runs["plain"][0], runs["fast"][0]]
    kept, again = report(pair), report(pair, evaluate=True, keep=tmp_path / "again")
    assert [d.metric for d in again.differences] == [d.metric for d in kept.differences]
    for one, two in zip(kept.differences, again.differences, strict=True):
        assert two.mean == pytest.approx(one.mean, abs=1e-5), one.metric
    files = sorted(path.name for path in (tmp_path / "again").iterdir())
    assert files == ["fast-0-start.json", "fast-0.json", "plain-0-start.json", "plain-0.json"]
    of_files = compare([tmp_path / "again" / name for name in ("plain-0.json", "fast-0.json")])
    kept_difference = compare(pair).difference("reward", "fast")
    found = of_files.difference("reward", "fast")
    assert found is not None
    assert kept_difference is not None
    assert found.mean == pytest.approx(kept_difference.mean, abs=1e-6)
    assert found.stderr == pytest.approx(kept_difference.stderr, abs=1e-6)


def test_settings_for_all_runs(runs: dict[str, list[Path]]) -> None:
    pair = [runs["plain"][0], runs["fast"][0]]
    found = compare(pair, evaluate=True, overrides=["evaluation.prompts=5", "evaluation.generation.temperature=0"])
    difference = found.difference("reward", "fast")
    assert difference is not None
    assert difference.prompts == 5
    for unread in ("seed=3", "evaluation.every=2", "evaluation.split=test"):
        with pytest.raises(ConfigError, match=r"reads evaluation\.prompts"):
            compare(pair, evaluate=True, overrides=[unread])
    with pytest.raises(ConfigError, match="add --evaluate"):
        compare(pair, split="test")


def test_what_was_not_evaluated_alike_is_refused(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    other = run(
        small_recipe(
            runs["plain"][0].parent,
            name="other",
            output_dir=str(tmp_path / "other"),
            training={"iterations": 1},
            evaluation={"prompts": 7, "prompt_seed": 1, "generation": {"temperature": 0.5, "max_new_tokens": 6}},
        )
    ).folder
    with pytest.raises(DataError) as caught:
        compare([runs["plain"][0], other])
    message = str(caught.value)
    for part in (
        "decoding.temperature: 1.0 and 0.5",
        "evaluation.prompts: 12 and 7",
        "evaluation.prompt_seed: 0 and 1",
    ):
        assert part in message
    assert "--evaluate" in message
    pair, alike = [runs["plain"][0], other], ["evaluation.prompts=4", "evaluation.prompt_seed=2"]
    with pytest.raises(
        DataError, match=r"would not be evaluated alike: evaluation\.generation\.temperature: 1\.0 and 0\.5"
    ):
        compare(pair, evaluate=True, overrides=alike)
    alike += ["evaluation.generation.temperature=0.7", "evaluation.generation.completions_per_prompt=1"]
    difference = compare(pair, evaluate=True, overrides=alike).difference("reward", "other")
    assert difference is not None
    assert difference.prompts == 4


def test_mistakes_are_told(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    path, other = runs["plain"][0], runs["fast"][0]
    for wrong, error, text in (
        ([path], ConfigError, "one system"),
        ([], ConfigError, "name the folders"),
        ([path, path], ConfigError, "one seed"),
        ([f"a={path}", f"a={other}"], ConfigError, "one label"),
        ([tmp_path / "none", path], ConfigError, "neither the folder of a run"),
        ([f"={path}", path], ConfigError, "LABEL=PATH"),
    ):
        with pytest.raises(error, match=text):
            compare(wrong)
    with pytest.raises(ConfigError, match="did you mean 'fast'"):
        compare([path, other], against="fats")
    with pytest.raises(ConfigError, match="did you mean 'reward'"):
        compare([path, other], metrics=["rewrd"])
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.resolved.yaml").write_bytes((path / "config.resolved.yaml").read_bytes())
    with pytest.raises(DataError, match="add --evaluate"):
        compare([tmp_path / "old", other])
    (tmp_path / "file.json").write_text('{"results": {}}')
    with pytest.raises(DataError, match="`recipe`"):
        compare([tmp_path / "file.json", other])


def test_rewards_that_differ_are_not_compared(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    other = run(
        small_recipe(
            runs["plain"][0].parent,
            output_dir=str(tmp_path / "other"),
            reward={"name": "increasing_numbers", "min_tokens": 3},
            training={"iterations": 1},
            evaluation={"prompts": 12, "generation": {"max_new_tokens": 6, "completions_per_prompt": 2}},
        )
    ).folder
    found = compare([runs["plain"][0], other])
    assert "reward" not in {column.key for column in found.columns}
    assert any(note.startswith("reward: ") for note in found.notes)


def test_it_is_shown_everywhere(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    found = compare(every(runs), metrics=["reward", "completion_tokens"])
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    found.show(console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    html, markdown = found.to_html(tmp_path / "page.html"), found.to_markdown()
    assert (tmp_path / "page.html").read_text() == html
    difference = found.difference("reward", "fast")
    assert difference is not None
    shown = f"{difference.mean:+.3f}".replace("-", "−")
    for place in (text, markdown, Reader(html).text):
        assert shown in place
        assert "over prompts and seeds" in " ".join(place.split())
    assert "optimizer.learning_rate" in html
    assert html.count("<svg role") == 1 + 3  # differences; score, distance, entropy
    assert found._repr_html_().startswith("<iframe")
    assert (rl4lms.compare, rl4lms.report) == (compare, report)


def test_a_hostile_completion_is_text_on_the_page(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> | `x` {{7*7}}"
    for name in ("plain", "fast"):
        kept = kept_evaluations(runs[name][0])[2, False]
        content = json.loads(kept.read_text())
        for row in content["samples"]:
            row["completion"] = f"{hostile} {name}"
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = compare([tmp_path / "plain.json", tmp_path / "fast.json"])
    reader = Reader(found.to_html())
    assert "script" not in reader.tags
    assert reader.text.count(hostile) >= 8
    assert "<script>" not in found.to_markdown()
    assert "script" not in Reader(found._repr_html_()).tags


def test_a_run_keeps_its_first_evaluation_and_its_last(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"training": {"iterations": 4}, "evaluation": {"every": 1, "samples": 1}}
    folder = run(small_recipe(tmp_path, **settings)).folder
    assert set(kept_evaluations(folder)) == {(0, False), (4, False)}
    last = read_evaluation(kept_evaluations(folder)[4, False])
    assert (last.model, last.step, last.split, last.masked, last.seed) == ("trained", 4, "validation", False, 0)
    assert len(last.prompts) == 8
    assert last.recipe["evaluation"]["samples"] == 1
    first = read_evaluation(kept_evaluations(folder)[0, False])
    assert (first.model, first.step) == ("start", 0)
    again = run(small_recipe(tmp_path, **(settings | {"training": {"iterations": 5}})), resume=True).folder
    assert set(kept_evaluations(again)) == {(0, False), (5, False)}
    # of a run that was cut back, what came after is gone
    (folder / "evaluations" / "step-000009.json").write_text("{}")
    run(small_recipe(tmp_path, **(settings | {"training": {"iterations": 5}})), resume=True)
    assert set(kept_evaluations(folder)) == {(0, False), (5, False)}


def test_a_run_that_goes_on_is_said_to(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    content = json.loads(kept_evaluations(runs["fast"][0])[2, False].read_text())
    content["step"] = 1
    (tmp_path / "early.json").write_text(json.dumps(content))
    found = compare([runs["plain"][0], tmp_path / "early.json"])
    assert any("after iteration 1 of 2" in note for note in found.notes)


def test_the_page_says_which_thresholds_a_run_crossed(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    pages = []
    for name, divergence in (("calm", 0.001), ("spoilt", 0.5)):
        shutil.copytree(runs["fast"][0], tmp_path / name)
        lines = [{"step": step, "rollout/score": 0.1, "train/approx_kl": divergence} for step in (1, 2)]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        pages.append(Reader(report([tmp_path / name]).to_html()).text)
    assert "No run crossed a threshold" in pages[0]
    assert "moved the policy by a KL of 0.5" in pages[1]
    assert "fast, seed 0" in pages[1]
