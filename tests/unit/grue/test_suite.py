from __future__ import annotations

from pathlib import Path

import pytest

from rl4lms.errors import ConfigError
from rl4lms.grue.spec import with_data
from rl4lms.grue.suite import SYSTEMS, System, cell_from_dict, cell_to_dict, cells


def systems(*names: str) -> list[System]:
    return [System.read(name) for name in names or SYSTEMS]


def test_systems_are_read_from_their_names():
    assert System.read("zero_shot") == System("zero_shot")
    assert System.read("supervised") == System("supervised", supervised=True)
    assert System.read("nlpo") == System("nlpo", algorithm="nlpo")
    assert System.read("supervised+ppo") == System("supervised+ppo", supervised=True, algorithm="ppo")
    assert System.read("mine=supervised+ppo") == System("mine", supervised=True, algorithm="ppo")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("supervised+pppo", r"no such system or algorithm; did you mean"),
        ("../x=ppo", "a label is a name"),
        ("a b=ppo", "a label is a name"),
        ("=ppo", "a label is a name"),
        ("other=zero_shot", "labels are for algorithms"),
        ("", "a label is a name"),
    ],
)
def test_what_is_no_system(name, message):
    with pytest.raises(ConfigError, match=message):
        System.read(name)


def test_the_grid_of_the_paper():
    grid = cells(["commongen", "imdb"], systems(), [0, 1])
    assert len(grid) == len({cell.key for cell in grid}) == 2 * 6 * 2
    by_key = {cell.key: cell for cell in grid}
    supervised = by_key["commongen/supervised/seed-1"]
    assert by_key["commongen/supervised+nlpo/seed-1"].after == supervised
    assert by_key["commongen/ppo/seed-1"].after is None
    order = [cell.key for cell in grid]
    assert order.index("imdb/supervised/seed-1") < order.index("imdb/supervised+ppo/seed-1")
    names = {cell.system.label: cell.blocks["algorithm"] and cell.blocks["algorithm"]["name"] for cell in grid}
    assert names == {
        "zero_shot": None,
        "supervised": None,
        "ppo": "ppo",
        "nlpo": "nlpo",
        "supervised+ppo": "ppo",
        "supervised+nlpo": "nlpo",
    }
    assert {cell.key for cell in grid if not cell.trains} == {
        f"{task}/zero_shot/seed-{seed}" for task in ("commongen", "imdb") for seed in (0, 1)
    }
    assert all(cell.blocks["evaluation"]["split"] == "test" for cell in grid)
    assert len({cell.fingerprint for cell in grid}) == len(grid)


def test_a_warm_start_is_added_where_a_system_begins_with_it():
    grid = cells(["commongen"], systems("supervised+ppo"), [0])
    assert [cell.system.label for cell in grid] == ["supervised", "supervised+ppo"]
    recipe = grid[1].recipe(Path("run"), Path("warm/model"))
    assert (recipe.model.path, recipe.supervised) == ("warm/model", None)
    assert grid[0].recipe(Path("run")).supervised is not None


def test_settings_are_for_those_that_they_name():
    grid = cells(
        ["commongen", "imdb"],
        systems("supervised", "ppo", "mine=ppo", "nlpo"),
        [0],
        settings=[
            "evaluation.prompts=10",
            "training.iterations=3",
            "mine:algorithm.clip_range=0.1",
            "imdb/*:evaluation.samples=1",
            "commongen/nlpo:training.iterations=7",
        ],
    )
    found = {cell.key.removesuffix("/seed-0"): cell.blocks for cell in grid}
    assert {blocks["evaluation"]["prompts"] for blocks in found.values()} == {10}
    assert {key for key, blocks in found.items() if blocks["evaluation"]["samples"] == 1} == {
        key for key in found if key.startswith("imdb/")
    }
    clip = {key: blocks["algorithm"]["clip_range"] for key, blocks in found.items() if blocks["algorithm"]}
    assert {key for key, value in clip.items() if value == 0.1} == {"commongen/mine", "imdb/mine"}
    iterations = {key: blocks["training"]["iterations"] for key, blocks in found.items()}
    assert (iterations["commongen/nlpo"], iterations["imdb/nlpo"], iterations["commongen/ppo"]) == (7, 3, 3)
    assert iterations["commongen/supervised"] != 3  # it has no iterations, and the setting is not about it


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (("ppo", "ppo"), [], "'ppo' is named twice; give one of them a label"),
        (("ppo",), ["nlpo:kl.kl_coef=1"], "is for no cell of this grid"),
        (("ppo",), ["training.iteration=1"], "iterations"),
        (("zero_shot",), ["training.iterations=1"], "is for no cell of this grid"),
    ],
)
def test_what_is_no_grid(names, settings, message):
    with pytest.raises(ConfigError, match=message):
        cells(["commongen"], systems(*names), [0], settings=settings)


def test_a_cell_as_plain_values():
    for cell in cells(["commongen"], systems("supervised+ppo"), [3]):
        again = cell_from_dict(cell_to_dict(cell))
        assert again == cell
        assert again.fingerprint == cell.fingerprint


def test_the_fingerprint_is_of_what_comes_before_too():
    one, other = (
        cells(["commongen"], systems("supervised+ppo"), [0], settings=[f"supervised:supervised.max_steps={steps}"])
        for steps in (5, 6)
    )
    assert one[1].blocks == other[1].blocks
    assert one[1].fingerprint != other[1].fingerprint


def test_where_data_lies_changes_no_fingerprint(tmp_path):
    """A cell is the same cell on another machine, and when it is published without its places."""
    for name, option in (("imdb", "path"), ("commongen", "data_dir")):
        settings = [f"task.{option}={tmp_path}", "evaluation.prompts=8"]
        (cell,) = cells([name], [System.read("zero_shot")], [0], edition="full", settings=settings)
        assert cell.blocks["task"][option] == str(tmp_path)
        packed = with_data(cell, None)
        assert packed.blocks["task"][option] is None
        there = with_data(packed, "elsewhere")
        assert there.blocks["task"][option] == "elsewhere"
        assert cell.fingerprint == packed.fingerprint == there.fingerprint
        (other,) = cells([name], [System.read("zero_shot")], [0], edition="full", settings=["evaluation.prompts=9"])
        assert other.fingerprint != cell.fingerprint


_JUDGE = "evaluation.metrics=[{name: classifier, model: MODEL, label: positive, key: sentiment}]"


@pytest.mark.parametrize(
    ("settings", "metric"),
    [
        ([_JUDGE.replace("MODEL", "asset:sentiment")], "classifier uses the model 'asset:sentiment'"),
        (["reward.name=sum", "reward.parts=[{reward: bert_score}]", "evaluation.metrics=[{name: bert_score}]"], "bert"),
        (["reward.model=judge", _JUDGE.replace("MODEL", "./x/../judge")], "which is the reward"),
        (
            [
                "reward={name: standardise, reward: {name: classifier, model: judge, label: 1}}",
                _JUDGE.replace("MODEL", "judge"),
            ],
            "which is the reward",
        ),
    ],
)
def test_a_model_that_is_the_reward_reports_nothing(tmp_path, monkeypatch, settings, metric):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge").mkdir()
    (tmp_path / "x").mkdir()
    with pytest.raises(ConfigError, match=rf"task imdb, system ppo: evaluation\.metrics\[0\]: .*{metric}"):
        cells(["imdb"], systems("ppo"), [0], settings=settings)
    assert cells(["imdb"], systems("zero_shot"), [0], settings=[text for text in settings if text.startswith("ev")])


def test_what_needs_no_model_may_be_reward_and_metric():
    assert cells(["commongen"], systems("ppo"), [0], settings=["evaluation.metrics=[{name: meteor_exact_stem}]"])
    other = _JUDGE.replace("MODEL", "asset:evaluator")
    assert cells(["imdb"], systems("ppo"), [0], settings=[other])


@pytest.mark.parametrize(
    "reward", ["commongen_grammar", "{name: sum, parts: [{reward: commongen_grammar, key: solved}]}"]
)
def test_a_gold_measure_is_no_reward(reward):
    with pytest.raises(ConfigError, match="'commongen_grammar' is gold"):
        cells(["commongen"], systems("ppo"), [0], settings=[f"reward={reward}"])


def test_another_split_is_refused_since_cells_are_measured_on_test_prompts():
    with pytest.raises(ConfigError, match=r"evaluation.split is validation, and cells are measured on test prompts"):
        cells(["commongen"], systems("zero_shot"), [0], settings=["evaluation.split=validation"])
