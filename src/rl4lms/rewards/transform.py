"""One reward made into another: scaled, clipped, standardised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from rl4lms.errors import ConfigError, RewardError
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import Option
from rl4lms.rewards.call import RewardOutput
from rl4lms.rewards.composite import Composite, Stateful, composed, refuse_dense, score_part
from rl4lms.rewards.resolve import build, name_inside


class _Around(Composite):
    """A reward around another one, whose scores are reported as `raw`."""

    whole = ""

    def __init__(self, reward: Component) -> None:
        self._key = name_inside(reward)
        self.inner = (build(reward),)

    def _scored(self, batch: Mapping[str, Any]) -> RewardOutput:
        return score_part(self.whole, self._key, self.inner[0], batch)

    def _result(self, rows: Sequence[Any], batch: Mapping[str, Any], output: RewardOutput) -> RewardOutput:
        # Of a transform inside another, which has a `raw` of its own
        raw = self._key if "raw" in output.parts else "raw"
        return composed(f"reward {self.whole!r}", rows, batch, {"": output}, {raw: output.totals()})


class Scale(_Around):
    """factor * reward + offset. Of a dense reward every token is multiplied, and the offset goes to the last token."""

    whole = "scale"

    def __init__(
        self,
        reward: Annotated[Component, Option("what is scaled")],
        factor: Annotated[float, Option("what scores are multiplied by")] = 1.0,
        offset: Annotated[float, Option("what is added then")] = 0.0,
    ) -> None:
        super().__init__(reward)
        self._factor, self._offset = factor, offset

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`."""
        output = self._scored(batch)
        return self._result([self._line(score) for score in output.scores], batch, output)

    def _line(self, score: Any) -> Any:
        if isinstance(score, list):
            row = [self._factor * value for value in score]
            return [*row[:-1], row[-1] + self._offset] if row else row
        return None if score is None else self._factor * score + self._offset


class Clip(_Around):
    """A reward that is never below `low` nor above `high`."""

    whole = "clip"

    def __init__(
        self,
        reward: Annotated[Component, Option("what is clipped; one score per completion")],
        low: Annotated[float | None, Option("null: no bound")] = None,
        high: Annotated[float | None, Option("null: no bound")] = None,
    ) -> None:
        super().__init__(reward)
        self.check_options(low, high)
        self._low, self._high = -math.inf if low is None else low, math.inf if high is None else high

    @staticmethod
    def check_options(low: float | None, high: float | None) -> None:
        """Refuse bounds that are none, or leave nothing between them."""
        if low is None and high is None:
            raise ConfigError("name low, high or both")
        if low is not None and high is not None and low >= high:
            raise ConfigError(f"low {low:g} must be below high {high:g}")

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`; also RewardError for a dense reward."""
        output = self._scored(batch)
        scores = refuse_dense("reward 'clip'", output)
        return self._result(
            [None if score is None else min(max(score, self._low), self._high) for score in scores], batch, output
        )


class Standardise(_Around, Stateful):
    """(score - mean) / standard deviation; scores that do not differ become 0.

    Mean and deviation (of the population) are those of all scores of the run so far, the present iteration included
    (`running`, in the way of Welford, 1962; they are kept in checkpoints), of the iteration (`batch`), or of the
    completions of the same prompt (`prompt`). Evaluations report the scores as they were before: a number whose mean is
    0 by construction tells nothing. Rows without a score (None) count nowhere.

    Attributes:
        over: as given.
    """

    whole = "standardise"

    def __init__(
        self,
        reward: Annotated[Component, Option("what is standardised; one score per completion")],
        over: Annotated[
            Literal["running", "batch", "prompt"],
            Option("all scores of the run so far, those of the iteration, or the completions of the same prompt"),
        ] = "running",
    ) -> None:
        super().__init__(reward)
        self.over = over
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`; also RewardError for a dense reward, or prompts with one
        completion each.
        """
        output = self._scored(batch)
        scores = refuse_dense("reward 'standardise'", output)
        if not batch.get("training", True):
            return self._result(scores, batch, output)
        rows: list[float | None] = [None] * len(scores)
        whole = batch.get("full_conversations", [()] * len(scores))  # two may end with the same message
        for group in self._groups(
            [messages or prompt for messages, prompt in zip(whole, batch["full_prompts"], strict=True)]
        ):
            known = [row for row in group if scores[row] is not None]
            mean, deviation = self._moments([float(scores[row]) for row in known])  # type: ignore[arg-type]
            differ = deviation > _ROUNDING * abs(mean)
            for row in known:
                rows[row] = (float(scores[row]) - mean) / deviation if differ else 0.0  # type: ignore[arg-type]
        return self._result(rows, batch, output)

    def state_dict(self) -> dict[str, Any]:
        """Return number, mean and sum of squared deviations of all scores so far."""
        return {"count": self._count, "mean": self._mean, "squares": self._squares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` said."""
        self._count, self._mean, self._squares = state["count"], state["mean"], state["squares"]

    def _groups(self, prompts: Sequence[Any]) -> list[list[int]]:
        if self.over != "prompt":
            return [list(range(len(prompts)))]
        rows_of: dict[Any, list[int]] = {}
        for row, prompt in enumerate(prompts):
            rows_of.setdefault(prompt if isinstance(prompt, str) else repr(prompt), []).append(row)
        if prompts and len(rows_of) == len(prompts):
            raise RewardError(
                "reward 'standardise' over the completions of a prompt: every prompt has one; raise "
                "rollout.completions_per_prompt"
            )
        return list(rows_of.values())

    def _moments(self, scores: Sequence[float]) -> tuple[float, float]:
        if not scores:
            return 0.0, 0.0
        mean, squares = _moments(scores)
        if self.over != "running":
            return mean, math.sqrt(squares / len(scores))
        count = self._count + len(scores)
        apart = mean - self._mean
        self._squares += squares + apart * apart * self._count * len(scores) / count  # Chan et al., 1979
        self._mean += apart * len(scores) / count
        self._count = count
        return self._mean, math.sqrt(self._squares / count)


# Equal scores leave a deviation of some units in the last place of their mean.
_ROUNDING = 1e-12


def _moments(scores: Iterable[float]) -> tuple[float, float]:
    """Return mean and sum of squared deviations."""
    values = list(scores)
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values)
