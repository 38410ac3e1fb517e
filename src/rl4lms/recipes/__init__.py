"""The recipes that come with the package: vetted settings by name."""

from __future__ import annotations

from pathlib import Path

from rl4lms.errors import ConfigError, did_you_mean

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return their names."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str) -> Path:
    """Return a recipe file, or the packaged recipe of that name.

    Raises:
        ConfigError: there is neither.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)  # the reader says what is wrong with it
    if name in names():
        return FOLDER / f"{name}.yaml"
    raise ConfigError(
        f"{name}: neither a recipe file (*.yaml) nor a recipe that comes with rl4lms; {did_you_mean(name, names())}"
    )
