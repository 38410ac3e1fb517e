"""What `scripts/floor.py` reads out of a pyproject.toml."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "floor.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("floor", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lower_bounds_of_dependencies_and_extras(script) -> None:
    project = {
        "dependencies": ["torch>=2.13", "transformers>=5.10.1,<6"],
        "optional-dependencies": {"a": ["peft>=0.18", "uvicorn[standard]>=0.30"], "b": ["peft>=0.18", "types-PyYAML"]},
    }
    assert script.floor(project) == ["peft==0.18", "torch==2.13", "transformers==5.10.1", "uvicorn==0.30"]


def test_two_bounds_of_one_package_are_an_error(script) -> None:
    project = {"dependencies": ["peft>=0.18"], "optional-dependencies": {"dev": ["peft>=0.17"]}}
    with pytest.raises(ValueError, match=r"peft: >=0\.17 and >=0\.18"):
        script.floor(project)
