"""Registers `rl4lms/TextGen-v0` with Gymnasium: at once where that is imported already, else as soon as it is.

Gymnasium has read no entry points of other packages since 1.0, so ids come with an import; and to import Gymnasium
here, with numpy, would take a tenth of a second, which `rl4lms --help` is not to wait for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME = "gymnasium"


def register_when_imported() -> None:
    """Register the id, now or right after Gymnasium is imported."""
    if _NAME in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Watch())


def _register() -> None:
    import gymnasium

    where = "rl4lms.integrations.gym"
    gymnasium.register(
        "rl4lms/TextGen-v0", entry_point=f"{where}:text_gen", vector_entry_point=f"{where}:text_gen_vector"
    )


class _Watch:
    """A finder that finds Gymnasium as the others do, and registers the id once it has been executed. Who only asks
    whether it is there changes nothing.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _NAME:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
