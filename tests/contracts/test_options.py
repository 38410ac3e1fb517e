"""What holds for the options of every component of this library."""

from __future__ import annotations

import pytest

from rl4lms.plugins import registry
from rl4lms.plugins.options import options_model
from rl4lms.plugins.registry import target_id

COMPONENTS = [
    (kind, name)
    for kind in (registry.algorithms, registry.tasks, registry.rewards, registry.metrics)
    for name, entry in sorted(kind._entries.items())
    if target_id(entry.target).startswith("rl4lms.")  # and none that another test registered
]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=[f"{kind.kind} {name}" for kind, name in COMPONENTS])
def test_every_option_has_a_sentence(kind: registry.Registry, name: str) -> None:
    fields = options_model(kind, name).model_fields
    assert [field.alias or key for key, field in fields.items() if not field.description] == []


def test_that_looks_at_all_of_them() -> None:
    assert len(COMPONENTS) > 40
