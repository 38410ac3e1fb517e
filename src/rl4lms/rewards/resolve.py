"""From a config component to a reward: a registered reward, a function in a file, or a metric."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rl4lms.data.given import references_given, texts_given
from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics.call import comparable, name_of, spread
from rl4lms.plugins import building, calling, files, registry
from rl4lms.plugins.component import Component
from rl4lms.plugins.options import checked_options, reward_options_model
from rl4lms.rewards.call import values_per_text
from rl4lms.rewards.composite import Container
from rl4lms.types import Metric


def build(reward: Component | str | Mapping[str, Any] | Callable[..., Any]) -> Callable[..., Any]:
    """Return the reward that a component names.

    A name is looked up among the rewards, then among the metrics; `path/to/file.py:function` loads a file. Functions
    and instances pass through. A metric takes one more option here, `key`, which says which of its values is the
    reward.

    Raises:
        UnknownNameError: there is no such reward.
        ConfigError: an option is wrong, a file has no such function, or the metric cannot be a reward.
    """
    if callable(reward):
        return reward
    component = building.as_component(reward, "reward")
    if files.is_path(component.name) or component.name in registry.rewards:
        return _callable(building.build(registry.rewards, component))
    if component.name in registry.metrics:
        return _metric_as_reward(component)
    if ":" in component.name:  # what `recipe_from_dict` calls a function that no file gives back
        raise ConfigError(
            f"reward {component.name!r}: a recipe can name a function that is registered or at the top of a file; one "
            f"that is nested, a lambda, a method or typed into a notebook it cannot. Pass that to rl4lms.train(..., "
            f'reward=function), register it by @rl4lms.reward("name"), or move it to the top of a file and write '
            f"path/to/file.py:function"
        )
    raise registry.unknown("reward", component.name, {*registry.rewards.names(), *registry.metrics.names()})


def name_inside(reward: Any) -> str:
    """Return what a reward inside another is called: its name in a recipe, `reward` for a function or an object."""
    return "reward" if callable(reward) else building.as_component(reward, "reward").name


class MetricReward(Container):
    """A metric's per-row values as a reward.

    Values are brought to the scale of rewards by the metric itself, where it says how (`as_reward`); otherwise they are
    taken as they are, and with a minus sign where lower is better. A row that has no value (None) is left out.

    Args:
        metric: any metric that needs neither the policy nor gold knowledge.
        name: what to call it in messages.
        key: which values; needed where the metric has several per row, and does not say which is the reward.

    Attributes:
        inner: the metric.
        needs_references: whether the metric does; see `rl4lms.types.Metric`.
        in_background: whether it may run beside the model's work: this library's own metrics may, where they run no
            model themselves.

    Raises:
        ConfigError: the metric cannot be a reward.
    """

    def __init__(self, metric: Metric, name: str, key: str | None = None) -> None:
        refuse_as_reward(metric, name)
        self.__name__ = name
        self.inner = (metric,)
        self.in_background = type(metric).__module__.startswith("rl4lms.") and not getattr(metric, "uses_model", False)
        self.needs_references = bool(getattr(metric, "needs_references", False))
        self._metric, self._key = metric, key

    def __call__(
        self,
        *,
        completions: Sequence[Any],
        prompts: Sequence[Any] | None = None,
        references: Sequence[Any] | None = None,
        conversations: Sequence[Any] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Call the metric on a batch; `conversations`, the messages of each prompt, reach those that name them.

        Raises:
            DataError: a text or a reference is none, or no row has the references that are needed.
            RewardError: the metric has no such key, or no values per row.
        """
        owner = f"metric {self.__name__!r}"
        texts = [_text(value) for value in texts_given(owner, "completions", completions, conversations=True)]
        n = len(texts)
        prompts = [""] * n if prompts is None else texts_given(owner, "prompts", prompts, conversations=True)
        own_prompts = [_text(prompt) for prompt in prompts]
        batch = {
            "prompts": own_prompts,
            "full_prompts": own_prompts,
            "completions": texts,
            "references": [()] * n if references is None else references_given(owner, references),
            **columns,
            **({} if conversations is None else {"conversations": conversations}),
        }
        for name in ("prompts", "references"):
            if len(batch[name]) != n:
                raise DataError(f"{owner}: {name} has {len(batch[name])} rows, completions {n}")
        batch, rows = comparable(owner, self, batch, n)
        returned = self._metric(**calling.taken_arguments(owner, self._metric, batch))
        values = values_per_text(owner, self._metric, returned, self._key)
        return spread(values, rows, n) if len(values) == len(rows) else values


def as_trl_reward(
    metric: Component | str | Mapping[str, Any], key: str | None = None, corpus: Sequence[Sequence[str]] | None = None
) -> Callable[..., list[float | None]]:
    """Return a metric as a reward function for a TRL trainer: `GRPOTrainer(reward_funcs=as_trl_reward("rouge",
    key="rougeL"), ...)`.

    Prompts and completions may be texts or conversations; a column `references` (a text or a list of texts) is used
    where there is one. TRL gives no `texts` (prompt and completion as one): metrics that read them take a column of
    that name, or have an option `join`.

    Args:
        metric: a name, or a name with options.
        key: which of several values per text.
        corpus: references of each document, for metrics that take document frequencies from them.

    Raises:
        ConfigError: the metric cannot be a reward, an option is wrong, or it needs a corpus and there is none.
    """
    component = building.as_component(metric, "metric")
    built = building.build(registry.metrics, component)
    if isinstance(getattr(built, "corpus", None), str):
        if corpus is None:
            raise ConfigError(
                f"{component.name} takes document frequencies from a fixed corpus: give it, as corpus=[[reference, "
                f"...], ...]"
            )
        built.fit(references_given(f"the corpus of {component.name}", corpus), "corpus")
    return MetricReward(built, component.name, key)


def refuse_as_reward(metric: Any, name: str) -> None:
    """Refuse a metric that cannot be a reward.

    Raises:
        ConfigError: the metric needs the policy, or is gold.
    """
    if getattr(metric, "needs_policy", False):
        raise ConfigError(f"the metric {name!r} measures the policy itself, not its texts, and cannot be a reward")
    if getattr(metric, "gold", False):
        raise ConfigError(f"the metric {name!r} is gold: it judges what was trained, and is refused as a reward")


def _metric_as_reward(component: Component) -> MetricReward:
    name = component.name
    target = registry.metrics.get(name)
    refuse_as_reward(target, name)  # before a judge model is loaded
    options = checked_options(f"reward {name!r}", reward_options_model(name), component.options)
    key = options.pop("key", None)
    return MetricReward(building.bound(f"metric {name!r}", target, options), name, key)


def _callable(reward: Any) -> Callable[..., Any]:
    if not callable(reward) or inspect.isclass(reward):
        raise ConfigError(f"reward {name_of(reward)!r} cannot be called on a batch")
    return reward


def _text(value: Any) -> str:
    """Return a text, or the texts of a conversation; a message without any (a tool call, an image) counts as empty."""
    if isinstance(value, Mapping):
        content = value.get("content", value.get("text"))
        return _text(content)
    if isinstance(value, str) or value is None:
        return value or ""
    return "\n".join(_text(part) for part in value)
