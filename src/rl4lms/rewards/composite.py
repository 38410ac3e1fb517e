"""What rewards that are made of other rewards share: calling the inner ones, and finding them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rl4lms.errors import RewardError
from rl4lms.rewards.call import RewardOutput, Scores, call_plainly, checked, score
from rl4lms.rewards.faults import STRICT

if TYPE_CHECKING:
    from rl4lms.rollout.texts import Decoder


class Container:
    """Base of what has rewards or a metric inside.

    Attributes:
        inner: what is inside, in order.
    """

    inner: tuple[Callable[..., Any], ...] = ()


class Composite(Container, ABC):
    """Base of rewards that call others."""

    def __call__(self, **batch: Any) -> Scores:
        return call_plainly(self, batch)

    @abstractmethod
    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`."""

    @property
    def in_background(self) -> bool:
        """Whether every reward inside may run beside the model's work."""
        return all(getattr(reward, "in_background", False) for reward in self.inner)


class Stateful(ABC):
    """Base of rewards that remember something from one iteration to the next. The state is JSON, and part of
    checkpoints.

    A base class, and not any object with these methods: a reward that is a torch module has them, too.
    """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` said."""


def nested(component: Any) -> Iterator[Any]:
    """Return a reward or metric, and everything inside it, outermost first and in a fixed order."""
    yield component
    for inside in component.inner if isinstance(component, Container) else ():
        yield from nested(inside)


def give_tokenizer(components: Iterable[Any], decoder: Decoder) -> None:
    """Give rewards and metrics, and whatever is inside them, a way to decode ids, where they have `use_tokenizer`."""
    for part in (part for component in components for part in nested(component)):
        if hasattr(part, "use_tokenizer"):
            part.use_tokenizer(decoder)


def state_of(reward: Any) -> list[dict[str, Any]]:
    """Return the states of the stateful rewards in `reward`, in the order of `nested`."""
    return [part.state_dict() for part in nested(reward) if isinstance(part, Stateful)]


def load_state(reward: Any, states: Sequence[Mapping[str, Any]]) -> None:
    """Give the stateful rewards in `reward` back what `state_of` said.

    Raises:
        RewardError: the states are of another reward.
    """
    parts = [part for part in nested(reward) if isinstance(part, Stateful)]
    if len(parts) != len(states):
        raise RewardError(
            f"the checkpoint has the state of {len(states)} rewards, and this reward has {len(parts)} that keep one"
        )
    for part, state in zip(parts, states, strict=True):
        part.load_state_dict(state)


def score_part(whole: str, key: str, reward: Any, batch: Mapping[str, Any]) -> RewardOutput:
    """`score` of one part; what goes wrong in it says which part it was."""
    try:
        output = score(reward, **batch)
    except RewardError as error:
        raise RewardError(f"part {key!r} of the {whole}: {error}") from error
    return replace(
        output,
        faults=tuple(
            replace(fault, message=f"part {key!r} of the {whole}: {fault.message}") for fault in output.faults
        ),
    )


def composed(
    owner: str,
    rows: Sequence[Any],
    batch: Mapping[str, Any],
    outputs: Mapping[str, RewardOutput],
    parts: Mapping[str, list[float | None]],
) -> RewardOutput:
    """Return the checked result of a composition.

    Args:
        owner: names the composition in messages.
        rows: its scores.
        batch: what it was called with.
        outputs: those of the rewards inside by key; their parts and numbers are reported under `key/`, or as they are
            where the key is "".
        parts: of the composition itself.
    """
    lengths = [len(ids) for ids in batch["completion_ids"]]
    total = checked(owner, rows, lengths, batch["completions"], batch.get("faults", STRICT))
    inner: dict[str, list[float | None]] = {}
    numbers: dict[str, float] = {}
    for key, output in outputs.items():
        prefix = f"{key}/" if key else ""
        inner |= {prefix + name: values for name, values in output.parts.items()}
        numbers |= {prefix + name: value for name, value in output.numbers.items()}
    below = tuple(fault for output in outputs.values() for fault in output.faults)
    dense = any(isinstance(row, list) for row in rows)
    return RewardOutput(total.scores, dense, {**parts, **inner}, below + total.faults, numbers)


def refuse_dense(owner: str, output: RewardOutput) -> list[float | None]:
    """Sequence scores as they are.

    Raises:
        RewardError: there is one number per token.
    """
    if output.dense:
        raise RewardError(
            f"{owner} needs one score per completion, and the reward inside gives one per token; put it around a part "
            f"of it"
        )
    return output.totals()
