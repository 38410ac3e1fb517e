"""Print the oldest versions that pyproject.toml allows, as constraints for pip: `make test-floor` installs them.

They are read, not written a second time, so that what is tested is what pyproject.toml says.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement


def floor(project: Mapping[str, Any]) -> list[str]:
    """Return `name==version` for every package with a lower bound, sorted.

    Args:
        project: the table `project` of a pyproject.toml.

    Raises:
        ValueError: a package stands there with two lower bounds, so that one of them says nothing.
    """
    lowest: dict[str, str] = {}
    for line in itertools.chain(project["dependencies"], *project["optional-dependencies"].values()):
        requirement = Requirement(line)
        for bound in requirement.specifier:
            if bound.operator == ">=" and lowest.setdefault(requirement.name, bound.version) != bound.version:
                raise ValueError(f"{requirement.name}: >={bound.version} and >={lowest[requirement.name]}")
    return sorted(f"{name}=={version}" for name, version in lowest.items())


if __name__ == "__main__":
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    print("\n".join(floor(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"])))
