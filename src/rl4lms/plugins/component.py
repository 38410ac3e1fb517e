"""The base of every config block, and the block that names a registered component."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Block(BaseModel):
    """A config block: unknown keys are refused, values are finite, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class Component(BaseModel):
    """A registered component by name, with its own options beside the name.

    `reward: brevity` and `reward: {name: brevity, target_words: 10}` are both accepted. The options are checked
    against the component's signature, when the recipe is read or, for a component in a file, when it is built.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """Everything beside `name`."""
        return dict(self.__pydantic_extra__ or {})
