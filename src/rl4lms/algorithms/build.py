"""From the algorithm that a recipe names to the object."""

from __future__ import annotations

from rl4lms.algorithms.base import Algorithm
from rl4lms.errors import ConfigError
from rl4lms.plugins import registry
from rl4lms.plugins.building import build
from rl4lms.plugins.component import Component


def build_algorithm(component: Component) -> Algorithm:
    """Build the algorithm that a recipe names.

    Raises:
        UnknownNameError: there is none of that name.
        ConfigError: an option is wrong, or this is no algorithm.
    """
    algorithm = build(registry.algorithms, component)
    if not isinstance(algorithm, Algorithm):
        raise ConfigError(
            f"algorithm {component.name!r} is no subclass of rl4lms.Algorithm; docs/algorithms/own.md has an example"
        )
    return algorithm
