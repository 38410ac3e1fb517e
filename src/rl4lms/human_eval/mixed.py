"""A linear mixed model of ratings: systems as fixed effects, raters, prompts and texts as random ones."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from rl4lms.human_eval.table import Value
from rl4lms.plugins.packages import of_extra
from rl4lms.stats.base import Estimate

WALD = "Wald"
#: Ratings beyond which the model takes minutes: its matrices are dense.
MOST = 2_500
# Of log-likelihoods that differ by less, neither is likelier.
_LIKELIER = 0.1


@dataclass(frozen=True, slots=True)
class MixedModel:
    """A fitted model.

    Attributes:
        means: by system.
        contrasts: (first, second, estimate of the difference) of all pairs.
        variances: of raters, prompts, texts and of what is left.
        converged: whether the fit did.
        warnings: what the fit said.
        ratings: how many there were.
    """

    means: dict[str, Estimate]
    contrasts: Sequence[tuple[str, str, Estimate]]
    variances: dict[str, float]
    converged: bool
    warnings: Sequence[str]
    ratings: int


def fit_mixed(values: Sequence[Value], *, confidence: float = 0.95) -> MixedModel | str:
    """Fit value ~ system + (1 | rater) + (1 | prompt) + (1 | text) by restricted maximum likelihood.

    Random effects are crossed, so all ratings are one group with variance components (Baayen, Davidson and Bates, 2008,
    "Mixed-effects modeling with crossed random effects for subjects and items"). A text is what one system wrote for
    one prompt; its effect is left out where no text has two ratings. An effect whose variance cannot be told from 0 is
    left out, and said, since the fit does not converge with it. Intervals and p-values are Wald's, with the normal
    distribution: with few raters those of means are too narrow.

    Args:
        values: of one question.
        confidence: mass of the intervals.

    Returns:
        The model; or why there is none.

    Raises:
        MissingExtraError: statsmodels is not installed.
    """
    systems = sorted({value.system for value in values})
    if len(systems) < 2:
        return "a mixed model compares two systems or more"
    if len({value.rater for value in values}) < 2 or len({value.prompt for value in values}) < 2:
        return "a mixed model needs two raters and two prompts or more"
    if len({value.value for value in values}) < 2:
        return "all ratings are the same"
    if len(values) > MOST:
        return f"{len(values):,} ratings are more than the {MOST:,} that a mixed model is fitted to here"
    of_extra("statsmodels")
    api, pandas = importlib.import_module("statsmodels.api"), importlib.import_module("pandas")
    data = pandas.DataFrame(
        {
            "value": [value.value for value in values],
            "system": [systems.index(value.system) for value in values],
            "rater": [value.rater for value in values],
            "prompt": _numbers([value.prompt for value in values]),
            "text": _numbers([(value.prompt, value.system) for value in values]),
            "all": 1,
        }
    )
    parts = {"rater": "0 + C(rater)", "prompt": "0 + C(prompt)"}
    if data["text"].nunique() < len(data):
        parts["text"] = "0 + C(text)"
    fitted, said = _fit(api, data, parts)
    if fitted is None or not fitted.converged:
        parts, fitted, said = _reduced(api, data, parts, fitted, said)
    if fitted is None:
        return f"the mixed model could not be fitted: {'; '.join(said)}"
    return _read(fitted, systems, len(values), sorted(parts), said, confidence)


def _reduced(
    api: Any, data: Any, parts: dict[str, str], fitted: Any, said: list[str]
) -> tuple[dict[str, str], Any, list[str]]:
    """Return the most likely model of fewer effects that converges, if none of those left out makes ratings likelier;
    else the model as it is.

    A variance of 0 lies at the boundary, where the fit of a model that has it does not converge; without it the
    likelihood is the same.
    """
    smaller = [names for count in range(len(parts) - 1, 0, -1) for names in combinations(sorted(parts), count)]
    tried = [(names, *_fit(api, data, {name: parts[name] for name in names})) for names in smaller]
    better = [one for one in tried if one[1] is not None and one[1].converged]
    if not better:
        return parts, fitted, said
    names, found, more = max(better, key=lambda one: float(one[1].llf))
    if fitted is not None and float(fitted.llf) > float(found.llf) + _LIKELIER:
        return parts, fitted, said
    left_out = " and of ".join(f"{name}s" for name in sorted(parts) if name not in names)
    return (
        {name: parts[name] for name in names},
        found,
        [*more, f"the variance of {left_out} could not be told from 0, so their effect was left out"],
    )


def _fit(api: Any, data: Any, parts: dict[str, str]) -> tuple[Any, list[str]]:
    """Return the fitted model, None where it failed, and what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = api.MixedLM.from_formula(
            "value ~ 0 + C(system)", groups="all", vc_formula=parts, re_formula="0", data=data
        )
        try:
            fitted = model.fit(reml=True, method=["bfgs", "lbfgs"])
        except (np.linalg.LinAlgError, ValueError) as error:
            return None, [str(error)]
    return fitted, list(dict.fromkeys(str(one.message).splitlines()[0] for one in caught if _is_of_fit(one.category)))


def _read(
    fitted: Any, systems: Sequence[str], ratings: int, parts: Sequence[str], said: Sequence[str], confidence: float
) -> MixedModel:
    from scipy import stats as scipy_stats

    means = np.asarray(fitted.fe_params, dtype=np.float64)
    covariance = np.asarray(fitted.cov_params(), dtype=np.float64)[: len(systems), : len(systems)]
    z = float(scipy_stats.norm.ppf((1 + confidence) / 2))

    def estimate(weights: np.ndarray[Any, Any], *, test: bool) -> Estimate:
        value = float(weights @ means)
        error = float(np.sqrt(max(float(weights @ covariance @ weights), 0.0)))
        p = 2 * float(scipy_stats.norm.sf(abs(value) / error)) if test and error > 0 else None
        return Estimate(value, value - z * error, value + z * error, ratings, WALD, p)

    unit = np.eye(len(systems))
    variances = {name: float(value) for name, value in zip(parts, np.asarray(fitted.vcomp), strict=True)}
    return MixedModel(
        {system: estimate(unit[place], test=False) for place, system in enumerate(systems)},
        [
            (systems[i], systems[j], estimate(unit[i] - unit[j], test=True))
            for i, j in combinations(range(len(systems)), 2)
        ],
        {**variances, "residual": float(fitted.scale)},
        bool(fitted.converged),
        said,
        ratings,
    )


def _is_of_fit(category: type[Warning]) -> bool:
    return not issubclass(category, DeprecationWarning | FutureWarning | PendingDeprecationWarning)


def _numbers(names: Sequence[Any]) -> list[int]:
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return [place[name] for name in names]
