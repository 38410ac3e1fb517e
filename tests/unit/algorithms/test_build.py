"""Mistakes in an algorithm of one's own that show when it is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl4lms.algorithms.build import build_algorithm
from rl4lms.errors import ConfigError
from rl4lms.plugins.component import Component

OWN = """
from dataclasses import dataclass
import rl4lms

class Base(rl4lms.Algorithm):
    def advantages(self, experience): ...
    def loss(self, new, old): ...

class Both(Base):
    def state_dict(self): return {}
    def load_state_dict(self, state): ...

class Inherits(Both):
    pass

class Says(Base):
    def state_dict(self): return {"mean": 0.0}

class Takes(Base):
    def load_state_dict(self, state): ...

class SaysMore(Both):
    def state_dict(self): return {"mean": 0.0}

class NoLoss(rl4lms.Algorithm):
    def advantages(self, experience): ...

class Nothing(rl4lms.Algorithm):
    pass

class NoValueLoss(Base):
    needs_value = True

class Forgotten(Base):
    speed: float = 1.0
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("name", ["Base", "Both", "Inherits"])
def test_a_state_that_is_said_and_taken_back(own: Path, name: str) -> None:
    assert type(build_algorithm(Component(name=f"{own}:{name}"))).__name__ == name


@pytest.mark.parametrize(
    ("name", "defines"),
    [
        ("Says", "state_dict without load_state_dict"),
        ("Takes", "load_state_dict without state_dict"),
        ("SaysMore", "state_dict without load_state_dict"),
    ],
)
def test_half_of_a_state_is_refused(own: Path, name: str, defines: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_algorithm(Component(name=f"{own}:{name}"))
    assert str(caught.value) == (
        f"algorithm '{own}:{name}': class {name} defines {defines}, so a resumed run would not go on as before; define "
        f"both: state_dict returns what is remembered as JSON, load_state_dict takes it back"
    )


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("NoLoss", "lacks loss"),
        ("Nothing", "lacks advantages and loss"),
        ("NoValueLoss", "has needs_value and lacks value_loss"),
    ],
)
def test_a_method_that_is_not_there_is_named(own: Path, name: str, lacks: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_algorithm(Component(name=f"{own}:{name}"))
    expected = f"algorithm '{own}:{name}': class {name} {lacks}; docs/algorithms/own.md has an example"
    assert str(caught.value) == expected


@pytest.mark.parametrize("options", [{}, {"speed": 2.0}])
def test_a_forgotten_decorator_is_named(own: Path, options: dict[str, float]) -> None:
    with pytest.raises(
        ConfigError, match=r"class Forgotten adds speed, but is no dataclass .* @dataclass\(kw_only=True\)"
    ):
        build_algorithm(Component(name=f"{own}:Forgotten", **options))
