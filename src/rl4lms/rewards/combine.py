"""Several rewards as one: weighted sums, products, ensembles."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import model_validator

from rl4lms.errors import ConfigError, RewardError, nth_row
from rl4lms.plugins.component import Block, Component
from rl4lms.plugins.options import Option
from rl4lms.rewards.call import RewardOutput
from rl4lms.rewards.composite import Composite, composed, refuse_dense, score_part
from rl4lms.rewards.guard import in_thread
from rl4lms.rewards.resolve import build

Key = Annotated[str | None, Option("name in logs; defaults to the name of the reward", min_length=1)]


class Part(Block):
    """One factor of a product, or one member of an ensemble; a reward alone is one without a key."""

    reward: Component
    key: Key = None

    @model_validator(mode="before")
    @classmethod
    def _reward_alone(cls, value: Any) -> Any:
        alone = isinstance(value, str) or (isinstance(value, Mapping) and "name" in value and "reward" not in value)
        return {"reward": value} if alone else value

    @property
    def called(self) -> str:
        """The name in logs: the key, else that of the reward, without the file that it is in."""
        return self.key or self.reward.name.rpartition(":")[2]


class SumPart(Part):
    """One term of a sum; a reward alone has the weight 1."""

    weight: Annotated[float, Option("may be negative")] = 1.0


class _Parts(Composite):
    """Named rewards; every part is reported."""

    whole = ""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._keys = [part.called for part in parts]
        twice = {key for key in self._keys if self._keys.count(key) > 1}
        if "disagreement" in self._keys and self.whole == "ensemble":
            raise ConfigError(
                "reward 'ensemble': no part can be called 'disagreement', which is what the members' deviation is "
                "reported as"
            )
        if twice:
            raise ConfigError(f"reward {self.whole!r}: two parts are called {min(twice)!r}; tell them apart with `key`")
        self.inner = tuple(build(part.reward) for part in parts)

    def _outputs(self, batch: Mapping[str, Any]) -> dict[str, RewardOutput]:
        """Of each part. Where some may run beside the model's work and others may not, the latter are the work to run
        beside.
        """
        parts = {
            key: partial(score_part, self.whole, key, reward, batch)
            for key, reward in zip(self._keys, self.inner, strict=True)
        }
        mixed = not self.in_background
        may = [
            key for key, reward in zip(self._keys, self.inner, strict=True) if getattr(reward, "in_background", False)
        ]
        ahead = {key: in_thread(parts[key], "rl4lms-reward-background")[1] for key in may if mixed}
        here = {key: score_this() for key, score_this in parts.items() if key not in ahead}
        return {key: here[key] if key in here else ahead[key].result() for key in self._keys}


class Sum(_Parts):
    """Weighted sum of rewards; every part is reported unweighted.

    A sum with a dense part is dense: the score of a part that gives one number per completion then goes to the last
    token, where sequence scores are placed anyway. A row that one part leaves out (None) is left out of the sum.

    Raises:
        ConfigError: two parts have the same key.
    """

    whole = "sum"

    def __init__(
        self, parts: Annotated[list[SumPart], Option("the terms: {reward, weight, key}", min_length=1)]
    ) -> None:
        checked = [SumPart.model_validate(part) for part in parts]
        super().__init__(checked)
        self._weights = [part.weight for part in checked]

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`."""
        outputs = self._outputs(batch)
        dense = any(output.dense for output in outputs.values())
        rows: list[Any] = []
        for row, ids in enumerate(batch["completion_ids"]):
            terms = [output.scores[row] for output in outputs.values()]
            if any(term is None for term in terms):
                rows.append(None)
            elif dense:
                rows.append(self._dense_row(terms, row, len(ids)))
            else:
                rows.append(_finite_sum(weight * term for weight, term in zip(self._weights, terms, strict=True)))  # type: ignore[operator]
        return composed("reward 'sum'", rows, batch, outputs, _totals(outputs))

    def _dense_row(self, terms: Sequence[Any], row: int, length: int) -> list[float]:
        if not length:
            raise RewardError(f"reward 'sum': {nth_row(row)} has no tokens to put a score on")
        total = [0.0] * length
        for weight, term in zip(self._weights, terms, strict=True):
            if isinstance(term, list):
                total = [value + weight * part for value, part in zip(total, term, strict=True)]
            else:
                total[-1] += weight * term
        return total


class Product(_Parts):
    """Product of rewards, such as a score times a factor for what it does not see; every part is reported.

    A row that one part leaves out (None) is left out of the product.

    Raises:
        ConfigError: two parts have the same key.
    """

    whole = "product"

    def __init__(
        self,
        parts: Annotated[
            list[Part], Option("the factors: {reward, key}, each with one score per completion", min_length=1)
        ],
    ) -> None:
        super().__init__([Part.model_validate(part) for part in parts])

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`; also RewardError for dense parts."""
        outputs = self._outputs(batch)
        columns = [refuse_dense("reward 'product'", output) for output in outputs.values()]
        rows = [None if None in factors else math.prod(factors) for factors in zip(*columns, strict=True)]
        return composed("reward 'product'", rows, batch, outputs, _totals(outputs))


class Ensemble(_Parts):
    """Mean of the members less `penalty` times their standard deviation, so that a policy gains little where the
    members disagree.

    The members should be models of one kind, trained apart (Coste et al., 2023, arXiv 2310.02743). Members and
    `disagreement`, the population standard deviation, are reported. A row that a member leaves out (None) is left out.

    Raises:
        ConfigError: two parts have the same key.
    """

    whole = "ensemble"

    def __init__(
        self,
        parts: Annotated[list[Part], Option("the members: {reward, key}", min_length=2)],
        penalty: Annotated[float, Option("how much disagreement costs", ge=0)] = 0.0,
    ) -> None:
        members = [Part.model_validate(part) for part in parts]
        # Five classifiers, say
        if all(part.key is None for part in members) and len({part.called for part in members}) == 1:
            members = [part.model_copy(update={"key": f"member-{number}"}) for number, part in enumerate(members, 1)]
        super().__init__(members)
        self._penalty = penalty

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`; also RewardError for dense members."""
        outputs = self._outputs(batch)
        columns = [refuse_dense("reward 'ensemble'", output) for output in outputs.values()]
        rows: list[float | None] = []
        disagreement: list[float | None] = []
        for scores in zip(*columns, strict=True):
            known = [score for score in scores if score is not None]
            whole = len(known) == len(scores)
            disagreement.append(statistics.pstdev(known) if whole else None)
            rows.append(statistics.fmean(known) - self._penalty * statistics.pstdev(known) if whole else None)
        return composed("reward 'ensemble'", rows, batch, outputs, _totals(outputs) | {"disagreement": disagreement})


def _totals(outputs: Mapping[str, RewardOutput]) -> dict[str, list[float | None]]:
    return {key: output.totals() for key, output in outputs.items()}


def _finite_sum(terms: Iterable[float]) -> float:
    """Return the exact sum; NaN where it cannot be said, as for large weights of opposite signs."""
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return math.nan
