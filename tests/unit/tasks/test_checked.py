"""What a task of somebody's own returns is looked at, and refused with one message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rl4lms
from rl4lms.checks.dry_run import describe
from rl4lms.errors import DataError
from rl4lms.tasks import build
from rl4lms.training.run import run
from tests.runs import small_recipe

OWN = """
import rl4lms
from rl4lms import Sample

class Own:
    name, version, edition = "own", 1, "mini"
    models, classifiers, defaults = {}, {}, {}
    def samples(self, split):
        return [Sample(f"{split}-{i}", f"{i} {i + 1}") for i in range(12)]
    def supervised(self, split):
        return [Sample(f"{split}-{i}", f"{i} {i + 1}", (f"{i + 2}",)) for i in range(12)]

class Lazy:
    def __init__(self, rows): self.rows = rows
    def __len__(self): return len(self.rows)
    def __getitem__(self, index):
        return Lazy(self.rows[index]) if isinstance(index, slice) else self.rows[index]
"""
WRITE = 'write Sample(id="1", prompt="...", references=("...",))'


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], str]:
    def write(returned: str, method: str = "samples") -> str:
        path = tmp_path / "own.py"
        path.write_text(OWN + f"\nclass Mine(Own):\n    def {method}(self, split):\n        return {returned}\n")
        return f"{path}:Mine"

    return write


WRONG: list[tuple[str, str]] = [
    ('[{"id": "1", "prompt": "a"}]', f"[0]: should be an rl4lms.Sample, got dict; {WRITE}"),
    ('[Sample("1", "a", ("c",)), "b"]', f"[1]: should be an rl4lms.Sample, got str; {WRITE}"),
    ('[Sample("1", "a", ("c",)), None]', f"[1]: should be an rl4lms.Sample, got None; {WRITE}"),
    ('[Sample("1", 7)]', f"[0]: prompt should be text, got int; {WRITE}"),
    ('[Sample(1, "a")]', f"[0]: id should be text, got int; {WRITE}"),
    ('[Sample("1", "a", ["b"])]', f"[0]: references should be a tuple of texts, got list; {WRITE}"),
    ('[Sample("1", "a", ("b", 3))]', f"[0]: references should be a tuple of texts, got a tuple with int; {WRITE}"),
    ('[Sample("1", "a", ("b",), ["x"])]', "[0]: meta should be a mapping from names of columns, got list"),
    ("None", "should be a list of rl4lms.Sample, got None; return ["),
    ('(Sample("1", "a") for _ in range(3))', "should be a list of rl4lms.Sample, got generator; return ["),
    ('{"1": "a"}', "should be a list of rl4lms.Sample, got dict; return ["),
]


@pytest.mark.parametrize("method", ["samples", "supervised"])
@pytest.mark.parametrize(("returned", "message"), WRONG)
def test_what_is_no_sample(own: Callable[..., str], returned: str, message: str, method: str) -> None:
    name = own(returned, method)
    with pytest.raises(DataError) as caught:
        getattr(build(name), method)("train")
    assert str(caught.value).startswith(f"task {name!r}, {method}('train')")
    assert message in str(caught.value)


def test_samples_that_are_made_when_asked_for_are_checked_then(own: Callable[..., str]) -> None:
    samples = build(own('Lazy([Sample("1", "a"), Sample("2", "b"), {"id": 3}])')).samples("validation")
    assert [sample.id for sample in samples[:2]] == ["1", "2"]
    for asked in (lambda: samples[2], lambda: samples[-1], lambda: samples[1:][1]):
        with pytest.raises(DataError, match=r"samples\('validation'\)\[2\]: should be an rl4lms.Sample, got dict"):
            asked()


def test_a_warm_start_without_a_target(own: Callable[..., str]) -> None:
    with pytest.raises(DataError, match=r"supervised\('train'\)\[0\]: has no target for the warm start"):
        build(own('[Sample("1", "a")]', "supervised")).supervised("train")


@pytest.mark.parametrize("supervised", [None, {"max_steps": 1}])
def test_a_run_ends_with_the_message(tmp_path: Path, own: Callable[..., str], supervised: Any) -> None:
    name = own('[{"id": "1", "prompt": "a"}]', "samples" if supervised is None else "supervised")
    recipe = small_recipe(tmp_path, data=None, task=name, supervised=supervised)
    with pytest.raises(DataError, match=r"\('train'\)\[0\]: should be an rl4lms.Sample, got dict; write Sample\(id="):
        run(recipe)


def test_a_task_keeps_everything_else(own: Callable[..., str]) -> None:
    task = build(own('[rl4lms.Sample("1", "a")]'))
    assert (task.name, task.version, task.edition, task.models) == ("own", 1, "mini", {})
    assert task.samples("test") == [rl4lms.Sample("1", "a")]
    assert len(task.supervised("train")) == 12


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_samples(tmp_path: Path, own: Callable[..., str], split: str) -> None:
    recipe = small_recipe(tmp_path, data=None, task=own(f'[] if split == "{split}" else [Sample("1", "3 4")]'))
    for use in (run, describe):
        with pytest.raises(DataError, match=f"task 'own': the {split} split has no samples"):
            use(recipe)
    with pytest.raises(DataError, match="there is nothing to learn from"):
        build(own("[]", "supervised")).supervised("train")
