"""What the numbers of a run say about its health: thresholds with their reasons, and what to change.

This reports what has happened, as an audit does. It detects nothing early: a policy that exploits its reward looks
healthy until its texts have changed, and the texts of `samples/` are what to read.

The thresholds were set beside runs that are known: the vetted recipes, three seeds each, cross none of them, and
runs that were spoilt on purpose cross each (`tests/learning/test_health.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from rl4lms.errors import Rl4lmsError

Numbers = Mapping[str, float | None]


class HealthError(Rl4lmsError, RuntimeError):
    """A run whose numbers crossed a threshold, where `training.on_health` is `stop`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One threshold.

    Attributes:
        name: of the warning, in files and tables.
        keys: the log keys it looks at; it says nothing of an iteration that lacks one of them.
        crossed: called with the numbers of an iteration and the first ones of the run; returns what is seen, in words,
            or nothing.
        reason: why the threshold stands where it does.
        remedy: what to change.
        in_a_row: how many iterations it must be crossed without a break.
    """

    name: str
    keys: tuple[str, ...]
    crossed: Callable[[Mapping[str, float], Mapping[str, float]], str]
    reason: str
    remedy: str
    in_a_row: int = 1


@dataclass(frozen=True, slots=True)
class Warned:
    """A threshold that was crossed.

    Attributes:
        step: iteration in which the warning began.
        rule: which.
        seen: in words.
    """

    step: int
    rule: Rule
    seen: str

    def __str__(self) -> str:
        return f"health: iteration {self.step}: {self.seen}. {self.rule.remedy}"

    def record(self) -> dict[str, int | str]:
        """Return what `health.jsonl` says."""
        return {"step": self.step, "name": self.rule.name, "seen": self.seen, "remedy": self.rule.remedy}


def _above(key: str, limit: float, words: str) -> Callable[[Mapping[str, float], Mapping[str, float]], str]:
    return lambda now, first: f"{words} {now[key]:.3g} (above {limit:g})" if now[key] > limit else ""


def _fallen(key: str, share: float, words: str) -> Callable[[Mapping[str, float], Mapping[str, float]], str]:
    def crossed(now: Mapping[str, float], first: Mapping[str, float]) -> str:
        return f"{words} fell from {first[key]:.3g} to {now[key]:.3g}" if now[key] < share * first[key] else ""

    return crossed


def _all_cut(now: Mapping[str, float], first: Mapping[str, float]) -> str:
    cut, before = 1 - now["rollout/terminated"], 1 - first["rollout/terminated"]
    grown = cut > 0.9 and before < 0.5
    return f"{cut:.0%} of the completions are cut by the token budget, {before:.0%} at the start" if grown else ""


def _flat(now: Mapping[str, float], first: Mapping[str, float]) -> str:
    spread, mean = now["rollout/score_std"], now["rollout/score"]
    same = spread <= 1e-6 * max(1.0, abs(mean))
    return f"the reward says {mean:.3g} of every completion" if same else ""


def _falls_apart(key: str, whose: str) -> Callable[[Mapping[str, float], Mapping[str, float]], str]:
    def crossed(now: Mapping[str, float], first: Mapping[str, float]) -> str:
        if now["eval/reward"] <= first["eval/reward"] or now[key] <= 2 * first[key]:
            return ""
        return (
            f"the reward rose from {first['eval/reward']:.3g} to {now['eval/reward']:.3g} while the perplexity of "
            f"{whose} went from {first[key]:.3g} to {now[key]:.3g}"
        )

    return crossed


_SMALLER_STEPS = "Lower optimizer.learning_rate (adapters want 1e-4, whole models 1e-5), or set algorithm.target_kl"
_CLOSER = "Raise kl.kl_coef or set kl.kl_target, and read samples/ before you trust the reward"
_REWARD = "Read samples/; mend the reward, or combine it with one that sees what it misses (docs/rewards.md)"

RULES = (
    Rule(
        "approx_kl",
        ("train/approx_kl",),
        _above("train/approx_kl", 0.05, "an update moved the policy by a KL of"),
        "Vetted runs stay below 0.025 in the first update and below 0.01 later; PPO's usual limits for a whole update "
        "are 0.01 to 0.03.",
        _SMALLER_STEPS,
    ),
    Rule(
        "clip_fraction",
        ("train/clip_fraction",),
        _above("train/clip_fraction", 0.2, "the share of tokens outside the clip range is"),
        "Vetted runs stay below 0.12. Clipped tokens have no gradient: the update is larger than PPO allows for.",
        _SMALLER_STEPS,
    ),
    Rule(
        "kl_per_token",
        ("rollout/kl_per_token",),
        _above("rollout/kl_per_token", 0.5, "the policy's KL from where it began, in nats per token, is"),
        "Vetted runs end at 0.05 to 0.2; a run without a KL term that exploited its reward went to 2.",
        _CLOSER,
    ),
    Rule(
        "entropy",
        ("rollout/entropy",),
        _fallen("rollout/entropy", 0.25, "the entropy"),
        "A policy that is sure of every token explores nothing; vetted runs keep more than 80 % of it.",
        f"{_CLOSER}; algorithm.ent_coef or a higher rollout.temperature keeps it up",
        in_a_row=2,
    ),
    Rule(
        "short_completions",
        ("rollout/completion_tokens",),
        _fallen("rollout/completion_tokens", 0.25, "the length of completions"),
        "Texts that shrink to a quarter are usually a reward that pays for ending.",
        f"{_REWARD}; rollout.min_new_tokens and length_penalty set limits",
        in_a_row=2,
    ),
    Rule(
        "cut_completions",
        ("rollout/terminated",),
        _all_cut,
        "Texts that no longer end are usually a reward that pays for every token.",
        f"{_REWARD}; length_penalty sets a limit",
        in_a_row=2,
    ),
    Rule(
        "same_completions",
        ("rollout/unique_completions",),
        _fallen("rollout/unique_completions", 0.5, "the share of different completions"),
        "Prompts that get one and the same text have lost the prompt.",
        _REWARD,
        in_a_row=2,
    ),
    Rule(
        "flat_reward",
        ("rollout/score_std", "rollout/score"),
        _flat,
        "Without differences between completions there is nothing to learn from.",
        "Check the reward on samples/: it may fail quietly, or be too coarse for what the model writes",
        in_a_row=3,
    ),
    Rule(
        "explained_variance",
        ("train/explained_variance",),
        lambda now, first: (
            f"the value function explains {now['train/explained_variance']:.2g} of the returns' variance: worse than "
            "their mean"
            if now["train/explained_variance"] < -0.5
            else ""
        ),
        "Below 0 the values add noise to the advantages; small negative values are common in the first iterations.",
        "Raise algorithm.vf_coef, lower optimizer.learning_rate, or use model.value: separate",
        in_a_row=5,
    ),
    Rule(
        "perplexity",
        ("eval/reward", "eval/perplexity"),
        _falls_apart("eval/perplexity", "the completions under the judge"),
        "A reward that rises while another model finds the texts twice as unlikely is often exploited.",
        _CLOSER,
    ),
    Rule(
        "reference_perplexity",
        ("eval/reward", "eval/reference_perplexity"),
        _falls_apart("eval/reference_perplexity", "human texts under the policy"),
        "A policy that finds human texts twice as unlikely has forgotten language; vetted runs stay below 1.2 times.",
        _CLOSER,
    ),
)


@dataclass(slots=True)
class Health:
    """The state of a run's health, which is a function of the numbers that it logged.

    Attributes:
        counts: iterations in which each warning held, by name.
        begun: warnings in the order in which they began; one that ended and came again is there twice.
    """

    counts: dict[str, int] = field(default_factory=dict)
    begun: list[Warned] = field(default_factory=list)
    _first: dict[str, float] = field(default_factory=dict)
    _in_a_row: dict[str, int] = field(default_factory=dict)

    def see(self, step: int, numbers: Numbers) -> list[Warned]:
        """Take the numbers of an iteration, in order; return the warnings that begin with it."""
        now = {key: value for key, value in numbers.items() if value is not None and value == value}
        self._first = {**now, **self._first}
        found = []
        for rule in RULES:
            if not all(key in now for key in rule.keys):
                continue
            seen = rule.crossed(now, self._first)
            before = self._in_a_row.get(rule.name, 0)
            self._in_a_row[rule.name] = before + 1 if seen else 0
            if not seen or before + 1 < rule.in_a_row:
                continue
            self.counts[rule.name] = self.counts.get(rule.name, 0) + 1
            if before + 1 == rule.in_a_row:
                found.append(Warned(step, rule, seen))
        self.begun += found
        return found

    @property
    def active(self) -> int:
        """How many warnings hold now."""
        return sum(self._in_a_row.get(rule.name, 0) >= rule.in_a_row for rule in RULES)


def health_of(history: Iterable[Mapping[str, float | None]]) -> Health:
    """Return the health of a run by its log, line by line from `metrics.jsonl`."""
    health = Health()
    for line in history:
        health.see(int(line["step"] or 0), line)
    return health
